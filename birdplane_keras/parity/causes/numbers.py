"""Causes that can be read off weights and structure, without another run. NumPy only."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.finding import Finding, finding, near, not_a_number
from birdplane_keras.parity.core.records import Tensors


def in_weights(check: Check, keras: Tensors, torch: Tensors, statistics: set[str]) -> Iterator[Finding]:
    """`initial_weights`: what was done to each tensor that is not the reference's, when one thing explains it."""
    wrong = [name for name in torch if name in keras and not np.array_equal(keras[name], torch[name])]
    explained = False
    for name in wrong:
        ours, theirs = keras[name], torch[name]
        if not np.isfinite(ours).all():
            yield not_a_number("initial_weights", name, ours)
            return
        other = next((n for n in torch if n != name and near(ours, torch[n], 0) and ours.std()), None)
        if name in statistics and ours.std() == 0 and ours.flat[0] in (0, 1):
            yield finding(
                "moving_statistics",
                "initial_weights",
                f"{name}, a moving statistic, was not copied: it still is what Keras starts from",
                f"all {ours.flat[0]:g} in Keras; {theirs.min():.3g} to {theirs.max():.3g} in PyTorch",
                "copy running_mean and running_var, too: they are in state_dict() and in layer.non_trainable_weights",
            )
        elif ours.ndim == 2 and ours.shape[0] == ours.shape[1] and near(ours, theirs.T, 0):
            yield finding(
                "kernel_transposed",
                "initial_weights",
                f"{name} is transposed; it is square, so no shape gave it away",
                "the port's kernel is the reference's, entry for entry, with the axes exchanged",
                "PyTorch's weight is (out, in), a Dense kernel (in, out): kernel.assign(weight.T)",
            )
        elif other is not None:
            yield finding(
                "layers_swapped",
                "initial_weights",
                f"{name} holds the values of {other}",
                "equal in every bit",
                "give each layer the weights of its own counterpart, by name",
            )
        elif permuted := find_blocks(ours, theirs):
            yield finding(
                "gate_order",
                "initial_weights",
                f"{name} holds the reference's gates in the order {permuted}",
                f"block i of the port is block {permuted}[i] of the reference, in every bit",
                "LSTM: i, f, g, o in both; GRU: PyTorch r, z, n and Keras z, r, h. Or use parity.torch_to_keras",
            )
        elif near(ours, theirs.astype(np.float16).astype(np.float32), 0):
            yield finding(
                "precision",
                "initial_weights",
                f"{name} went through float16",
                "the port's values are the reference's, rounded to float16",
                "save and load weights in float32",
            )
        elif ours.ndim == 2 and columns_permuted(ours, theirs):
            yield finding(
                "flatten_order",
                "initial_weights",
                f"{name} has the reference's columns in another order: Keras flattens (H, W, C), PyTorch (C, H, W)",
                "every column of the port is a column of the reference, in every bit",
                "weight.reshape(out, C, H, W).transpose(2, 3, 1, 0).reshape(-1, out), or use parity.torch_to_keras",
            )
        else:
            continue
        explained = True
    if wrong and not explained and all(not related(keras[name], torch[name]) for name in wrong):
        yield finding(
            "default_initialisation",
            "initial_weights",
            f"{len(wrong)} of {len(torch)} tensors, {wrong[0]} the first, have nothing to do with the reference's",
            "no transposition, permutation or rounding makes one the other; they look like fresh initial values",
            "parity.torch_to_keras(torch_module, keras_model)",
        )


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


def in_distributions(check: Check, keras: Tensors, torch: Tensors) -> Iterator[Finding]:
    """`initialisation`: biases that start at zero or do not, and scales that differ."""
    rows = [row for row in check.tensors if not row["passed"]]
    biased = [row["name"] for row in rows if torch[row["name"]].std() == 0 and keras[row["name"]].std() > 0]
    if biased and len(biased) == len(rows):
        yield finding(
            "bias_initialised",
            "initialisation",
            f"{', '.join(biased)} start at {torch[biased[0]].flat[0]:g} in PyTorch, and not in Keras",
            rows[0]["text"],
            'bias_initializer="zeros" (for an LSTM unit_forget_bias=False, too)',
        )
        return
    if rows:
        told = "; ".join(f"{row['name']}: {row['text']}" for row in rows[:3])
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        yield finding(
            "default_initialisation",
            "initialisation",
            f"{len(rows)} tensors start from another distribution: Keras' default and PyTorch's are not the same",
            told + more,
            f"{how_to_draw([row['name'] for row in rows], torch)}; or start from the reference's weights and say "
            "initialisation=False",
        )


