"""Progress bars on stderr: shown in a terminal, silent anywhere else."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

OnEpoch = Callable[[int, dict[str, float]], None]


@contextmanager
def epoch_bar(title: str, epochs: int, done: int = 0) -> Iterator[OnEpoch]:
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
        task = progress.add_task(title, total=epochs, completed=done, state="")

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            state = f"loss {metrics['loss']:.4f}, accuracy {metrics['validation_accuracy']:.4f}, left"
            progress.update(task, completed=epoch + 1, state=state)

        yield on_epoch


@contextmanager
def steps_bar(title: str, steps: int) -> Iterator[Callable[[], None]]:
    """Shows how much of some work is done; yields what is to be called after each step."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=steps)
        yield lambda: progress.advance(task)


class JobsBar:
    """The bar of several jobs that run side by side; where there is no terminal, a line for each that is done."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._running: list[str] = []

    def started(self, name: str) -> None:
        """Shows that a job runs."""
        self._running.append(name)
        self._show()

    def done(self, amount: float, names: Sequence[str]) -> None:
        """Moves the bar on, and shows that jobs run no more."""
        self._running = [name for name in self._running if name not in names]
        self._progress.advance(self._task, amount)
        self._show()
        if self._progress.disable and names:
            self._progress.console.print(f"done: {'; '.join(names)}", highlight=False)

    def _show(self) -> None:
        self._progress.update(self._task, state="; ".join(self._running))


@contextmanager
def jobs_bar(total: float) -> Iterator[JobsBar]:
    """Shows which jobs run, how much of the whole is done, and the time that has passed and that is left.

    Args:
        total: The sum of the amounts that the jobs will tell.
    """
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield JobsBar(progress, progress.add_task("", total=total, state=""))


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
        """Starts counting again."""
        self._progress.reset(self._task, total=self.total)

    def close(self) -> None:
        """Ends the bar."""
        self._progress.stop()
