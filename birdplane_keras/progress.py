"""Progress bars on stderr: shown in a terminal, silent anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

OnEpoch = Callable[[int, dict[str, float]], None]


@contextmanager
def epoch_bar(title: str, epochs: int) -> Iterator[OnEpoch]:
    """Shows epoch, loss, accuracy and time left of one training run.

    Yields:
        `on_epoch(epoch, metrics)`, to be called after each epoch with `loss` and `validation_accuracy`.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=epochs, state="")

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            state = f"loss {metrics['loss']:.4f}, accuracy {metrics['validation_accuracy']:.4f}, left"
            progress.update(task, completed=epoch + 1, state=state)

        yield on_epoch


class DownloadBar:
    """A download's bar with the methods that pooch calls."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> "DownloadBar":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    @property
    def total(self) -> float | None:
        """Bytes to come; pooch sets it."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, count: float) -> None:
        self._progress.update(self._task, total=count or None)

    def update(self, count: int) -> None:
        """Adds bytes received."""
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Starts counting anew."""
        self._progress.reset(self._task, total=self.total)

    def close(self) -> None:
        """Ends the bar."""
        self._progress.stop()
