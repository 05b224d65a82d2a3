"""`data` and `batch_order`: causes that can be read off what the two sides are fed."""

from collections.abc import Iterator, Sequence

import numpy as np

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.normalisation import in_normalisation
from birdplane_keras.parity.causes.pipelines import in_inputs, in_shifts
from birdplane_keras.parity.causes.reading import near, not_a_number, read_off
from birdplane_keras.parity.core.finding import Finding
from birdplane_keras.parity.core.records import Fed, in_epoch


def read_data(case: Case) -> Iterator[Finding]:
    """Reads what was done to the data."""
    return in_data(*case.bench.data())


def in_data(keras: Fed, torch: Fed) -> Iterator[Finding]:
    """Labels exchanged, channels reversed, normalisation left out, made twice or otherwise, augmentation."""
    for name, theirs in torch.inputs.items():
        ours = keras.inputs.get(name)
        if ours is None or ours.shape != theirs.shape or np.array_equal(ours, theirs):
            continue
        if not np.isfinite(ours).all():
            yield not_a_number("data", name, ours)
        elif ours.ndim > 2 and near(ours, theirs[..., ::-1]):
            yield read_off(
                "channel_order",
                "data",
                "the port is fed the channels in reverse order (BGR for RGB)",
                f"{name} with its last axis reversed is the reference's, value for value",
                f"{name} = {name}[..., ::-1] in the port's pipeline",
                tried=True,
            )
        else:
            readers = [in_normalisation, in_inputs]
            if np.issubdtype(theirs.dtype, np.integer):  # indices are not scaled
                readers = [in_inputs]
            yield from next((found for read in readers if (found := list(read(name, ours, theirs)))), [])
    for name, theirs in torch.targets.items():
        ours = keras.targets.get(name)
        if ours is not None and ours.shape == theirs.shape and not np.array_equal(ours, theirs):
            yield from in_targets(name, ours, theirs)
    for epoch, inputs in enumerate(torch.by_epoch[: len(keras.by_epoch)]):
        for name, theirs in inputs.items():
            ours = keras.by_epoch[epoch].get(name)
            if ours is not None and ours.shape == theirs.shape and not np.array_equal(ours, theirs):
                yield in_augmentation(name, epoch, ours, torch)


def in_targets(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Targets that are not finite, or labels in another order."""
    if not np.isfinite(ours).all():
        yield not_a_number("data", name, ours)
    else:
        yield from list(in_labels(name, ours, theirs)) or in_few_targets(name, ours, theirs)


def in_few_targets(name: str, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Finding]:
    """Targets that are all so many too large, or of which some are wrong."""
    shifted = [found for found in in_shifts(name, ours, theirs) if found.cause == "index_offset"]
    if shifted:
        yield from shifted
        return
    wrong = np.flatnonzero((ours != theirs).reshape(len(ours), -1).any(axis=1))
    if len(wrong) < len(ours) / 2:
        told = ", ".join(f"{i}: {ours[i]} for {theirs[i]}" for i in wrong[:3])
        yield read_off(
            "wrong_labels",
            "data",
            f"{len(wrong)} of {len(ours)} targets are wrong in the port, the others are equal",
            f"in {name}, {told}",
            "look at how these targets are read",
        )


def in_augmentation(name: str, epoch: int, ours: np.ndarray, torch: Fed) -> Finding:
    """Inputs that agree as they are, and not as an epoch shows them: other draws, or those of another epoch."""
    shown = in_epoch(name, epoch)
    differing = int((ours != torch.by_epoch[epoch][name]).reshape(len(ours), -1).any(axis=1).sum())
    told = f"{differing} of {len(ours)} examples differ in {shown}, and without the augmentation none does"
    for other, inputs in enumerate(torch.by_epoch):
        if other != epoch and near(ours, inputs[name]):
            told += f"; the port's {shown} are the reference's {in_epoch(name, other)}"
            break
    return read_off(
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
        yield read_off(
            "labels_permuted",
            "data",
            "the port's labels name the classes in another order",
            f"reference's label -> port's: {order}, in every example",
            "use the reference's class-to-number table in the port's pipeline",
            tried=True,
        )


def read_batches(case: Case) -> Iterator[Finding]:
    """Reads how the port's batches differ from the reference's in the epoch that the check names."""
    place = case.failed.place
    epoch = 0 if place is None or place.epoch is None else place.epoch
    ours, theirs = case.pair.keras_batches, case.pair.batches
    if ours is not None and theirs is not None:
        yield from in_batches(case.failed.reason, list(ours(epoch)), list(theirs(epoch)))


def in_batches(told: str, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Iterator[Finding]:
    """The last batch of an epoch is dropped, or the order is another."""
    shorter = len(ours) == len(theirs) - 1
    if shorter and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=False)):
        yield read_off(
            "last_batch",
            "batch_order",
            f"the port leaves out the last batch of every epoch ({len(theirs[-1])} examples)",
            f"{len(ours)} batches in Keras, {len(theirs)} in PyTorch; all others are equal",
            "keep the partial batch: drop_remainder=False, or ceil(N / batch_size) batches in __len__",
        )
        return
    same = len(ours) == len(theirs) and np.array_equal(np.sort(np.concatenate(ours)), np.sort(np.concatenate(theirs)))
    evidence = "the epoch holds the same examples in another order" if same else "the epoch holds other examples"
    yield read_off(
        "batch_order",
        "batch_order",
        "the port meets the examples in another order",
        f"{evidence}; {told}",
        "take the order of both loaders from one function of (seed, epoch), and call fit(shuffle=False)",
    )