def how_to_draw(names: Sequence[str], torch: Tensors) -> str:
    """Returns which initialisers draw as the reference does: a rule where all are uniform, else for each tensor."""
    normal = [name for name in names if torch[name].std() > 0 and kurtosis(torch[name]) > BETWEEN]
    if not normal:
        return (
            "draw kernel and bias from PyTorch's default, uniform within ±1/sqrt(fan_in): kernel_initializer and "
            "bias_initializer keras.initializers.RandomUniform(-b, b) with b = fan_in ** -0.5"
        )
    drawn = []
    for name in names:
        root = float(np.sqrt(np.square(torch[name], dtype=np.float64).mean()))
        flat = f"RandomUniform({-(3**0.5) * root:.2g}, {3**0.5 * root:.2g})"
        bell = f"RandomNormal(0, {root:.2g})"
        constant = f"Constant({torch[name].flat[0]:g})"
        drawn.append(f"{name} by {constant if not torch[name].std() else bell if name in normal else flat}")
    return f"draw as the reference does, with keras.initializers: {', '.join(drawn)}"


BETWEEN = 2.4  # the kurtosis of a uniform distribution is 1.8, that of a normal one 3


def kurtosis(values: np.ndarray) -> float:
    """Returns the fourth moment over the square of the variance."""
    deviations = values.astype(np.float64) - values.mean()
    return float((deviations**4).mean() / (deviations**2).mean() ** 2)


def in_structure(check: Check) -> Iterator[Finding]:
    """`structure`: an output that is missing, or rates of Dropout that differ."""
    where = check.where or {}
    if "keras_shape" in where:
        yield in_shapes(check, where["keras_shape"], where["torch_shape"])
    if "torch" in where:
        ours, theirs = where["keras"], where["torch"]
        swapped = len(ours) == len(theirs) and all(abs(a + b - 1) < 1e-6 for a, b in zip(ours, theirs, strict=True))
        text = (
            "the port gives Dropout the share to keep; Keras and PyTorch both take the share to drop"
            if swapped
            else ("the rates of Dropout differ")
        )
        yield finding(
            "dropout_rate",
            "structure",
            text,
            f"rates {ours} in Keras, {theirs} in PyTorch",
            f"keras.layers.Dropout({theirs[0] if theirs else 0})",
        )
    elif "missing" in check.reason:
        yield finding("missing_output", "structure", check.reason.split(":")[0], check.reason, "return every output")


def in_shapes(check: Check, ours: Sequence[int], theirs: Sequence[int]) -> Finding:
    """Outputs of other shapes: another layout, or another number of them."""
    if len(theirs) > 2 and list(ours) == [theirs[0], *theirs[2:], theirs[1]]:
        text, fix = "the port's outputs have the channels at the end", "Pair(outputs_to_keras=channels_last)"
    elif np.prod(ours) == np.prod(theirs):
        text = "the port's outputs have another shape"
        fix = f"keras.layers.Reshape({tuple(theirs[1:])}) in the port; or, if it is meant so, "
        fix += f"Pair(outputs_to_keras=lambda outputs: outputs.reshape({(-1, *ours[1:])}))"
    else:
        text, fix = "the port has another number of outputs", "give its last layer as many units as the reference's"
    return finding("output_shape", "structure", text, check.reason, fix)


def in_counts(check: Check) -> Iterator[Finding]:
    """`parameter_counts`: a tensor without a counterpart, frozen or tied on one side only."""
    name = str((check.where or {}).get("tensor"))
    if "reset_after" in check.reason:
        fix = "keras.layers.GRU(reset_after=True), Keras' default"
        yield finding("reset_after", "parameter_counts", check.reason, "read from both layers", fix)
    elif "frozen" in check.reason:
        fix = "layer.trainable = True, or requires_grad_(False) in PyTorch, so that both sides train the same tensors"
        yield finding("frozen", "parameter_counts", check.reason, "the flags of the two tensors", fix)
    elif "one tensor in PyTorch" in check.reason:
        fix = "use one variable in both places: ops.matmul(x, ops.transpose(embedding.embeddings))"
        yield finding(
            "untied", "parameter_counts", f"tied weights are untied in the port: {check.reason}", check.reason, fix
        )
    elif "bias" in name or "beta" in name:
        side = "Keras" if (check.where or {}).get("side") == "torch" else "PyTorch"
        yield finding("missing_bias", "parameter_counts", f"{name} is missing in {side}", check.reason, "use_bias=True")
