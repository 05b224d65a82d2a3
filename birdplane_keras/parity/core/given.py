"""The rungs of what both sides are given: recipes, data, batches, structure, weights. Nothing is trained for them."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np

from birdplane_keras.errors import PairError
from birdplane_keras.parity.core.check import Check, Place, failed, left_out, passed
from birdplane_keras.parity.core.climb import Climb, differing_names
from birdplane_keras.parity.core.compare import compare_tensors, one_ulp
from birdplane_keras.parity.core.distributions import compare_distributions
from birdplane_keras.parity.core.problems import counted
from birdplane_keras.parity.core.records import Counterparts, Dropped, Fed, Outline, Tensors
from birdplane_keras.parity.core.tolerances import EXACT, NORMALISED


def recipe(climb: Climb) -> Check:
    """`recipe`: the hyperparameters, field by field, as the two programs state them."""
    recipes = climb.bench.recipes()
    if recipes is None:
        return left_out("recipe", "not_stated", "the pair is made of models, which state no recipe")
    ours, theirs = recipes
    differing = differing_names(ours, theirs)
    if not theirs or differing:
        told = [f"{f}: {ours.get(f, 'absent')} in Keras, {theirs.get(f, 'absent')} in PyTorch" for f in differing]
        place = Place(field=differing[0]) if differing else None
        return failed("recipe", "field" if differing else "nothing", "; ".join(told) or "nothing was compared", place)
    return passed("recipe", f"{len(theirs)} fields agree")


def data(climb: Climb) -> Check:
    """`data`: the inputs and the targets that the port is fed, against the reference's in the port's layout."""
    ours, theirs = climb.bench.data()
    climb.keep_hashes("data", ours.tensors(), theirs.tensors())
    return compare_data(ours, theirs, exact=climb.bench.exact_data)


def compare_data(keras: Fed, torch: Fed, *, exact: bool) -> Check:
    """Compares what both sides are fed: every bit, or floating-point numbers to within two roundings."""
    ours, theirs = keras.tensors(), torch.tensors()
    if exact:
        return compare_tensors("data", ours, theirs, reason=str(EXACT))
    allowed = {}
    for name, tensor in theirs.items():
        floating = np.issubdtype(tensor.dtype, np.floating)
        allowed[name] = NORMALISED.factor * one_ulp(tensor) if floating and tensor.size else 0.0
    return compare_tensors("data", ours, theirs, tolerances=allowed, reason=str(NORMALISED))


def batch_order(climb: Climb) -> Check:
    """`batch_order`: the examples of every batch of every epoch that the steps reach."""
    return compare_batch_order(*climb.bench.batches(climb.locate(climb.steps - 1)[0] + 1))


def compare_batch_order(keras: Iterable[Sequence[np.ndarray]], torch: Iterable[Sequence[np.ndarray]]) -> Check:
    """Compares the examples of every batch of every epoch, and so the number of batches and their sizes."""
    batches = 0
    for epoch, (ours, theirs) in enumerate(zip_longest(keras, torch)):
        if ours is None or theirs is None:
            side = "Keras" if ours is None else "PyTorch"
            return broken_order("epochs", f"{side} has no epoch {epoch}", epoch, 0)
        for step, (mine, yours) in enumerate(zip_longest(ours, theirs)):
            if mine is None or yours is None:
                counts = f"{len(ours)} batches in Keras, {len(theirs)} in PyTorch"
                return broken_order("count", f"epoch {epoch} has {counts}", epoch, step)
            if len(mine) != len(yours):
                sizes = f"{len(mine)} examples in Keras, {len(yours)} in PyTorch"
                return broken_order("size", f"batch {step} of epoch {epoch} has {sizes}", epoch, step)
            if not np.array_equal(mine, yours):
                told = f"batch {step} of epoch {epoch} holds other examples or another order"
                return broken_order("examples", told, epoch, step)
            batches += 1
    if batches == 0:
        return failed("batch_order", "nothing", "nothing was compared")
    return passed("batch_order", f"{batches} batches hold the same examples in the same order")


def broken_order(code: str, reason: str, epoch: int, batch: int) -> Check:
    """Returns the failed check of the batch order."""
    return failed("batch_order", code, reason, Place(epoch=epoch, step=batch))


def determinism(climb: Climb) -> Check:
    """`determinism`: each side against itself.

    Raises:
        PairError: The reference differs from itself, or is not finite: there is nothing to hold the port against.
    """
    ours, theirs = climb.bench.repeats()
    whole = compare_tensors("determinism", *theirs, reason="")
    if whole.bits_differing != 0:
        tensor = whole.place.tensor if whole.place else None
        if not all(np.isfinite(value).all() for value in theirs[0].values()):
            raise PairError(f"expected a reference with finite numbers, received {whole.reason} within its first steps")
        again = compare_tensors("determinism", *climb.bench.repeats()[1], reason="")
        why = (
            "it draws random numbers in training (other than Dropout's, which the judge switches off): make the noise "
            "an input of both models, or draw it from a seed"
            if again.bits_differing
            else f"by {whole.max_abs_difference:.1e}, and not in a second try: "
            "something rounds otherwise now and then; run it again"
        )
        raise PairError(f"expected a deterministic reference, received one that differs from itself at {tensor}: {why}")
    if not all(np.isfinite(value).all() for value in ours[0].values()):
        return passed("determinism", "the reference agrees with itself; the port has numbers that are not finite")
    check = compare_tensors("determinism", *ours, reason="each side against itself, twice: every bit must agree")
    if check.passed:
        return check
    tensor = check.place.tensor if check.place else None
    text = (
        f"the port differs from itself at {tensor}: it draws random numbers in training; make the noise an input of "
        "both models, or draw it from a seed"
    )
    return failed("determinism", "random", text, check.place)


def structure(climb: Climb) -> Check:
    """`structure`: what numbers cannot show: the outputs by name and shape, and the calls of Dropout."""
    return compare_outlines(*climb.bench.outlines())


def compare_outlines(keras: Outline, torch: Outline) -> Check:
    """Compares the outputs' names and shapes, and rates and masks of Dropout in the order of the calls."""
    ours, theirs = keras.outputs, torch.outputs
    for side, here, there in (("keras", ours, theirs), ("torch", theirs, ours)):
        missing = [name for name in there if name not in here]
        if missing:
            framework = {"keras": "Keras", "torch": "PyTorch"}[side]
            reason = f"{missing[0]} is missing in {framework}: {list(ours)} in Keras, {list(theirs)} in PyTorch"
            return failed("structure", "missing_output", reason, Place(tensor=missing[0], side=side))
    for name, shape in theirs.items():
        if ours[name] != shape:
            reason = f"{name} has shape {ours[name]} in Keras, {shape} in PyTorch"
            return failed("structure", "output_shape", reason, Place(tensor=name))
    rates = [[round(call.rate, 6) for call in side.dropouts] for side in (keras, torch)]
    if rates[0] != rates[1]:
        reason = f"Dropout rates {rates[0]} in Keras, {rates[1]} in PyTorch (both are the share that is dropped)"
        return failed("structure", "dropout_rate", reason)
    for index, (mine, yours) in enumerate(zip(keras.dropouts, torch.dropouts, strict=True)):
        if mine.entries != yours.entries:
            reason = f"call {index + 1} of Dropout {describe_mask(mine)} in Keras, {describe_mask(yours)} in PyTorch"
            return failed("structure", "dropout_mask", reason)
    return passed("structure", f"outputs {dict(theirs)}; Dropout rates {rates[1]}")


