"""What the steps of an estimator run on, where `engine` leaves that open."""

ENGINES = ("auto", "stock", "exact", "fused")
STEPS_THAT_PAY = 500  # tracing costs what about so many steps save


def choose_engine(engine: str, steps: int) -> str:
    """Returns `engine` itself; for `auto`, `stock` below 500 steps and `exact` from there on.

    Args:
        engine: The parameter.
        steps: Made so far, and still to be made.
    """
    if engine != "auto":
        return engine
    return "exact" if steps >= STEPS_THAT_PAY else "stock"
