"""Mistakes in the loss and in the form of the targets."""

import keras
import torch
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, measured, one_hot, regression_pair, sgd, vector_pair
from birdplane_keras.catalogue.recipes import WEIGHTS, weighted_cross_entropy
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair


class SquaredError(keras.losses.Loss):
    """The mean squared error, as it is written by hand; (B,) against (B, 1) becomes (B, B)."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


@fault("The port's loss takes logits for probabilities.", rung="loss", cause="from_logits")
def logits_as_probabilities(seed: int) -> Pair:
    return vector_pair(seed, keras_loss=keras.losses.SparseCategoricalCrossentropy())


@fault("The port sums the loss over the batch.", rung="loss", cause="reduction")
def summed_loss(seed: int) -> Pair:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    return vector_pair(seed, keras_loss=loss)


@fault("The port gives the classes each other's weights.", rung="loss", cause="class_weights")
def class_weights_in_another_order(seed: int) -> Pair:
    return vector_pair(seed, torch_loss=weighted_cross_entropy, keras_class_weight=dict(enumerate(reversed(WEIGHTS))))


@fault("The port weights no classes.", rung="loss", cause="class_weights")
def class_weights_missing(seed: int) -> Pair:
    return vector_pair(seed, torch_loss=weighted_cross_entropy)


@fault(
    "The reference divides by the sum of the weights, the port by the batch size.", rung="loss", cause="class_weights"
)
def class_weights_divided_by_the_batch(seed: int) -> Pair:
    loss = nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS))
    return vector_pair(seed, torch_loss=loss, keras_class_weight=dict(enumerate(WEIGHTS)))


@fault("The port does not smooth the labels.", rung="loss", cause="label_smoothing")
def label_smoothing_missing(seed: int) -> Pair:
    return vector_pair(seed, torch_loss=nn.CrossEntropyLoss(label_smoothing=0.1))


@fault("The port smooths labels that the reference does not.", rung="loss", cause="label_smoothing")
def label_smoothing_added(seed: int) -> Pair:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    return vector_pair(seed, keras_loss=loss, targets_to_keras=one_hot)


@fault("The port's one-hot targets take the classes to start at one.", rung="loss", cause="one_hot_targets")
def one_hot_off_by_one(seed: int) -> Pair:
    return vector_pair(
        seed,
        keras_loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        targets_to_keras=lambda targets: one_hot((targets - 1) % CLASSES),
    )


@fault("The port has a binary loss for each class on one-hot targets.", rung="loss", cause="one_hot_targets")
def binary_loss_on_one_hot(seed: int) -> Pair:
    return vector_pair(seed, keras_loss=keras.losses.BinaryCrossentropy(from_logits=True), targets_to_keras=one_hot)


@fault("Targets (B,) and outputs (B, 1) are spread to (B, B) in the port's loss.", rung="loss", cause="broadcasting")
def targets_broadcast(seed: int) -> Pair:
    inputs, targets = measured(seed)
    return regression_pair(
        seed,
        data=(inputs, targets[:, 0]),
        torch_loss=lambda outputs, expected: (outputs[:, 0] - expected).square().mean(),
        keras_loss=SquaredError(),
    )


@fault("The port has an L2 penalty in the loss for the reference's weight decay.", rung="loss", cause="weight_decay")
def penalty_for_weight_decay(seed: int) -> Pair:
    pair = vector_pair(seed, torch_optimizer=sgd(0.05, weight_decay=0.01))
    for layer in pair.keras_model.layers:
        layer.kernel.regularizer = keras.regularizers.L2(0.01)
    return pair


FAULTS = (
    logits_as_probabilities,
    summed_loss,
    class_weights_in_another_order,
    class_weights_missing,
    class_weights_divided_by_the_batch,
    label_smoothing_missing,
    label_smoothing_added,
    one_hot_off_by_one,
    binary_loss_on_one_hot,
    targets_broadcast,
    penalty_for_weight_decay,
)
