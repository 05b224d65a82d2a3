"""Causes that can be read off what the two sides are fed: inputs, targets, batches. NumPy only."""

from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.finding import Finding, finding, near, not_a_number
from birdplane_keras.parity.core.records import Tensors

IN_EPOCH = " in epoch "  # in the name of inputs as an epoch's augmentation shows them


def in_data(check: Check, keras: Tensors, torch: Tensors) -> Iterator[Finding]:
    """`data`: labels exchanged, channels reversed, normalisation left out, made twice or otherwise, augmentation."""
    for name, theirs in torch.items():
        ours = keras.get(name)
        if ours is None or ours.shape != theirs.shape or np.array_equal(ours, theirs):
            continue
        if not np.isfinite(ours).all():
            yield not_a_number("data", name, ours)
        elif IN_EPOCH in name:
            yield in_augmentation(name, keras, torch)
        elif name.startswith("targets"):
            yield from in_labels(name, ours, theirs)
        elif ours.ndim > 2 and near(ours, theirs[..., ::-1]):
            yield finding(
                "channel_order",
                "data",
                "the port is fed the channels in reverse order (BGR for RGB)",
                f"{name} with its last axis reversed is the reference's, value for value",
                f"{name} = {name}[..., ::-1] in the port's pipeline",
            )
        else:
            yield from in_normalisation(name, ours, theirs)


def in_augmentation(name: str, keras: Tensors, torch: Tensors) -> Finding:
    """Inputs that agree as they are, and not as an epoch shows them: other draws, or those of another epoch."""
    ours, theirs = keras[name], torch[name]
    differing = int((ours != theirs).reshape(len(ours), -1).any(axis=1).sum())
    told = f"{differing} of {len(ours)} examples differ in {name}, and without the augmentation none does"
    before = name.partition(IN_EPOCH)[0] + IN_EPOCH
    for other, value in torch.items():
        if other.startswith(before) and other != name and near(ours, value):
            told += f"; the port's {name} are the reference's {other}"
            break
    return finding(
        "augmentation",
        "data",
        "the port's pipeline changes the inputs otherwise than the reference's does",
        told,
        "draw the changes on both sides from (seed, epoch) by one formula: numpy.random.default_rng([seed, epoch])",
    )


def in_labels(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Labels that are a permutation of the reference's: as numbers, or as columns of one-hot rows."""
    hot = theirs.ndim == 2 and theirs.shape[1] > 1
    classes = theirs.shape[1] if hot else len(np.unique(theirs))
    mine, yours = (np.argmax(a, axis=1) if hot else np.searchsorted(np.unique(theirs), a) for a in (ours, theirs))
    if classes > 64 or len(mine) != len(yours):
        return
    table = {int(true): set(mine[yours == true].tolist()) for true in range(classes)}
    same = hot or np.array_equal(np.unique(ours), np.unique(theirs))
    if (
        same
        and all(len(targets) <= 1 for targets in table.values())
        and len(set().union(*table.values())) == len(table)
    ):
        order = {true: next(iter(found)) for true, found in table.items() if found}
        yield finding(
            "labels_permuted",
            "data",
            "the port's labels name the classes in another order",
            f"reference's label -> port's: {order}, in every example",
            "use the reference's class-to-number table in the port's pipeline",
        )


def in_normalisation(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Inputs that are an affine function of the reference's, one for each channel (the last axis)."""
    pairs = [fit_line(theirs[..., c], ours[..., c]) for c in range(theirs.shape[-1])] if theirs.ndim > 2 else []
    if not pairs or any(pair is None for pair in pairs):
        whole = fit_line(theirs, ours)
        pairs = [] if whole is None else [whole]
    if not pairs:
        return
    slope, offset = (np.array(values) for values in zip(*[p for p in pairs if p is not None], strict=True))
    factor, shift = np.round(slope, 4).tolist(), np.round(offset, 4).tolist()
    evidence = (
        f"{name} = {factor} x the reference's + {shift} in every value; the port's lie within "
        f"[{ours.min():.3g}, {ours.max():.3g}], the reference's within [{theirs.min():.3g}, {theirs.max():.3g}]"
    )
    raw = ours.min() >= 0 and (ours.max() <= 1 or np.array_equal(ours, np.rint(ours)))
    if raw and theirs.min() < 0:
        cause, text = "not_normalised", "the port's inputs are not normalised"
        fix = f"subtract {shift} and divide by {factor} in the port's pipeline"
    elif applied_twice(slope, offset, theirs):
        cause, text, fix = "normalised_twice", "the port's inputs are normalised twice", "normalise once, in one place"
    else:
        cause, text = "normalisation_constants", "the port normalises its inputs with other constants"
        fix = f"use the reference's mean and standard deviation: (x - {shift}) / {factor} of the port's x mends it"
    yield finding(cause, "data", text, evidence, fix)


def applied_twice(slope: np.ndarray, offset: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether the map is the one that made the reference's values from [0, 1]: its fixed 0 and 1 give it away."""
    axes = tuple(range(theirs.ndim - 1)) if len(slope) > 1 else None
    lowest, highest = theirs.min(axis=axes), theirs.max(axis=axes)
    return bool(
        np.allclose(offset, lowest, atol=0.05 * np.abs(slope).max())
        and np.allclose(slope + offset, highest, atol=0.05 * np.abs(slope).max())
    )


def fit_line(given: np.ndarray, made: np.ndarray) -> tuple[float, float] | None:
    """Returns (slope, offset) with made = slope x given + offset to rounding, or `None`."""
    x, y = given.astype(np.float64).ravel(), made.astype(np.float64).ravel()
    low, high = int(x.argmin()), int(x.argmax())
    if x[low] == x[high]:
        return None
    slope = (y[high] - y[low]) / (x[high] - x[low])
    offset = y[low] - slope * x[low]
    scale = max(float(np.abs(y).max()), float(np.abs(slope * x).max()), abs(offset))
    if slope == 0 or float(np.abs(slope * x + offset - y).max()) > 16 * scale * float(np.finfo(np.float32).eps):
        return None
    return float(slope), float(offset)


def in_batches(check: Check, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Iterator[Finding]:
    """`batch_order`: the last batch of an epoch is dropped, or the order is another."""
    shorter = len(ours) == len(theirs) - 1
    if shorter and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=False)):
        yield finding(
            "last_batch",
            "batch_order",
            f"the port leaves out the last batch of every epoch ({len(theirs[-1])} examples)",
            f"{len(ours)} batches in Keras, {len(theirs)} in PyTorch; all others are equal",
            "keep the partial batch: drop_remainder=False, or ceil(N / batch_size) batches in __len__",
        )
        return
    same = len(ours) == len(theirs) and np.array_equal(np.sort(np.concatenate(ours)), np.sort(np.concatenate(theirs)))
    evidence = "the epoch holds the same examples in another order" if same else "the epoch holds other examples"
    yield finding(
        "batch_order",
        "batch_order",
        "the port meets the examples in another order",
        f"{evidence}; {check.reason}",
        "take the order of both loaders from one function of (seed, epoch), and call fit(shuffle=False)",
    )
