"""Operations of the port made again in the reference, above autograd, of the reference's own tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.kinds.layouts import TensorMatch
from birdplane_keras.parity.private_torch import tree_leaves, tree_map
from birdplane_keras.parity.programs.dispatched import written_by
from birdplane_keras.parity.programs.growing import Again, Growing, Shape, Shrinking, of_rows
from birdplane_keras.parity.programs.layouts import Layout, layout_between
from birdplane_keras.parity.programs.numbered import At, Calls, put
from birdplane_keras.parity.programs.recording import Slot
from birdplane_keras.parity.programs.regions import Region
from birdplane_keras.parity.sides.torch_run import TorchRun

NEAR = 1e-4  # of the largest number: a weight that was turned is the same but for a rounding
_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)  # which mind how a tensor lies in memory


class NotReplayedError(Exception):
    """Operations that cannot be made again in the reference."""


class OtherOrderError(NotReplayedError):
    """The reference has the numbers that an operation takes in another order only.

    Args:
        number: Of the operation.
        slot: Where it takes them.
    """

    def __init__(self, number: int, slot: int) -> None:
        super().__init__(number, slot)
        self.number, self.slot = number, slot


def other_order(error: BaseException | None) -> OtherOrderError | None:
    """Returns that numbers lie in another order, if an error says so, or the one behind it."""
    while error is not None and not isinstance(error, OtherOrderError):
        error = error.__cause__ or error.__context__
    return error


@dataclass(kw_only=True)
class Replay:
    """A region of the port that stands for what a call of the reference returns.

    Args:
        region: Of the port's program.
        calls: The calls of the port, as `with_rows` returns them.
        kept: Operation and slot -> what stood there, for the region's inputs.
        rounded: Operation -> what the port made there, where that is of a half type.
        batch: (B,) numbers of the examples of which all that was kept.
        candidates: Where the reference may have what a slot takes.
        matches: Weights of the port by the names of their matches.
        lay_out: How the region's end lies in the reference.
        examples: Returns what the port is given for the examples of some numbers: tensors.
    """

    region: Region
    calls: Sequence[Again]
    kept: Mapping[tuple[int, int], torch.Tensor]
    rounded: Mapping[int, torch.Tensor]
    batch: np.ndarray
    candidates: Mapping[tuple[int, int], Sequence[At]]
    matches: Mapping[str, TensorMatch]
    lay_out: Layout
    examples: Callable[[np.ndarray], Sequence[torch.Tensor]]
    bound: dict[tuple[int, int], Callable[[Calls], torch.Tensor]] = field(default_factory=dict)

    def __call__(self, calls: Calls, result: torch.Tensor) -> torch.Tensor:
        """Returns the end of the region, made of what a run of the reference has.

        It is of the type of the result that it stands for, and lies in memory as that: what the reference makes of it
        is computed as before.

        Raises:
            NotReplayedError: An operation of it cannot be made again.
        """
        results: dict[int, torch.Tensor] = {}
        for number in self.region.operations:
            results[number] = self._make(number, results, calls)
        return laid_as(self.lay_out.turn(results[self.region.end], result.shape).to(result.dtype), result)

    def put(self, run: TorchRun, at: At) -> None:
        """Puts it in the place of a result of a run; the first run binds it, on the batch on which it is known."""
        put(run, at, self, [place for places in self.candidates.values() for place in places])

    def _make(self, number: int, results: Mapping[int, torch.Tensor], calls: Calls) -> torch.Tensor:
        again = self.calls[number]
        made = again.made
        if made.leaf is None:
            raise NotReplayedError(made.function)

        def fill(leaf: Any) -> Any:
            if isinstance(leaf, Slot):
                taken = self._taken(number, leaf.place, results, calls)
                expected = tuple(of_rows(size, calls.rows) for size in again.shapes[leaf.place])
                if tuple(taken.shape) != expected:  # below autograd some operations look at no shape, and crash
                    raise NotReplayedError(f"{tuple(taken.shape)} where {expected} was")
                return taken
            return of_rows(leaf, calls.rows)

        args, kwargs = tree_map(fill, (again.args, again.kwargs))
        written = {id(tensor) for tensor in written_by(made.function, args, kwargs)}
        if written:  # nothing of the reference's own is written on
            copied = {identity: tensor.clone() for identity, tensor in self._by_id(args, kwargs).items()}
            args, kwargs = tree_map(
                lambda leaf: copied[id(leaf)] if isinstance(leaf, torch.Tensor) and id(leaf) in written else leaf,
                (args, kwargs),
            )
        function = torch.ops.aten.reshape.default if made.function in _VIEWS else made.function
        with torch.set_grad_enabled(made.graded and torch.is_grad_enabled()):
            result = function(*args, **kwargs)
        tensor = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)][made.leaf]
        known = number in self.rounded and calls.batch is not None and np.array_equal(calls.batch, self.batch)
        return rounded_as(tensor, self.rounded[number]) if known else tensor

    @staticmethod
    def _by_id(args: Any, kwargs: Any) -> dict[int, torch.Tensor]:
        return {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}

    def _taken(self, number: int, slot: int, results: Mapping[int, torch.Tensor], calls: Calls) -> torch.Tensor:
        if (number, slot) not in self.region.inputs:
            source = self.calls[number].made.sources[slot]
            if source.made is None:
                raise NotReplayedError("a value of nowhere")
            return results[source.made]
        if (number, slot) not in self.bound:
            self.bound[number, slot] = self._bind(number, slot, calls)
        return self.bound[number, slot](calls)

    def _bind(self, number: int, slot: int, calls: Calls) -> Callable[[Calls], torch.Tensor]:
        again, kept = self.calls[number], self.kept[number, slot]
        source, shape = again.made.sources[slot], again.shapes[slot]
        if source.weight in self.matches:
            weight = turned_weight(self.matches[source.weight], calls.weights, kept)
            if weight is not None:
                return weight
        for at in self.candidates.get((number, slot), ()):
            have = calls.tensors.get(at)
            layout = None if have is None else layout_between(have, kept)
            if layout is not None:
                return as_taken(at, layout, kept, shape)
        if source.made is not None:
            raise OtherOrderError(number, slot)
        growing = again.numbers[slot]
        if isinstance(growing, Growing | Shrinking):
            return lambda calls: torch.full_like(kept, growing.of(calls.rows))
        return kept_of_batch(kept, self.examples, calls) or (lambda calls: kept)


def as_taken(at: At, layout: Layout, kept: torch.Tensor, shape: Shape) -> Callable[[Calls], torch.Tensor]:
    """Returns what takes a tensor of the reference as the port has it: in its type, and as it lies in memory."""

    def take(calls: Calls) -> torch.Tensor:
        have = layout.turn(calls.tensors[at], [of_rows(size, calls.rows) for size in shape])
        exact = kept.dtype == torch.float32 and have.dtype == torch.float64  # a reference in float64 stays so
        return laid_as(have if exact or have.dtype == kept.dtype else have.to(kept.dtype), kept)

    return take


def rounded_as(tensor: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of a half type with the numbers of another in the place of those that are next to them.

    Which way a half type rounds may turn on the last bit of a number that both sides have but for rounding.
    """
    if tensor.dtype != kept.dtype or tensor.shape != kept.shape:
        return tensor
    with torch.no_grad():
        apart = kept - tensor
        next_to = apart.abs() <= torch.finfo(kept.dtype).eps * kept.abs()
        apart = torch.where(next_to, apart, torch.zeros_like(apart))
    return tensor + apart


