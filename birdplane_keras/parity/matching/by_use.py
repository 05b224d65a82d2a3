"""Matches weights by their use: where a weight enters, what it is put to, and what comes of it.

The port predicts once, on the same examples as a copy of the reference whose weights were drawn. When a layer with
weights is called, the reference's parts that took the same numbers are its possible counterparts. It is given their
weights, and what it makes of them tells which it is. Where none makes the same (the port has a mistake there), the
nearest in the order of uses is taken, and the layer's output is replaced by the reference's, so that what comes behind
is matched by its use again.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.kinds.kind import KerasUnit, TorchUnit
from birdplane_keras.parity.kinds.mending import attributes_set
from birdplane_keras.parity.kinds.registry import kind_of_keras
from birdplane_keras.parity.matching.fits import Fit, alike, fits_by_size, fits_of_kind
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch, Ledger, match_tensors, match_units
from birdplane_keras.parity.matching.same import in_layout_of, same_numbers, same_values
from birdplane_keras.parity.matching.uses import Use, Uses
from birdplane_keras.parity.private_keras import layers_of, own_variables
from birdplane_keras.parity.private_torch import tree_leaves
from birdplane_keras.parity.programs.dispatched import tensors_in, value_of
from birdplane_keras.parity.programs.program import Value
from birdplane_keras.parity.sides.arrays import to_numpy

NEAREST = 6  # parts of the reference that took other numbers are tried, too: so many of them, in the order of uses
LONGEST = 2  # parts in a row that one layer may be: a separable convolution
RUNS = 24  # of the port at most


@dataclass(kw_only=True)
class Step:
    """The first call of a Keras layer in a prediction, and what was found for it.

    Args:
        layer: The layer.
        fits: What makes what the layer makes; several where that is not enough to tell.
        chosen: The fit that was taken; `None` where there was none.
    """

    layer: Any
    fits: Sequence[Fit] = ()
    chosen: Fit | None = None

    @property
    def proved(self) -> bool:
        """Whether the layer makes what its counterpart makes."""
        return bool(self.fits)


@dataclass(kw_only=True)
class Walked:
    """What one prediction of the port has shown: its layers in the order of their calls; whether the outputs agree."""

    steps: list[Step] = field(default_factory=list)
    agrees: bool = False

    @property
    def right(self) -> bool:
        """Whether everything fits."""
        return self.agrees and all(step.proved for step in self.steps)

    @property
    def score(self) -> tuple[bool, int]:
        """The better, the greater."""
        return self.agrees, sum(step.proved for step in self.steps)


def match_by_use(model: Any, uses: Uses, ledger: Callable[[], Ledger], predict: Callable[[], bool]) -> Walked:
    """Finds the counterparts of a model's layers. The model's weights are others afterwards.

    Where several parts of the reference may be one layer, the names and the order of uses decide, and if what comes
    behind does not agree then, the next one.

    Args:
        model: The port.
        uses: Of a copy of the reference.
        ledger: Makes an empty ledger.
        predict: Calls the model on the same examples, and tells whether its outputs are the copy's.
    """
    weights = {name: to_numpy(tensor) for name, tensor in uses.weights.items()}
    choices: list[int] = []
    best: Walked | None = None
    for _ in range(RUNS):
        walk = Walk(model, uses, weights, ledger, choices)
        with walk.hooked():
            walk.walked.agrees = predict()
        if best is None or walk.walked.score > best.score:
            best = walk.walked
        following = None if walk.walked.right else next_choices(walk.walked)
        if following is None:
            break
        choices = following
    return best or Walked()


def next_choices(walked: Walked) -> list[int] | None:
    """Returns the choices to try next: the last one before the first step that failed is another."""
    failed = next((i for i, step in enumerate(walked.steps) if not step.proved), len(walked.steps))
    taken = [
        (step.fits.index(step.chosen), len(step.fits)) if step.chosen in step.fits else (0, 1) for step in walked.steps
    ]
    for place in reversed(range(failed)):
        index, count = taken[place]
        if index + 1 < count:
            return [*(each for each, _ in taken[:place]), index + 1]
    return None


class Walk:
    """One prediction of the port, in which its layers are given their weights as they are called."""

    def __init__(
        self,
        model: Any,
        uses: Uses,
        weights: Mapping[str, np.ndarray],
        ledger: Callable[[], Ledger],
        choices: Sequence[int],
    ) -> None:
        self._model, self._uses, self._weights, self._ledger = model, uses, weights, ledger
        self._shapes = {name: tuple(value.shape) for name, value in weights.items()}
        self._choices = choices
        self._kinds = {id(use.kind) for use in uses.found if use.kind is not None}
        self._busy: Any = None  # the layer within which nothing is looked at
        self._done: set[int] = set()
        self._assigned: set[int] = set()
        self._taken: set[tuple[tuple[str, ...], str]] = set()
        self._open: dict[int, list[Fit]] = {}
        self._last = 0
        self.walked = Walked()

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Within it, the layers of the model are watched, and given their weights."""
        hooks = []
        for layer in layers_of(self._model):
            if kind_of_keras(layer) is not None or own_variables(layer):
                hooks.append(layer.register_forward_pre_hook(self._begin, with_kwargs=True))
                hooks.append(layer.register_forward_hook(self._end, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _variables(self, layer: Any) -> tuple[list[Any], KerasUnit | None]:
        """Returns the variables that a layer is to be given here, and the layer as its kind takes it."""
        kind = kind_of_keras(layer)
        unit = None if kind is None else KerasUnit(kind=kind, layer=layer, variables=kind.keras_parts(layer))
        variables = own_variables(layer) if unit is None else [*unit.variables.values()]
        open_ = [v for v in variables if id(v) not in self._assigned and keras.backend.is_float_dtype(v.dtype)]
        return open_, unit if len(open_) == len(variables) else None

    def _begin(self, layer: Any, args: tuple, kwargs: dict) -> None:
        if self._busy is not None or id(layer) in self._done:
            return
        variables, unit = self._variables(layer)
        if not variables:
            return
        received = [value_of(tensor) for tensor in tensors_of_call(args, kwargs)]
        fits = self._fits(layer, variables, unit, received)
        inner = [each for each in layers_of(layer, include_self=False) if own_variables(each)]
        within = unit is not None and bool(inner)
        if within and not fits:  # the layers in it are looked at by themselves
            return
        self._done.add(id(layer))
        self._open[id(layer)] = fits
        if within:
            self._busy = layer
        if fits:
            self._assign(fits[0])

    def _end(self, layer: Any, args: tuple, kwargs: dict, output: Any) -> Any:
        if id(layer) not in self._open or self._busy not in (None, layer):
            return None
        fits = self._open.pop(id(layer))
        self._busy = layer
        try:
            return self._settle(layer, fits, args, kwargs, output)
        finally:
            self._busy = None

    def _settle(self, layer: Any, fits: list[Fit], args: tuple, kwargs: dict, output: Any) -> Any:
        again = partial(layer, *args, **kwargs)
        proved = self._proved(fits, again)
        variables, unit = self._variables(layer)
        if not proved:
            others = self._others(layer, variables, unit, fits)
            proved = self._proved(others, again)
            fits = fits or [fit for fit in others if fit.unit is not None]
        step = Step(layer=layer, fits=proved)
        place = len(self.walked.steps)
        self.walked.steps.append(step)
        if proved:
            step.chosen = proved[self._choices[place] if place < len(self._choices) else 0]
        elif fits:
            step.chosen = fits[0]
        if step.chosen is None:
            return None
        self._assign(step.chosen)
        self._take(step.chosen)
        made = again()
        return made if proved else self._replaced(layer, step.chosen, made)

    def _fits(
        self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, received: Sequence[Value]
    ) -> list[Fit]:
        """Returns the fits with the uses that took what the layer takes, the likeliest first."""
        near = [use for use in self._uses.found if any(same_values(a, b) for a in use.received for b in received)]
        return self._ordered(layer, [fit for use in near for fit in self._fits_with(layer, variables, unit, use)])

    def _others(self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, known: Sequence[Fit]) -> list[Fit]:
        """Returns the fits with the other uses, those first that come next after the last that was taken."""
        met = {id(fit.uses[0]) for fit in known}
        rest = [use for use in self._uses.found if id(use) not in met]
        rest.sort(key=lambda use: (use.place <= self._last, use.place))
        found: list[Fit] = []
        for use in rest:
            fits = self._fits_with(layer, variables, unit, use)
            found += fits[:2]
            if len(found) >= NEAREST:
                break
        return found

    def _fits_with(self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, use: Use) -> list[Fit]:
        fits: list[Fit] = []
        if unit is not None and use.kind is unit.kind:
            fits += fits_of_kind(unit, use, self._ledger)
        else:
            for chain in self._chains(use):
                fits += fits_by_size(layer, variables, chain, self._shapes)
        return [fit for fit in fits if not any(self._is_taken(weight.key) for weight in fit.weights)]

    def _is_taken(self, key: tuple[tuple[str, ...], str]) -> bool:
        """Whether tensors, or that part of them, belong to another layer; one tensor has its parts in one manner."""
        names, label = key
        others = [other for taken, other in self._taken if taken == names]
        return label in others or any(other.partition(":")[0] != label.partition(":")[0] for other in others)

    def _chains(self, use: Use) -> Iterator[list[Use]]:
        """Yields a use alone, and with one that takes what it makes."""
        yield [use]
        if use.returned is not None:
            made = value_of(use.returned)
            for other in self._uses.found:
                if other is not use and any(same_values(made, each) for each in other.received):
                    yield [use, other]

    def _ordered(self, layer: Any, fits: list[Fit]) -> list[Fit]:
        name = layer.name
        return sorted(
            fits,
            key=lambda fit: (
                not fit.whole,
                len(fit.uses),
                -alike(name, fit.uses[0].name),
                fit.unit is None,
                fit.uses[0].place,
            ),
        )

    def _proved(self, fits: Sequence[Fit], again: Callable[[], Any]) -> list[Fit]:
        """Returns those of some fits with which the layer makes what the last of their uses makes."""
        found: dict[tuple, tuple[int, Fit]] = {}  # what is taken by what -> how alike the outputs are, and the fit
        for fit in fits:
            wanted, key = fit.uses[-1].returned, taken_by(fit)
            if wanted is None or (key in found and found[key][0] == 0):
                continue
            self._assign(fit)
            likeness = [same_numbers(made, wanted, fit_parts(fit)) for made in outputs_of(fit.layer, again)]
            best = min((each for each in likeness if each is not None), default=None)
            if best is not None and (key not in found or best < found[key][0]):
                found[key] = best, fit
        return [fit for _, fit in sorted(found.values(), key=lambda each: each[0])]

    def _assign(self, fit: Fit) -> None:
        for weight in fit.weights:
            weight.variable.assign(np.ascontiguousarray(weight.value(self._weights)))

    def _take(self, fit: Fit) -> None:
        self._assigned |= {id(weight.variable) for weight in fit.weights}
        self._taken |= {weight.key for weight in fit.weights}
        self._last = fit.uses[-1].place

    def _replaced(self, layer: Any, fit: Fit, made: Any) -> Any:
        """Returns what the layer would have made if it were right; what it made where that cannot be told."""
        wanted = fit.uses[-1].returned
        if wanted is None or not isinstance(made, torch.Tensor) or wanted.numel() != made.numel():
            return None
        turned = in_layout_of(wanted, made)
        activation = getattr(layer, "activation", None)
        return activation(turned) if activation is not None and has_own_activation(layer) else turned


def tensors_of_call(args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """Returns the tensors that a layer is called with; arrays as tensors."""
    leaves = [torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in tree_leaves((args, kwargs))]
    return tensors_in(leaves)


def outputs_of(layer: Any, again: Callable[[], Any]) -> Iterator[torch.Tensor]:
    """Yields what a layer makes, and what it makes before its activation."""
    made = next((leaf for leaf in tree_leaves(again()) if isinstance(leaf, torch.Tensor)), None)
    if made is not None:
        yield made
    if has_own_activation(layer):
        with attributes_set(layer, activation=keras.activations.linear):
            made = again()
        if isinstance(made, torch.Tensor):
            yield made


def has_own_activation(layer: Any) -> bool:
    """Whether a layer ends in an activation, which is no part of its counterpart."""
    activation = getattr(layer, "activation", None)
    recurrent = isinstance(layer, keras.layers.RNN)
    return activation is not None and activation is not keras.activations.linear and not recurrent


def fit_parts(fit: Fit) -> tuple[int, int]:
    """Returns the part of what a use makes that a layer makes: which of how many."""
    labels = [weight.label for weight in fit.weights if ":" in weight.label]
    if not labels:
        return 0, 1
    shape, _, index = labels[0].partition(":")
    return int(index), int(shape.partition("x")[2])


def taken_by(fit: Fit) -> tuple:
    """Returns which variables are given which tensors, in whatever layout."""
    return (id(fit.uses[-1]), *sorted((id(weight.variable), weight.key) for weight in fit.weights))


def take_over(ledger: Ledger, walked: Walked, theirs: Sequence[TorchUnit], module: nn.Module) -> set[int]:
    """Matches in a ledger what was found by use; returns the layers of either side, by `id`, that are matched so.

    Args:
        ledger: Of the models themselves.
        walked: What was found.
        theirs: The reference's layers of known kinds.
        module: The reference.
    """
    units = {tuple(unit.tensors.values()): unit for unit in theirs}
    done: set[int] = set()
    for step in walked.steps:
        fit = step.chosen
        if fit is None or any(id(weight.variable) in ledger.settled for weight in fit.weights):
            continue
        if fit.unit is not None and fit.uses[0].unit is not None:
            other = units.get(tuple(fit.uses[0].unit.tensors.values()))
            if other is not None and id(other) not in done:
                match_units(ledger, fit.unit, other)
                done |= {id(step.layer), id(other)}
        else:
            match_weights(ledger, fit, module)
    return done


def match_weights(ledger: Ledger, fit: Fit, module: nn.Module) -> None:
    """Matches the weights of a layer of no known kind, or of another than its counterpart."""
    found = []
    for weight in fit.weights:
        label = weight.label.partition(":")[2]
        name = " + ".join(weight.names) + (f"[{label}]" if label else "")
        found.append(
            match_tensors(ledger, name, weight.variable, weight.names, weight.turn, weight.joint, labelled=bool(label))
        )
    name = fit.uses[0].name
    tensors = tuple(match for match in found if match is not None)
    ledger.layers.append(
        LayerMatch(kind=None, layer=fit.layer, module=module.get_submodule(name), name=name or ROOT, tensors=tensors)
    )
