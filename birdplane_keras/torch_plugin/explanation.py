"""What `explain` returns: text that a notebook shows as HTML, and that can draw what the steps took."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from birdplane_keras.reporting.inline_figure import InlineFigure


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one step took, made both stock and from its trace.

    Args:
        kind: `train`, `test` or `predict`.
        batch: The batches that the trace serves, in words.
        engine: That it runs on.
        stock_seconds: Of Keras' own step.
        traced_seconds: Of the traced one.
    """

    kind: str
    batch: str
    engine: str
    stock_seconds: float
    traced_seconds: float


class Explanation(str):
    """What an attached model runs on, in words.

    Args:
        text: The words.
        model: The model's name.
        timings: Of each trace that audits have timed.
    """

    model: str
    timings: tuple[Timing, ...]

    def __new__(cls, text: str, model: str = "", timings: Sequence[Timing] = ()) -> Self:
        made = super().__new__(cls, text)
        made.model, made.timings = model, tuple(timings)
        return made

    def plot(self) -> "InlineFigure":
        """Draws what a stock and a traced step took, as bars, for each trace that audits have timed.

        Returns:
            A Matplotlib figure without a background, which a notebook shows by itself.

        Raises:
            RequestError: No audit has timed a step.
        """
        from birdplane_keras.reporting.notebook_figures import draw_timings

        return draw_timings([asdict(timing) for timing in self.timings], self.model)

    def _repr_html_(self) -> str:
        """Returns the words as a notebook shows them, with a table of what the steps took."""
        from birdplane_keras.reporting.notebook import render_explanation

        return render_explanation(str(self), [asdict(timing) for timing in self.timings])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Prints the words, without quotes, where IPython shows text."""
        printer.text(str(self))
