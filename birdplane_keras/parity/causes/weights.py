"""`initial_weights` and `initialisation`: what was done to weights, and how they are drawn. Read off the numbers."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.initialisers import how_to_draw
from birdplane_keras.parity.causes.reading import near, not_a_number, read_off
from birdplane_keras.parity.core.check import Check
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.given import compare_exactly
from birdplane_keras.parity.core.records import Tensors

TRANSFER = "parity.torch_to_keras(torch_module, keras_model)"


def read_weights(case: Case) -> Iterator[Finding]:
    """Reads what was done to the weights that the port was given."""
    if case.climb.start is None:
        return
    statistics = {match.name for match in case.bench.matching.tensors if not match.trainable[1]}
    ours, theirs = case.climb.start
    yield from in_weights(ours, theirs, statistics, tried=transfer_helps(case, theirs))


def transfer_helps(case: Case, theirs: Tensors) -> bool:
    """Whether every bit is the reference's once the judge has carried the weights over."""
    host = case.bench.host
    start = host.start
    try:
        host.begin_at(theirs)
        return compare_exactly("initial_weights", case.bench.port().weights(), theirs).passed
    finally:
        host.start = start
        host.forget()


def in_weights(keras: Tensors, torch: Tensors, statistics: set[str], *, tried: bool = False) -> Iterator[Finding]:
    """What was done to each tensor that is not the reference's, when one thing explains it.

    Args:
        keras: The port's.
        torch: The reference's.
        statistics: Names of those that are not trained.
        tried: Whether the judge's own transfer makes them equal.
    """
    wrong = [name for name in torch if name in keras and not np.array_equal(keras[name], torch[name])]
    explained = False
    for name in wrong:
        ours, theirs = keras[name], torch[name]
        if not np.isfinite(ours).all():
            yield not_a_number("initial_weights", name, ours)
            return
        told = describe_weight(name, ours, theirs, torch, moving=name in statistics)
        if told is not None:
            explained = True
            cause, text, evidence, hint = told
            fixes = [f"{TRANSFER}; by hand: {hint}"] if hint else [TRANSFER]
            yield read_off(cause, "initial_weights", text, evidence, fixes, tried=tried)
    if wrong and not explained and mostly_equal(keras, torch, wrong):
        yield from in_places(keras, torch, wrong, tried=tried)
    elif wrong and not explained and all(not related(keras[name], torch[name]) for name in wrong):
        yield read_off(
            "default_initialisation",
            "initial_weights",
            f"{len(wrong)} of {len(torch)} tensors, {wrong[0]} the first, have nothing to do with the reference's",
            "no transposition, permutation or rounding makes one the other; they look like fresh initial values",
            TRANSFER,
            tried=tried,
        )


def mostly_equal(keras: Tensors, torch: Tensors, wrong: Sequence[str]) -> bool:
    """Whether in one of the tensors that differ most values are equal, and no constant."""
    alike = [name for name in wrong if keras[name].shape == torch[name].shape and torch[name].std()]
    return any(np.mean(keras[name] == torch[name]) > 1 / 2 for name in alike)


def in_places(keras: Tensors, torch: Tensors, wrong: Sequence[str], *, tried: bool) -> Iterator[Finding]:
    """How many values of how many tensors differ, where most are the reference's."""
    counts = {name: int((keras[name] != torch[name]).sum()) for name in wrong if keras[name].shape == torch[name].shape}
    if len(counts) < len(wrong):
        return
    name = min(counts, key=lambda each: counts[each])
    place = tuple(int(i) for i in np.argwhere(keras[name] != torch[name])[0])
    pair = f"{keras[name][place]:.6g} in Keras, {torch[name][place]:.6g} in PyTorch"
    yield read_off(
        "some_weights",
        "initial_weights",
        f"{sum(counts.values())} values in {len(wrong)} of {len(torch)} tensors differ, the others are equal",
        ", ".join(f"{each}: {count} of {keras[each].size}" for each, count in list(counts.items())[:3])
        + f"; the first of {name} at {list(place)}: {pair}",
        TRANSFER,
        tried=tried,
    )