def laid_as(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Returns a tensor in memory as another lies there, where that is no view.

    Some operations choose how they compute by it, and some are wrong in one of the ways: on a CPU, the gradient of
    a group normalisation with its channels last crashes where what it normalises has none (PyTorch 2.13).
    """
    if other.is_contiguous():
        return tensor.contiguous()
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(other.ndim)
    if last is not None and tensor.ndim == other.ndim and other.is_contiguous(memory_format=last):
        return tensor.contiguous(memory_format=last)
    return tensor


def kept_of_batch(
    kept: torch.Tensor, examples: Callable[[np.ndarray], Sequence[torch.Tensor]], calls: Calls
) -> Callable[[Calls], torch.Tensor] | None:
    """Returns what gives the port's own numbers of the batch at work; `None` where it is not given these."""
    if calls.batch is None:
        return None
    for place, given in enumerate(examples(calls.batch)):
        if given.shape == kept.shape and torch.equal(given.to(kept.dtype), kept):

            def take(calls: Calls, place: int = place) -> torch.Tensor:
                if calls.batch is None:
                    raise NotReplayedError("examples that the port is trained on")
                return examples(calls.batch)[place].to(kept.dtype)

            return take
    return None


def turned_weight(
    match: TensorMatch, weights: Mapping[str, torch.Tensor], kept: torch.Tensor
) -> Callable[[Calls], torch.Tensor] | None:
    """Returns what makes the port's weight of the reference's, number by number; `None` where that is no such move.

    A weight that is a sum of several is one, too.
    """
    parts = [weights[name] for name in match.torch]
    places: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    for index, name in enumerate(match.torch):
        arrays = [
            np.arange(1, part.numel() + 1, dtype=np.float64).reshape(part.shape) if i == index else np.zeros(part.shape)
            for i, part in enumerate(parts)
        ]
        number = np.rint(match.to_keras(match.from_torch(*arrays))).astype(np.int64)
        place = torch.from_numpy(number).to(parts[index].device)
        places.append((name, (place - 1).clamp(min=0), place > 0))

    def make(calls: Calls) -> torch.Tensor:
        taken = [calls.weights[name].reshape(-1)[place] * there for name, place, there in places]
        return sum(taken[1:], taken[0])

    first, *others = [weights[name].detach().reshape(-1)[place] * there for name, place, there in places]
    made = sum(others, first)
    if made.shape != kept.shape or (made - kept).abs().max() > NEAR * max(float(kept.abs().max()), 1e-30):
        return None
    return make
