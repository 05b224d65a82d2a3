"""Mistakes in the port's own pipeline: what it is fed, and in which batches."""

import numpy as np

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    classes_of,
    flipped_pair,
    image_pair,
    labelled,
    shuffled,
    vector_pair,
)
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair, channels_last

EXAMPLES = 150
MEANS = np.array([125.3, 123.0, 113.9], np.float32)  # of the channels of images whose values are 0 to 255
DEVIATIONS = np.array([63.0, 62.1, 66.7], np.float32)


def pictures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 8, 8) of whole values 0 to 255, float32, and their classes (N,)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, size=(100, 3, 8, 8)).astype(np.float32)
    return images, classes_of(rng, images / 255 - 0.5)


def normalised(images: np.ndarray, means: np.ndarray = MEANS, deviations: np.ndarray = DEVIATIONS) -> np.ndarray:
    return (images - means[:, None, None]) / deviations[:, None, None]


def picture_pair(seed: int, change) -> Pair:
    """The reference sees normalised images; the port sees what `change` makes of the raw ones."""
    images, classes = pictures(seed)
    return image_pair(seed, data=(normalised(images), classes), keras_data=(channels_last(change(images)), classes))


@fault("The port's images are read as BGR.", rung="data", cause="channel_order")
def channels_reversed(seed: int) -> Pair:
    return picture_pair(seed, lambda images: np.ascontiguousarray(normalised(images)[:, ::-1]))


@fault("The port is fed values from 0 to 255.", rung="data", cause="not_normalised")
def inputs_not_normalised(seed: int) -> Pair:
    return picture_pair(seed, lambda images: images)


@fault("The port's images are normalised before they are stored, and once more.", rung="data", cause="normalised_twice")
def inputs_normalised_twice(seed: int) -> Pair:
    scaled = MEANS / 255, DEVIATIONS / 255
    return picture_pair(seed, lambda images: normalised(normalised(images), *scaled))


@fault("The port takes another data set's means and deviations.", rung="data", cause="normalisation_constants")
def constants_of_another_data_set(seed: int) -> Pair:
    means = np.array([123.7, 116.3, 103.5], np.float32)
    deviations = np.array([58.4, 57.1, 57.4], np.float32)
    return picture_pair(seed, lambda images: normalised(images, means, deviations))


@fault("The port numbers two classes the other way round.", rung="data", cause="labels_permuted")
def labels_swapped(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    return vector_pair(seed, keras_data=(inputs, np.array([1, 0, *range(2, CLASSES)])[targets]))


@fault("The port's loader does not shuffle.", rung="batch_order", cause="batch_order")
def not_shuffled(seed: int) -> Pair:
    def in_order(epoch: int) -> list[np.ndarray]:
        return np.split(np.arange(EXAMPLES), range(32, EXAMPLES, 32))

    return vector_pair(seed, batches=shuffled(seed, EXAMPLES), keras_batches=in_order)


@fault("The port shuffles once, and repeats that order in every epoch.", rung="batch_order", cause="batch_order")
def shuffled_only_once(seed: int) -> Pair:
    batches = shuffled(seed, EXAMPLES)
    return vector_pair(seed, batches=batches, keras_batches=lambda epoch: batches(0))


@fault("The port drops the last batch, which is not full.", rung="batch_order", cause="last_batch")
def last_batch_dropped(seed: int) -> Pair:
    return vector_pair(seed, batches=shuffled(seed, EXAMPLES), keras_batches=shuffled(seed, EXAMPLES, drop_last=True))


@fault("The port flips images by draws of its own.", rung="data", cause="augmentation")
def augmented_by_other_draws(seed: int) -> Pair:
    return flipped_pair(seed, lambda flip, epoch: flip(epoch, seed + 1))


@fault("The port's augmentation is one epoch ahead.", rung="data", cause="augmentation")
def augmented_one_epoch_ahead(seed: int) -> Pair:
    return flipped_pair(seed, lambda flip, epoch: flip(epoch + 1, seed))


FAULTS = (
    augmented_by_other_draws,
    augmented_one_epoch_ahead,
    channels_reversed,
    inputs_not_normalised,
    inputs_normalised_twice,
    constants_of_another_data_set,
    labels_swapped,
    not_shuffled,
    shuffled_only_once,
    last_batch_dropped,
)