def describe_weight(
    name: str, ours: np.ndarray, theirs: np.ndarray, torch: Tensors, *, moving: bool
) -> tuple[str, str, str, str] | None:
    """Returns cause, text, evidence and what to do by hand for one tensor; `None` where nothing explains it."""
    other = next((n for n in torch if n != name and near(ours, torch[n], 0) and ours.std()), None)
    if moving and ours.std() == 0 and ours.flat[0] in (0, 1):
        return (
            "moving_statistics",
            f"{name}, a moving statistic, was not copied: it still is what Keras starts from",
            f"all {ours.flat[0]:g} in Keras; {theirs.min():.3g} to {theirs.max():.3g} in PyTorch",
            "copy running_mean and running_var, too: they are in state_dict() and in layer.non_trainable_weights",
        )
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and near(ours, theirs.T, 0):
        return (
            "kernel_transposed",
            f"{name} is transposed; it is square, so no shape gave it away",
            "the port's kernel is the reference's, entry for entry, with the axes exchanged",
            "PyTorch's weight is (out, in), a Dense kernel (in, out): kernel.assign(weight.T)",
        )
    if other is not None:
        hint = "give each layer the weights of its own counterpart, by name"
        return "layers_swapped", f"{name} holds the values of {other}", "equal in every bit", hint
    if ours.ndim > 1 and (flipped := next((a for a in range(ours.ndim) if near(ours, np.flip(theirs, a), 0)), None)):
        evidence = "every value of the port is the reference's, counted from the other end"
        return "kernel_flipped", f"{name} is turned round along axis {flipped}", evidence, f"np.flip(weight, {flipped})"
    if (root := near(ours, np.sqrt(np.abs(theirs)))) or near(ours, theirs**2):
        kept, meant = ("deviation", "variance") if root else ("variance", "deviation")
        evidence = f"every value of the port is the reference's {'root' if root else 'square'}"
        return "variance_for_deviation", f"{name} holds a {kept} in place of a {meant}", evidence, "convert it"
    if permuted := find_blocks(ours, theirs):
        return (
            "gate_order",
            f"{name} holds the reference's gates in the order {permuted}",
            f"block i of the port is block {permuted}[i] of the reference, in every bit",
            "LSTM: i, f, g, o in both; GRU: PyTorch r, z, n and Keras z, r, h",
        )
    if near(ours, theirs.astype(np.float16).astype(np.float32), 0):
        evidence = "the port's values are the reference's, rounded to float16"
        return "precision", f"{name} went through float16", evidence, "save and load weights in float32"
    if ours.ndim == 2 and columns_permuted(ours, theirs):
        return (
            "flatten_order",
            f"{name} has the reference's columns in another order: Keras flattens (H, W, C), PyTorch (C, H, W)",
            "every column of the port is a column of the reference, in every bit",
            "weight.reshape(out, C, H, W).transpose(2, 3, 1, 0).reshape(-1, out)",
        )
    return None


def related(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two tensors hold the same numbers in some order."""
    return ours.size == theirs.size and near(np.sort(ours, axis=None), np.sort(theirs, axis=None), 0)


def find_blocks(ours: np.ndarray, theirs: np.ndarray) -> list[int] | None:
    """Returns in which order the reference's 3 or 4 blocks of rows make up the port's tensor."""
    for count, axis in itertools.product((4, 3), range(ours.ndim)):
        if ours.shape[axis] % count == 0:
            blocks, mine = np.split(theirs, count, axis), np.split(ours, count, axis)
            found = [next((i for i, b in enumerate(blocks) if np.array_equal(b, part)), None) for part in mine]
            order = [i for i in found if i is not None]
            if sorted(order) == list(range(count)) != order:
                return order
    return None


def columns_permuted(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether the columns of one matrix are those of the other in another order."""
    if ours.shape != theirs.shape:
        return False
    mine, yours = ({column.tobytes() for column in np.ascontiguousarray(a.T)} for a in (ours, theirs))
    return mine == yours


def read_distributions(case: Case) -> Iterator[Finding]:
    """Reads how the two sides draw their weights."""
    if case.climb.as_built is not None:
        yield from in_distributions(case.failed, *case.climb.as_built)


def in_distributions(check: Check, keras: Tensors, torch: Tensors) -> Iterator[Finding]:
    """Biases that start at zero or do not, and scales that differ."""
    rows = [row for row in check.tensors if not row["passed"]]
    names = [str(row["name"]) for row in rows]
    biased = [name for name in names if torch[name].std() == 0 and keras[name].std() > 0]
    if biased and len(biased) == len(rows):
        yield read_off(
            "bias_initialised",
            "initialisation",
            f"{', '.join(biased)} start at {torch[biased[0]].flat[0]:g} in PyTorch, and not in Keras",
            str(rows[0]["text"]),
            'bias_initializer="zeros" (for an LSTM unit_forget_bias=False, too)',
        )
        return
    if rows:
        told = "; ".join(f"{row['name']}: {row['text']}" for row in rows[:3])
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        advice, tried = how_to_draw(names, torch)
        yield read_off(
            "default_initialisation",
            "initialisation",
            f"{len(rows)} tensors start from another distribution: Keras' default and PyTorch's are not the same",
            told + more,
            f"{advice}; or start from the reference's weights and say initialisation=False",
            tried=tried,
        )
