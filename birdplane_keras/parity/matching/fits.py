"""How the weights of a Keras layer may be those of a part of the reference: which is which, in which layout."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import Any

import numpy as np

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import KerasUnit
from birdplane_keras.parity.kinds.layouts import Joint, Turn
from birdplane_keras.parity.matching.ledger import LayerMatch, Ledger, match_units
from birdplane_keras.parity.matching.names import alike
from birdplane_keras.parity.matching.uses import Use
from birdplane_keras.parity.programs.layouts import Layout
from birdplane_keras.parity.programs.layouts import layouts as layouts_between

MOST_FITS = 24  # ways to give each variable a tensor
MOST_TURNS = 16  # layouts, of each of them
MOST_ROWS = 8  # of a table of positions, that PyTorch keeps for others
MOST_PARTS = 8  # that one tensor of PyTorch may hold of a kind: query, key and value in one


@dataclass(frozen=True, kw_only=True)
class WeightFit:
    """A Keras variable and the PyTorch tensors that may be its counterpart; `label` names a part of a tensor."""

    variable: Any
    names: tuple[str, ...]
    turn: Turn
    joint: Joint
    label: str = ""

    @property
    def key(self) -> tuple[tuple[str, ...], str]:
        """What of PyTorch's it takes."""
        return self.names, self.label

    def value(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the variable's value."""
        return self.turn.back(self.joint.read(*(weights[name] for name in self.names)))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A Keras layer and the uses that may be its counterpart.

    Args:
        layer: Of Keras.
        uses: The uses, from the one that takes what the layer takes to the one that makes what it makes.
        weights: Its variables, each with its tensors.
        unit: The layer as its kind takes it, where it and the one use are of one kind.
        whole: Whether no variable and no tensor is left over.
    """

    layer: Any
    uses: Sequence[Use]
    weights: Sequence[WeightFit]
    unit: KerasUnit | None = None
    whole: bool = True

    @property
    def likely(self) -> bool:
        """Whether it is likely even where the outputs differ: a part of a tensor may be anything."""
        return self.unit is not None or not any(":" in weight.label for weight in self.weights)


def fits_of_kind(unit: KerasUnit, use: Use, ledger: Callable[[], Ledger]) -> Iterator[Fit]:
    """Yields the fit of two layers of one kind, if their shapes allow it.

    Args:
        unit: Of Keras.
        use: Of a module of the same kind.
        ledger: Makes an empty ledger.
    """
    if use.unit is None:
        return
    trial = ledger()
    match_units(trial, unit, use.unit)
    match: LayerMatch = trial.layers[-1]
    codes = {problem.code for problem in trial.problems.values()}
    if not codes & {"shape", "refused"} and match.tensors:
        weights = [
            WeightFit(
                variable=trial.variables[each.name],
                names=each.torch,
                turn=each.turn,
                joint=each.joint,
                label="" if each.whole else each.name,
            )
            for each in match.tensors
        ]
        yield Fit(layer=unit.layer, uses=[use], weights=weights, unit=unit, whole=not codes)


def fits_by_size(
    layer: Any, variables: Sequence[Any], uses: Sequence[Use], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Fit]:
    """Yields the fits in which every variable has as many numbers as a tensor, or as a part of one.

    Args:
        layer: Of Keras.
        variables: Its own.
        uses: One, or several in a row.
        shapes: Of PyTorch's tensors by dotted name.
    """
    names = list(dict.fromkeys(name for use in uses for name in use.tensors.values()))
    if any(not fitting_names(variable, names, shapes) for variable in variables):
        return
    orders = list(islice(assignments(variables, names, shapes), MOST_FITS))
    for chosen in orders:
        whole = len(variables) == len(names)
        options = [options_of(v, name, shapes[name]) for v, name in zip(variables, chosen, strict=True)]
        sums = sums_of(variables, chosen, names, shapes)
        if sums and len(variables) + len(sums) == len(names):
            whole = True
            options = [sums.get(place, each) for place, each in enumerate(options)]
        labelled = [each for each in options if "" not in each]
        shared = [label for label in labelled[0] if all(label in each for each in labelled)] if labelled else [""]
        for label in shared:  # the same part of kernel and bias
            for weights in islice(product(*(each.get(label) or each[""] for each in options)), MOST_TURNS):
                yield Fit(layer=layer, uses=uses, weights=weights, whole=whole)


def fits_by_shape(
    layer: Any, variables: Sequence[Any], names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Fit]:
    """Yields the fits in which every variable has a tensor of its shape, axes of one aside; those of like names first.

    Args:
        layer: Of Keras.
        variables: Its own.
        names: Of PyTorch's tensors that may be taken, in the order of their first use.
        shapes: Of these.
    """
    options = []
    for variable in variables:
        ours = squeezed(tuple(variable.shape))
        fitting = [name for name in names if squeezed(shapes[name]) == ours]
        words = f"{layer.name}/{variable.name}"
        options.append(sorted(fitting, key=lambda name: -max(alike(variable.name, name), alike(words, name))))
    for chosen in distinct(options):
        weights = [
            WeightFit(
                variable=variable,
                names=(name,),
                turn=layouts.reshaped(tuple(variable.shape), shapes[name]),
                joint=layouts.single(),
            )
            for variable, name in zip(variables, chosen, strict=True)
        ]
        use = Use(name=chosen[0].rpartition(".")[0], tensors={name: name for name in chosen})
        yield Fit(layer=layer, uses=[use], weights=weights)


def sums_of(
    variables: Sequence[Any], chosen: Sequence[str], names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[int, dict[str, list[WeightFit]]]:
    """Returns the variables, by their place, that may be the sum of the tensor chosen and of one that is left over.

    PyTorch's recurrent layers have two biases, which they only ever add.
    """
    left, found = [name for name in names if name not in chosen], {}
    for place, (variable, name) in enumerate(zip(variables, chosen, strict=True)):
        others = [other for other in left if shapes[other] == shapes[name] == tuple(variable.shape)]
        if len(variable.shape) == 1 and len(others) == 1:
            both = tuple(sorted((name, others[0]), key=names.index))
            weight = WeightFit(variable=variable, names=both, turn=layouts.as_is(), joint=layouts.summed())
            found[place] = {"": [weight]}
    return found


def distinct(options: Sequence[Sequence[str]], taken: frozenset[str] = frozenset()) -> Iterator[list[str]]:
    """Yields the ways to take one of each of some options, none of them twice; the first ones first."""
    if not options:
        yield []
        return
    for name in options[0]:
        if name not in taken:
            yield from ([name, *others] for others in distinct(options[1:], taken | {name}))


def assignments(
    variables: Sequence[Any], names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[list[str]]:
    """Yields the ways to give each variable a tensor of its own of its size, or of several times its size.

    Those come first in which names agree, and in which a vector is a vector.
    """
    if not variables:
        yield []
        return
    variable, rest = variables[0], variables[1:]
    fitting = fitting_names(variable, names, shapes)

    def unlike(name: str) -> tuple:
        size, shape = int(np.prod(variable.shape)), shapes[name]
        return (
            parts_in(tuple(variable.shape), shape) != 1,
            alike(variable.name, name.rpartition(".")[2]) == 0,
            len(squeezed(shape)) != len(squeezed(tuple(variable.shape))) and size > 1,
        )

    for name in sorted(fitting, key=unlike):
        for others in assignments(rest, [each for each in names if each != name], shapes):
            yield [name, *others]


def fitting_names(variable: Any, names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Returns the tensors that a variable may be, or be a part of, by their sizes."""
    ours = tuple(variable.shape)
    return [name for name in names if parts_in(ours, shapes[name]) or rows_before(ours, shapes[name])]


def rows_before(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    """Returns how many rows a table of PyTorch has more than a table of Keras, if few; 0 where they are no such."""
    more = theirs[0] - ours[0] if len(ours) == len(theirs) == 2 and ours[1] == theirs[1] else 0
    return more if 0 < more <= MOST_ROWS else 0


def parts_in(ours: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Returns how many arrays of a shape a tensor of another holds; 0 where that is no small whole number."""
    size, whole = math.prod(ours), math.prod(shape)
    if size == 0 or whole % size:
        return 0
    parts = whole // size
    few = any(length % parts == 0 for length in shape[:2])  # cut along the axis of the outputs
    if 1 < parts <= MOST_PARTS and rows_before(ours, shape):
        return 0
    return parts if parts == 1 or (parts <= MOST_PARTS and few and max(shape) > 1) else 0


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape without its unit axes."""
    return tuple(size for size in shape if size != 1)


def options_of(variable: Any, name: str, shape: tuple[int, ...]) -> dict[str, list[WeightFit]]:
    """Returns the ways in which a variable may be a tensor, or a part of it, by the part; the usual ones first."""
    return {
        label: [
            WeightFit(variable=variable, names=(name,), turn=turn, joint=joint, label=label) for turn, joint in found
        ]
        for label, found in ways(tuple(variable.shape), shape).items()
    }


@cache
def ways(ours: tuple[int, ...], shape: tuple[int, ...]) -> dict[str, list[tuple[Turn, Joint]]]:
    """Returns the ways in which an array of a shape may be a tensor of a shape, or a part of it, by the part."""
    parts = parts_in(ours, shape)
    if parts == 0:
        turn, length = layouts.as_is(), ours[0]
        starts = range(rows_before(ours, shape), -1, -1)
        return {f"rows {start}": [(turn, layouts.rows(start, start + length))] for start in starts}
    if parts == 1:
        return {"": [(turn, layouts.single()) for turn in turns(ours, shape)]}
    found: dict[str, list[tuple[Turn, Joint]]] = {}
    for axis in (axis for axis, length in enumerate(shape[:2]) if length % parts == 0):
        view = (*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])
        for groups in sorted({1, *(size for size in ours if shape[axis] % (parts * size) == 0)}):
            for index in range(parts):
                joint = layouts.part(shape, axis, groups, parts, index)
                found.setdefault(f"{groups}x{parts}:{index}", []).extend((turn, joint) for turn in turns(ours, view))
    return found


def turns(ours: tuple[int, ...], view: tuple[int, ...]) -> list[Turn]:
    """Returns the turns between a variable's shape and that of a view, the usual ones of a kernel first."""
    found = list(layouts_between(view, ours))
    if len(squeezed(view)) >= 2 and len(squeezed(ours)) >= 2:
        found.sort(key=lambda layout: unusual(layout, ours, view))
    return [turn_of(layout, ours, view) for layout in found]


def unusual(layout: Layout, ours: Sequence[int], view: Sequence[int]) -> tuple[bool, bool, bool]:
    """Returns in what a layout of a kernel is unusual.

    Whole axes change places: those of its window, which are PyTorch's last, are the first in Keras, and PyTorch's first
    axis is the last.
    """
    kernel = tuple(ours[: len(view) - 2]) == tuple(view[2:])
    axes = [axis for axis in layout.axes if view[axis] > 1] if layout.of_its_own else []
    window = sorted(axis for axis in axes if axis >= 2) if kernel else []
    whole = [view[axis] for axis in axes] == [*squeezed(ours)]
    return not whole, axes[: len(window)] != window, axes[-1:] != [0]


def turn_of(layout: Layout, ours: tuple[int, ...], view: tuple[int, ...]) -> Turn:
    """Returns a layout as a turn."""
    axes = layout.axes
    if layout.of_its_own:
        between = tuple(view[axis] for axis in axes)
        return layouts.chain(layouts.reshaped(ours, between), layouts.transposed(*np.argsort(axes).tolist()))
    between = tuple(ours[axis] for axis in np.argsort(axes))
    return layouts.chain(layouts.transposed(*np.argsort(axes).tolist()), layouts.reshaped(between, view))
