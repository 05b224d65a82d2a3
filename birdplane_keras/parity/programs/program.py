"""A training step, or a prediction, as a list of operations: plain data, which say nothing of a framework."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

FORWARD, BACKWARD = "forward", "backward"
MASK = 1e8  # numbers as large as these are a mask's, and count as zeros


@dataclass(frozen=True, kw_only=True)
class Value:
    """What is kept of the numbers in a tensor: what does not depend on their order.

    Args:
        shape: Of the tensor.
        statistics: (5,) float64: sum, sum of absolute values, sum of squares, smallest, largest; without a mask's
            numbers.
        whole: Whether the numbers are whole, or truth values.
        half: Whether they are of a half type.
    """

    shape: tuple[int, ...]
    statistics: np.ndarray
    whole: bool = False
    half: bool = False

    @cached_property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape)

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return float(max(abs(self.statistics[3]), abs(self.statistics[4])))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of source that made an operation.

    Args:
        file: The name of its file.
        number: Of the line.
        function: In which it stands.
        text: Of the line; empty where the source is not at hand.
        caller: The user's own line that called that function; `None` where there is none, or it is the whole step's.
    """

    file: str
    number: int
    function: str
    text: str
    caller: "Line | None" = None

    def __str__(self) -> str:
        called = f" (called at {self.caller.file}:{self.caller.number})" if self.caller is not None else ""
        return f"{self.file}:{self.number}{called}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A tensor that an operation took.

    Args:
        made: The number of the operation that made it; `None` where it came from outside: a weight, a batch.
        value: What it held.
        weight: The name of the weight that it is, on its side; empty where it is none.
    """

    made: int | None
    value: Value
    weight: str = ""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """What an operation was given besides tensors.

    Args:
        name: As ATen calls it.
        value: Plain data.
        usual: Whether it is what ATen takes where nothing is given.
    """

    name: str
    value: Any
    usual: bool = False


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A call of an ATen operation, or one tensor's part of a call for many.

    Args:
        number: Its place in the program.
        name: As ATen calls it, without its overload.
        phase: `forward`, which includes the loss and the update, or `backward`.
        sources: The tensors that it took, in order.
        arguments: What else it was given, or took where nothing was given.
        value: What it made, or what its argument held after it was written.
        reshapes: Whether it only shows or copies the numbers that it took, all of them.
        views: Whether it shows some of the numbers that it took.
        cuts: Whether it cuts off from the gradients what has some.
        line: Of the user's own source; `None` where only libraries were at work.
        layer: The layer or module that was at work, in words; empty where none was.
        behind: The number of the operation of the forward pass that one of the backward pass is of.
    """

    number: int
    name: str
    phase: str
    sources: Sequence[Source]
    arguments: Sequence[Argument] = ()
    value: Value
    reshapes: bool = False
    views: bool = False
    cuts: bool = False
    line: Line | None = None
    layer: str = ""
    behind: int | None = None

    @property
    def unit(self) -> tuple[str, int] | str:
        """The line of source that it is of, or the layer where only a library's is; empty where it is of neither."""
        return self.layer if self.line is None else (self.line.file, self.line.number)


@dataclass(frozen=True, kw_only=True)
class Program:
    """The operations of a training step, or of a prediction, in the order in which they ran."""

    operations: Sequence[Operation] = field(default_factory=list)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __getitem__(self, number: int) -> Operation:
        return self.operations[number]

    def values(self) -> list[Value]:
        """Returns every value that is made or taken."""
        taken = [source.value for operation in self for source in operation.sources if source.made is None]
        return [*(operation.value for operation in self), *taken]
