"""What a side shows the judge. The two sides share these shapes, not code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np

from birdplane_keras.parity.core.shelf import Shelf

Tensors = Mapping[str, np.ndarray]
States = Mapping[tuple[str, str], np.ndarray]  # (tensor, PyTorch's name of a state of its optimizer) -> value
Rows = Sequence[np.ndarray]  # the numbers of each batch's examples

STEP_RUNGS = ("forward", "loss", "gradients", "first_update", "optimizer_state", "evaluation")
FORWARD_RUNGS = ("forward", "evaluation")  # of these, which a forward pass shows
UPDATES = ("first_update", "optimizer_state", "evaluation", "trajectory")  # which come after the gradients


class Role(StrEnum):
    """What a tensor of the first steps is."""

    OUTPUT = "output"
    LOSS = "loss"
    GRADIENT = "gradient"
    WEIGHT = "weight"
    STATE = "state"  # of an optimizer: each framework keeps what it likes
    STATISTIC = "statistic"


class Reading(NamedTuple):
    """A tensor that the first steps computed: for which rung, its name there, its value, and what it is."""

    rung: str
    name: str
    value: np.ndarray
    role: Role


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the first few training steps of a side computed, rung by rung, in the reference's names and layout.

    Args:
        tensors: For each of `STEP_RUNGS`, name -> tensor: `forward` the outputs on the first batch, in training mode;
            `loss` and `gradients` those of the first step; `first_update` every weight after it; `optimizer_state`
            the optimizer's state and every weight after the last of the steps, and the other losses;
            `evaluation` moving statistics after the first and the last, and the outputs in evaluation mode, at the
            start and then.
        roles: The same, name -> what the tensor is.
    """

    tensors: Mapping[str, Tensors]
    roles: Mapping[str, Mapping[str, Role]]

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> "Probe":
        """Collects what was read on the way."""
        tensors = {rung: Shelf() for rung in STEP_RUNGS}
        roles: dict[str, dict[str, Role]] = {rung: {} for rung in STEP_RUNGS}
        for rung, name, value, role in readings:
            tensors[rung].keep(name, value)
            roles[rung][name] = role
        return cls(tensors=tensors, roles=roles)

    def looked_at(self, rung: str) -> bool:
        """Whether the steps showed a rung: those of models that are not trained are forward passes."""
        return rung in FORWARD_RUNGS or bool(self.tensors.get(rung))

    def beside(self, other: "Probe", rung: str) -> Tensors:
        """Returns the tensors of a rung that are to be compared with the other side's: a state that it lacks is not."""
        own, roles = self.tensors[rung], self.roles[rung]
        kept = [name for name in own if roles[name] is not Role.STATE or name in other.tensors[rung]]
        return Shelf.of(kept, own.__getitem__)


@dataclass(frozen=True, kw_only=True)
class Fed:
    """What a side is fed, in the port's layout.

    Args:
        inputs: Name -> (N, ...).
        targets: Name -> (N, ...).
        by_epoch: The inputs as the first epochs show them, where they change from epoch to epoch.
    """

    inputs: Tensors
    targets: Tensors
    by_epoch: Sequence[Tensors] = ()

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns all of it by name."""
        later = {in_epoch(n, e): v for e, inputs in enumerate(self.by_epoch) for n, v in inputs.items()}
        return {**self.inputs, **self.targets, **later}


def in_epoch(name: str, epoch: int) -> str:
    """Returns how reports call inputs as an epoch shows them."""
    return f"{name} in epoch {epoch}"


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A call of Dropout in one forward pass.

    Args:
        rate: The share that is dropped.
        entries: Independent draws for one example: fewer than it has numbers, where whole channels are dropped.
    """

    rate: float
    entries: int


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What numbers cannot show of a side: the shapes of its outputs by name, and its calls of Dropout in order."""

    outputs: Mapping[str, tuple[int, ...]]
    dropouts: Sequence[Dropped]


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """A matched weight.

    Args:
        name: By the reference's name.
        size: In elements.
        trained: Whether the port trains it, and whether the reference does.
    """

    name: str
    size: int
    trained: tuple[bool, bool]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A weight without counterpart, or of another shape.

    Args:
        code: `missing` in the other side's layer, `no_counterpart` (no layer for it), `shape`, `refused` (no weights
            can make the two layers equal), `mapping` (what was told cannot be done).
        tensor: Its name on its side.
        side: `keras` or `torch`, that it is of.
        text: All of it in words.
        shape: Of the tensor.
        part: What it is of its layer ("bias", "kernel"), where its layer has a counterpart that lacks it.
        layer: Keras' name of that layer, or of its counterpart: the one in the port.
        cause: What the diagnosis calls it, where the kind of layer knows that.
        fix: What to change, likewise.
    """

    code: str
    tensor: str
    side: str
    text: str
    shape: tuple[int, ...] = ()
    part: str = ""
    layer: str = ""
    cause: str = ""
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Counterparts:
    """Which weights belong together.

    Args:
        matched: All that do.
        problems: What does not fit.
        untied: Groups of names that are one tensor in the reference and several in the port.
    """

    matched: Sequence[Counterpart]
    problems: Sequence[Problem] = ()
    untied: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How many validation examples a side names correctly: as its own metric reported, and as its scores say."""

    reported: float
    recounted: float


class TrainingRun(Protocol):
    """What a program's training leaves behind on either side; weights in the reference's names and layout."""

    @property
    def weights(self) -> Tensors: ...
    @property
    def step_losses(self) -> np.ndarray: ...
    @property
    def history(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def train_logits(self) -> np.ndarray: ...
    @property
    def validation_logits(self) -> np.ndarray: ...
    @property
    def seconds_per_epoch(self) -> Sequence[float]: ...


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The forward pass layer by layer.

    Args:
        rows: For the report: `name` (of the layer that is wrong if the row is), `at` (the layer that was looked at),
            `kind` (`between` for what it receives, `alone` for what it makes of the reference's activations),
            `passed`, `max_abs_difference`, `tolerance`, `text`.
        first: The first layer that differs, by the reference's name; `None` where none does.
        text: How it differs, in words.
    """

    rows: Sequence[Mapping[str, object]] = ()
    first: str | None = None
    text: str = ""
