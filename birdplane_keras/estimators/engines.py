"""What the steps of an estimator run on, where `engine` leaves that open.

Tracing takes time once and saves some of every step. Seconds of a whole `fit` on one core, `stock` and `exact`:

    | rows and network                     | 250 steps  | 500 steps  | 1000 steps |
    | iris, 4-100-3, Adam, batches of 50   | 0.57  0.76 | 1.53  1.29 |  3.6  1.9  |
    | iris, the same with SGD, no penalty  | 0.55  0.63 | 1.32  0.75 |  1.9  1.1  |
    | digits, 64-100-10, Adam, 200         | 0.93  1.46 | 1.96  1.84 |  3.6  2.6  |
    | images, 3072-512-2, SGD, 64          | 4.30  3.88 | 5.85  5.27 | 11.1  9.3  |
"""

ENGINES = ("auto", "stock", "exact", "fused")
STEPS_THAT_PAY = 500  # the least of the table from which on tracing pays in every row


def choose_engine(engine: str, steps: int) -> str:
    """Returns `engine` itself; for `auto`, `stock` below 500 steps and `exact` from there on.

    Args:
        engine: The parameter.
        steps: Made so far, and still to be made.
    """
    if engine != "auto":
        return engine
    return "exact" if steps >= STEPS_THAT_PAY else "stock"
