"""One prediction of the port, in which each layer is given its weights as it is called, and shows whose they are."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.parity.kinds.kind import KerasUnit
from birdplane_keras.parity.kinds.registry import kind_of_keras
from birdplane_keras.parity.matching.fits import Fit, fits_by_shape, fits_by_size, fits_of_kind
from birdplane_keras.parity.matching.layer_calls import (
    fit_parts,
    has_others,
    has_own_activation,
    outputs_of,
    tensors_of_call,
)
from birdplane_keras.parity.matching.ledger import Ledger
from birdplane_keras.parity.matching.names import alike, bears_name, numbered
from birdplane_keras.parity.matching.same import in_layout_of, same_numbers, same_values
from birdplane_keras.parity.matching.uses import Use, Uses
from birdplane_keras.parity.matching.walked import Step, Walked
from birdplane_keras.parity.private_keras import layers_of, own_variables, variables_themselves
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.program import Value

NEAREST = 6  # parts of the reference that took other numbers are tried, too: so many of them, in the order of uses
MOST_FITS = 96  # of one layer with what took the same numbers, that are tried
MOST_WAYS = 3  # to go on where the layer does not make what its counterpart makes
MOST_OTHERS = 6  # with each part that took others
CALL = 3e6  # what a layer's call takes at least, in numbers of weights, times places
COMPARED = 100  # what it takes to compare a number


class Walk:
    """One prediction of the port, in which its layers are given their weights as they are called."""

    def __init__(
        self,
        model: Any,
        uses: Uses,
        weights: Mapping[str, np.ndarray],
        ledger: Ledger,
        choices: Sequence[int],
        *,
        as_made: bool = False,
    ) -> None:
        self._as_made = as_made
        self._model, self._uses, self._weights, self._ledger = model, uses, weights, ledger
        self._shapes = {name: tuple(value.shape) for name, value in weights.items()}
        firsts = {id(tensor): name for name, tensor in reversed(list(uses.weights.items()))}
        self._first_name = {name: firsts[id(tensor)] for name, tensor in uses.weights.items()}  # tied weights are one
        self._choices = choices
        self._busy: Any = None  # the layer within which nothing is looked at
        self._done: set[int] = set()
        self._assigned: set[int] = set(ledger.settled)
        settled = [name for name, tensor in ledger.tensors.items() if id(tensor) in ledger.settled]
        self._taken: set[tuple[tuple[str, ...], str]] = {((name,), "") for name in settled}
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
        within = unit is not None and has_others(layer)
        if within and not fits:  # the layers in it are looked at by themselves
            return
        self._done.add(id(layer))
        self._open[id(layer)] = fits
        if within:
            self._busy = layer
        first = fits or (self._guesses(layer, variables) if has_others(layer) else [])
        if first:
            self._assign(first[0])

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
        variables, unit = self._variables(layer)
        place = len(self.walked.steps)
        step = Step(layer=layer, index=self._choices[place] if place < len(self._choices) else 0)
        self.walked.steps.append(step)
        proved = self._proved(fits, again)
        step.reached = any(fit.likely for fit in fits)
        step.several = len({fit.uses[0].name for fit in fits if fit.likely}) > 1
        if not proved and not step.reached:
            others = self._others(layer, variables, unit, fits)
            proved = self._proved(others, again)
            fits = others
        fits = proved or [fit for fit in fits if fit.likely]
        step.proved = bool(proved)
        guesses = [] if proved or (fits and not has_others(layer)) else self._guesses(layer, variables)
        ways = proved or guesses or list({fit.uses[0].place: fit for fit in reversed(fits)}.values())[::-1]
        if self._as_made:
            ways = self._in_turn(ways, self._waiting(layer, variables))
        if not (proved or guesses):
            ways = ways[:MOST_WAYS]
        if not ways:
            return None
        step.chosen = ways[step.index if step.index < len(ways) else 0]
        step.count = len(ways) + step.failed
        step.named = bears_name(layer, step.chosen.uses[0].name)
        self._assign(step.chosen)
        self._take(step.chosen)
        made = again()
        if step.failed and step.index < len(ways):  # the last way is to leave what it makes
            replaced = self._replaced(layer, step.chosen, made)
            step.replaced = replaced is not None
            return replaced if step.replaced else made
        return made

    def _waiting(self, layer: Any, variables: Sequence[Any]) -> int:
        """Counts the layers of the same shapes that were made before this one, and have not been called yet.

        The numbers in their names say so: Keras calls the branches of a model in the order of their depths.
        """
        (stem, number), shapes = numbered(layer.name), [tuple(variable.shape) for variable in variables]
        named = [(each, *numbered(each.name)) for each in layers_of(self._model) if id(each) not in self._done]
        others = [self._variables(each)[0] for each, word, count in named if word == stem and count < number]
        return sum([tuple(variable.shape) for variable in each] == shapes for each in others)

    def _in_turn(self, ways: list[Fit], waiting: int) -> list[Fit]:
        """Returns ways by the places of their uses, from that on which a layer has behind those that wait."""
        places = sorted({fit.uses[0].place for fit in ways})
        first = waiting if waiting < len(places) else 0
        places = [*places[first:], *places[:first]]
        return sorted(ways, key=lambda fit: places.index(fit.uses[0].place))

    def _fits(
        self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, received: Sequence[Value]
    ) -> list[Fit]:
        """Returns the fits with the uses that took what the layer takes, the likeliest first."""
        near = [use for use in self._uses.found if any(same_values(a, b) for a in use.received for b in received)]
        fits = [fit for use in near for fit in self._fits_with(layer, variables, unit, use)]
        return self._ordered(layer, fits)[:MOST_FITS]

    def _others(self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, known: Sequence[Fit]) -> list[Fit]:
        """Returns the fits with the other uses, those first that come next after the last that was taken.

        Where layers are matched as they were made, all in their order.
        """
        met = {id(fit.uses[0]) for fit in known}
        rest = [use for use in self._uses.found if id(use) not in met]
        rest.sort(key=lambda use: (use.place <= self._last and not self._as_made, use.place))
        fits = ([fit for fit in self._fits_with(layer, variables, unit, use) if fit.likely] for use in rest)
        return [fit for found in islice(filter(None, fits), NEAREST) for fit in found[:MOST_OTHERS]]

    def _fits_with(self, layer: Any, variables: Sequence[Any], unit: KerasUnit | None, use: Use) -> list[Fit]:
        fits: list[Fit] = []
        if unit is not None and use.kind is unit.kind:
            fits += fits_of_kind(unit, use, self._ledger.empty)
        else:
            several = sum(len(variable.shape) > 1 for variable in variables) > 1 or len(use.tensors) < len(variables)
            for chain in self._chains(use) if several else [[use]]:
                fits += fits_by_size(layer, variables, chain, self._shapes)
        return [fit for fit in fits if not any(self._is_taken(weight.key) for weight in fit.weights)]

    def _guesses(self, layer: Any, variables: Sequence[Any]) -> list[Fit]:
        """Returns the fits with weights of the same shape that nothing else is known of, as of a table of positions."""
        of_kinds = {name for use in self._uses.found if use.kind is not None for name in use.tensors.values()}
        free = [name for name in self._uses.first if not self._is_taken(((name,), ""))]
        free.sort(key=lambda name: name in of_kinds)
        return list(islice(fits_by_shape(layer, variables, free, self._shapes), NEAREST))

    def _is_taken(self, key: tuple[tuple[str, ...], str]) -> bool:
        """Whether tensors, or that part of them, belong to another layer; one tensor has its parts in one manner."""
        names, label = key
        others = [other for taken, other in self._taken if taken == names]
        return label in others or any(other.partition(":")[0] != label.partition(":")[0] for other in others)

    def _of_tied(self, key: tuple[tuple[str, ...], str]) -> tuple[tuple[str, ...], str]:
        return tuple(self._first_name[name] for name in key[0]), key[1]

    def _taken_by(self, fit: Fit) -> tuple:
        """Returns which variables are given which tensors, in whatever layout."""
        return tuple(sorted((id(weight.variable), self._of_tied(weight.key)) for weight in fit.weights))

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
        with variables_themselves():
            before = [(w.variable.value, w.variable.value.detach().clone()) for fit in fits[:1] for w in fit.weights]
        found: dict[tuple, tuple[int, Fit]] = {}  # what is taken by what -> how alike the outputs are, and the fit
        for fit in fits:
            wanted, key = fit.uses[-1].returned, self._taken_by(fit)
            if wanted is None or (key in found and found[key][0] == 0):
                continue
            self._assign(fit)
            self._count(fit, wanted)
            likeness = [same_numbers(made, wanted, fit_parts(fit)) for made in outputs_of(fit.layer, again)]
            best = min((each for each in likeness if each is not None), default=None)
            if best is not None and (key not in found or best < found[key][0]):
                found[key] = best, fit
        with torch.no_grad():
            for tensor, value in [] if found else before:
                tensor.copy_(value)
        return [fit for _, fit in sorted(found.values(), key=lambda each: each[0])]

    def _count(self, fit: Fit, made: torch.Tensor) -> None:
        """Counts what a layer takes: its numbers are brought there, and put to each place of what it makes, which is
        compared.
        """
        numbers = sum(weight.variable.value.numel() for weight in fit.weights)
        places = made.numel() // max(1, made.shape[-1] if made.ndim else 1)
        self.walked.work += CALL * len(layers_of(fit.layer)) + numbers * (1 + places) + COMPARED * made.numel()

    def _assign(self, fit: Fit) -> None:
        with variables_themselves():
            for weight in fit.weights:
                weight.variable.assign(np.array(weight.value(self._weights), order="C"))

    def _take(self, fit: Fit) -> None:
        self._assigned |= {id(weight.variable) for weight in fit.weights}
        self._taken |= {weight.key for weight in fit.weights}
        self._last = fit.uses[-1].place

    def _replaced(self, layer: Any, fit: Fit, made: Any) -> Any:
        """Returns what the layer would have made if it were right; what it made where that cannot be told."""
        wanted = fit.uses[-1].returned
        if has_others(layer) or wanted is None:  # what is made by several layers may be made by others there
            return None
        if not isinstance(made, torch.Tensor) or wanted.numel() != made.numel():
            return None
        turned = in_layout_of(wanted, made)
        activation = getattr(layer, "activation", None)
        return activation(turned) if activation is not None and has_own_activation(layer) else turned
