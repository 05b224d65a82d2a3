"""Matches weights by their use: where a weight enters, what it is put to, and what comes of it.

The port predicts on the same examples as a copy of the reference whose weights were drawn. When a layer with weights is
called, the reference's parts that took the same numbers are its possible counterparts. It is given their weights, and
what it makes of them tells which it is. Where none makes the same (the port has a mistake there), the nearest in the
order of uses is taken, and the layer's output is replaced by the reference's, so that what comes behind is matched by
its use again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from birdplane_keras.parity.kinds.kind import TorchUnit
from birdplane_keras.parity.matching.fits import Fit
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch, Ledger, match_tensors, match_units
from birdplane_keras.parity.matching.uses import Uses
from birdplane_keras.parity.matching.walked import Walked
from birdplane_keras.parity.matching.walking import Walk
from birdplane_keras.parity.sides.arrays import to_view

RUNS = 200  # of the port at most
WORK = 3e10  # that they may take together, the first one or two aside: counted, so that no clock decides what is found
MOST_CHANGED = 4  # choices that are made otherwise at once
MOST_NAMED = 3  # layers
BACK = 6  # decisions before a step that fails, which are taken otherwise


def match_by_use(model: Any, uses: Uses, ledger: Ledger, predict: Callable[[], tuple[int, int]]) -> Walked:
    """Finds the counterparts of a model's layers. The model's weights are others afterwards.

    Where several parts of the reference may be one layer, the names and the order of uses decide; or, where that shows
    more, the order in which the port's layers were made. If what comes behind does not agree then, it is the next one.

    Args:
        model: The port.
        uses: Of a copy of the reference.
        ledger: Has what is matched already.
        predict: Calls the model on the same examples, and tells how many of its outputs are the copy's, of how many.
    """
    weights = {name: to_view(tensor) for name, tensor in uses.weights.items()}
    for match in (tensor for layer in ledger.layers for tensor in layer.tensors):
        ledger.variables[match.name].assign(match.to_keras(match.from_torch(*(weights[name] for name in match.torch))))

    def walk(choices: Sequence[int], *, as_made: bool) -> Walked:
        here = Walk(model, uses, weights, ledger, choices, as_made=as_made)
        with here.hooked():
            here.walked.agreeing, here.walked.outputs = predict()
        if here.walked.agrees and here.walked.helped:  # what a layer made otherwise may not count for the outputs
            agreeing, outputs = predict()
            here.walked.alone = agreeing == outputs
        return here.walked

    best, as_made = walk([], as_made=False), False
    if not best.right and best.out_of_turn:
        other = walk([], as_made=True)
        best, as_made = max((best, False), (other, True), key=lambda each: each[0].score)
    walk = partial(walk, as_made=as_made)
    settled = 0
    left = Left(runs=RUNS, work=WORK)
    while not best.right and not left.spent:
        lost = (i for i in range(settled, len(best.steps)) if best.steps[i].lost and best.is_open(best.steps[i]))
        failed = next(lost, len(best.steps))
        better = find_better(best, failed, walk, left)
        if better is not None:
            best = better
        elif failed == len(best.steps) or not best.outputs:
            break
        else:
            settled = failed + 1  # a mistake of the port, or a layer that the reference does not have
    if not best.right and left.spent:
        open_ = [step.layer.name for step in best.steps if best.is_open(step)]
        best.note = (
            f"not all ways to match the weights were tried: names and order say which {', '.join(open_[:MOST_NAMED])} "
            f"{'and others are' if len(open_) > MOST_NAMED else 'is' if len(open_) == 1 else 'are'}"
        ) * bool(open_)
    return best


@dataclass(kw_only=True)
class Left:
    """What may still be spent on other choices: runs of the port, and the work in them."""

    runs: int
    work: float

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.runs <= 0 or self.work <= 0


def find_better(best: Walked, place: int, walk: Callable[[Sequence[int]], Walked], left: Left) -> Walked | None:
    """Returns what a prediction with other choices before a step shows, if that is better; `None` where none is.

    One choice is made otherwise, and where that is not enough, two of them, then three and four.
    """
    level: list[tuple[int, Walked]] = [(-1, best)]
    for _ in range(MOST_CHANGED):
        deeper: list[tuple[int, Walked]] = []
        for last, before in level:
            for index, choices in other_choices(before, place):
                if index <= last:
                    continue
                if left.spent:
                    return None
                left.runs -= 1
                other = walk(choices)
                left.work -= other.work
                if other.score > best.score:
                    return other
                deeper.append((index, other))
        level = deeper
    return None


def other_choices(walked: Walked, place: int) -> Iterator[tuple[int, list[int]]]:
    """Yields where, and how, one of the last decisions before a step may be taken otherwise, or the step's own."""
    taken = [step.index for step in walked.steps]
    steps = list(enumerate(walked.steps[:place]))
    before = [index for index, step in steps if step.count > 1 and not walked.named(step)]
    itself = [place] if place < len(taken) else []
    sure = [index for index in before if walked.steps[index].failed and not walked.steps[index].doubted]
    several = before if itself else [index for index in before if index not in sure]
    for index in [*reversed(several[-BACK:]), *itself]:
        for other in range(walked.steps[index].count):
            if other != taken[index]:
                yield index, [*taken[:index], other]


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
        label = weight.label.partition(":")[2] or weight.label
        name = " + ".join(weight.names) + (f"[{label}]" if label else "")
        found.append(
            match_tensors(ledger, name, weight.variable, weight.names, weight.turn, weight.joint, labelled=bool(label))
        )
    name = fit.uses[0].name
    tensors = tuple(match for match in found if match is not None)
    ledger.layers.append(
        LayerMatch(kind=None, layer=fit.layer, module=module.get_submodule(name), name=name or ROOT, tensors=tensors)
    )