def describe_mask(call: Dropped) -> str:
    """Returns how finely a call of Dropout draws."""
    return f"draws {call.entries} times for each example"


def parameter_counts(climb: Climb) -> Check:
    """`parameter_counts`: every tensor has its counterpart, of the same size, trained and tied alike."""
    return compare_counterparts(climb.bench.counterparts())


def compare_counterparts(weights: Counterparts) -> Check:
    """Looks for tensors without a counterpart, for those that one side alone trains, and for those that it unties."""
    name = "parameter_counts"
    if weights.problems:
        first = weights.problems[0]
        reason = f"{counted(weights.problems)}: {'; '.join(problem.text for problem in weights.problems)}"
        return failed(name, first.code, reason, Place(tensor=first.tensor, side=first.side))
    for match in weights.matched:
        if match.trained[0] != match.trained[1]:
            ours, theirs = ("trained" if trained else "frozen" for trained in match.trained)
            return failed(
                name, "frozen", f"{match.name} is {ours} in Keras and {theirs} in PyTorch", Place(tensor=match.name)
            )
    for names in weights.untied:
        reason = f"{' and '.join(names)} are one tensor in PyTorch and {len(names)} in Keras"
        return failed(name, "untied", reason, Place(tensor=names[0]))
    if not weights.matched:
        return failed(name, "nothing", "nothing was compared: neither side has weights")
    counts = [match.size for match in weights.matched if match.trained[0]]
    return passed(name, f"{sum(counts)} {counts}, in {len(weights.matched)} tensors")


def initial_weights(climb: Climb) -> Check:
    """`initial_weights`: every tensor at the start; every bit counts."""
    climb.as_built = climb.bench.weights_as_built()
    climb.start = climb.bench.start_weights()
    climb.keep_hashes("initial_weights", *climb.start)
    check = compare_exactly("initial_weights", *climb.start)
    if check.passed:
        climb.start = None  # it is as large as the models, and no rung above asks for it
    return check


def initialisation(climb: Climb) -> Check:
    """`initialisation`: the distributions that both sides draw their weights from."""
    if climb.as_built is None:
        return left_out("initialisation", "trained", "the pair says initialisation=False")
    check = compare_distributions(*climb.as_built)
    if check.passed:
        climb.as_built = None
    return check


def compare_exactly(rung: str, keras: Tensors, torch: Tensors) -> Check:
    """Compares tensors in which every bit counts."""
    return compare_tensors(rung, keras, torch, reason=str(EXACT))
