"""Mistakes in losses, updates and pipelines, most of which the judge has no name for: it has to prove them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import ops
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, join, labelled, mlp, mlp_port, vector_pair
from birdplane_keras.catalogue.records import Fault, fault, seeded
from birdplane_keras.parity import Pair

OPERATIONS, ADDED = "different_operation", "added_operation"
EPSILON = 1e-3
Loss = Callable[[Any, Any], Any]


def hot(y: Any) -> Any:
    """One-hot rows, in the port."""
    return ops.one_hot(ops.cast(y, "int32"), CLASSES)


def hot_rows(y: torch.Tensor) -> torch.Tensor:
    """One-hot rows, in the reference."""
    return functional.one_hot(y, CLASSES).float()


def towards(y: Any) -> Any:
    """A distribution of the classes around the right one, in the port."""
    return ops.softmax(3 * hot(y), -1)


def towards_rows(y: torch.Tensor) -> torch.Tensor:
    """The same in the reference."""
    return (3 * hot_rows(y)).softmax(-1)


def focal(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    chance = (hot_rows(y) * z.softmax(-1)).sum(-1)
    return (-((1 - chance) ** 2) * chance.log()).mean()


def focal_port(y: Any, z: Any, *, power: float, weight: float = 1.0) -> Any:
    chance = ops.sum(hot(y) * ops.softmax(z), -1)
    return -weight * (1 - chance) ** power * ops.log(chance)


def dice(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    chances, rows = z.softmax(-1), hot_rows(y)
    return (1 - (2 * (chances * rows).sum(-1) + 1) / ((chances + rows).sum(-1) + 1)).mean()


def dice_port(y: Any, z: Any, *, smooth: float, above: bool = True) -> Any:
    chances, rows = ops.softmax(z), hot(y)
    shared, both = 2 * ops.sum(chances * rows, -1), ops.sum(chances + rows, -1)
    return 1 - (shared + (smooth if above else 0.0)) / (both + smooth)


def margins(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    gaps = (1.0 - (hot_rows(y) * z).sum(-1, keepdim=True) + z).relu()
    return (gaps * (1 - hot_rows(y))).sum(-1).mean()


def margins_port(y: Any, z: Any, *, margin: float = 1.0, power: int = 1, own: bool = False) -> Any:
    gaps = ops.relu(margin - ops.sum(hot(y) * z, -1, keepdims=True) + z) ** power
    return ops.sum(gaps if own else gaps * (1 - hot(y)), -1)


def cosine(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (1 - functional.cosine_similarity(z, hot_rows(y), -1)).mean()


def smoothed(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(z, y, label_smoothing=0.1)


def smoothed_over_others(y: Any, z: Any) -> Any:
    rows = hot(y) * 0.9 + (1 - hot(y)) * 0.1 / (CLASSES - 1)
    return -ops.sum(rows * ops.log_softmax(z, -1), -1)


def warm(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(z / 2, y) * 4


def divergence(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(z.log_softmax(-1), towards_rows(y), reduction="batchmean")


def divergence_port(y: Any, z: Any, *, reverse: bool) -> Any:
    one, other = (ops.softmax(z), towards(y)) if reverse else (towards(y), ops.softmax(z))
    return ops.sum(one * (ops.log(one) - ops.log(other)), -1)


LOSSES: dict[str, tuple[str, Loss, Loss]] = {
    "divergence_the_other_way": (
        "The port's divergence runs from the outputs to the targets.",
        partial(divergence_port, reverse=True), divergence,
    ),
    "divergence_averaged_over_classes": (
        "The port's divergence is a mean over the classes, too.",
        lambda y, z: divergence_port(y, z, reverse=False) / CLASSES, divergence,
    ),
    "focal_of_another_power": ("The port's focal loss has another power.", partial(focal_port, power=1.5), focal),
    "focal_weighted": (
        "The port's focal loss is weighted.", partial(focal_port, power=2, weight=0.25), focal,
    ),
    "dice_of_another_smoothing": (
        "The port's dice loss has another smoothing term.", partial(dice_port, smooth=EPSILON), dice,
    ),
    "dice_smoothed_below_only": (
        "The port's dice loss adds the smoothing term below the line only.",
        partial(dice_port, smooth=1.0, above=False), dice,
    ),
    "margin_of_another_size": ("The port's margin is smaller.", partial(margins_port, margin=0.5), margins),
    "margin_squared": ("The port squares what is within the margin.", partial(margins_port, power=2), margins),
    "margin_of_the_right_class": (
        "The port adds the margin of the right class, too.", partial(margins_port, own=True), margins,
    ),
    "similarity_for_distance": (
        "The port's loss is the similarity, not what it is less than one.",
        lambda y, z: ops.sum(z * hot(y), -1) / ops.norm(z, axis=-1), cosine,
    ),
    "smoothing_over_the_other_classes": (
        "The port spreads the share over the other classes only.", smoothed_over_others, smoothed,
    ),
    "temperature_not_squared": (
        "The port does not multiply by the square of the temperature.",
        lambda y, z: -ops.sum(hot(y) * ops.log_softmax(z / 2, -1), -1), warm,
    ),
    "epsilon_within_the_logarithm": (
        "The port adds a small number within the logarithm.",
        lambda y, z: -ops.log(ops.sum(hot(y) * ops.softmax(z), -1) + EPSILON),
        lambda z, y: -((hot_rows(y) * z.softmax(-1)).sum(-1)).log().mean(),
    ),
}  # fmt: skip
PUT_IN = {"margin_squared", "epsilon_within_the_logarithm"}  # operations that the reference does not make
SCALES = {  # what is a multiple of the reference's loss after all: rows of chances and of one-hot numbers add up to two
    "divergence_averaged_over_classes", "focal_weighted", "dice_of_another_smoothing", "temperature_not_squared",
}  # fmt: skip


def with_loss(ours: Loss, theirs: Loss, seed: int) -> Pair:
    """Three dense layers, and two losses."""
    return vector_pair(seed, keras_loss=ours, torch_loss=theirs)


class Decayed(torch.optim.Optimizer):
    """A step that nobody else has: the sign of a mean of gradients, and decay of what is no vector."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.state[weight].get("mean", torch.zeros_like(weight))
                step = (0.9 * mean + 0.1 * weight.grad).sign()
                if weight.ndim > 1:
                    step = step + 0.1 * weight
                self.state[weight]["mean"] = 0.99 * mean + 0.01 * weight.grad
                weight.sub_(group["lr"] * step)


class DecayedPort(keras.optimizers.Optimizer):
    """The same in Keras, with what a porter may get wrong."""

    def __init__(self, rate: float, *, fast: float = 0.9, vectors: bool = False, signed: bool = True) -> None:
        super().__init__(rate)
        self.fast, self.vectors, self.signed = fast, vectors, signed

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.means = [self.add_variable_from_reference(variable, name="mean") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        mean = self.means[self._get_variable_index(variable)]
        mixed = self.fast * mean + (1 - self.fast) * gradient
        step = ops.sign(mixed) if self.signed else mixed / (ops.abs(mixed) + EPSILON)
        if len(variable.shape) > 1 or self.vectors:
            step = step + 0.1 * variable
        self.assign(mean, 0.99 * mean + 0.01 * gradient)
        self.assign_sub(variable, learning_rate * step)


def own_step(seed: int, **wrong: Any) -> Pair:
    """Both sides have an optimizer of their own."""
    return vector_pair(
        seed,
        torch_optimizer=lambda weights: Decayed(weights, {"lr": 0.002}),
        keras_optimizer=DecayedPort(0.002, **wrong),
    )


@fault("The port's own optimizer decays biases, too.", rung="first_update", cause=OPERATIONS)
def own_decay_of_vectors(seed: int) -> Pair:
    module, model = mlp(), mlp_port()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "bias" in name:
                weight.add_(0.3)  # a bias of nothing decays to nothing
    return vector_pair(
        seed,
        module=module,
        model=model,
        torch_optimizer=lambda weights: Decayed(weights, {"lr": 0.002}),
        keras_optimizer=DecayedPort(0.002, vectors=True),
        initialisation=False,
    )


@fault("The port's own optimizer takes no sign.", rung="first_update", cause=OPERATIONS)
def own_step_without_sign(seed: int) -> Pair:
    return own_step(seed, signed=False)


class Warming(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that grows over eight steps."""

    def __init__(self, *, offset: int = 1, most: float = 0.05) -> None:
        self.offset, self.most = offset, most

    def __call__(self, step):
        return self.most * ops.minimum(1.0, (ops.cast(step, "float32") + self.offset) / 8)


def warming(seed: int, rate: Any) -> Pair:
    """The reference's rate grows over eight steps."""
    pair = vector_pair(seed, keras_optimizer=keras.optimizers.SGD(rate))
    scheduler = torch.optim.lr_scheduler.LambdaLR(pair.torch_optimizer, lambda step: min(1.0, (step + 1) / 8))
    object.__setattr__(pair, "torch_scheduler", scheduler)
    return pair


@fault("The port's rate does not grow at the start.", rung="first_update", cause="schedule")
def warm_up_missing(seed: int) -> Pair:
    return warming(seed, 0.05)


@fault("The port's rate grows from nothing, one step late.", rung="first_update", cause="schedule")
def warm_up_one_late(seed: int) -> Pair:
    return warming(seed, Warming(offset=0))


@fault("The port reads its images turned round.", rung="data", cause="flipped")
def inputs_turned_round(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    return vector_pair(seed, data=(inputs, targets), keras_data=(inputs[:, ::-1].copy(), targets))


@fault("The port counts its classes from one.", rung="data", cause="index_offset")
def labels_from_one(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    module = nn.Sequential(nn.Linear(FEATURES, CLASSES + 1))
    model = keras.Sequential([keras.Input((FEATURES,)), dense(FEATURES, CLASSES + 1)])
    return join(module, model, (inputs, targets), keras_data=(inputs, targets + 1))


@fault("A few of the port's labels are wrong.", rung="data", cause="wrong_labels")
def a_few_wrong_labels(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    wrong = targets.copy()
    wrong[[3, 17, 40]] = (wrong[[3, 17, 40]] + 1) % CLASSES
    return vector_pair(seed, data=(inputs, targets), keras_data=(inputs, wrong))


@fault("The port standardises each example by itself.", rung="data", cause="standardised")
def standardised_by_example(seed: int) -> Pair:
    inputs, targets = labelled(seed, FEATURES)
    own = (inputs - inputs.mean(1, keepdims=True)) / inputs.std(1, keepdims=True)
    return vector_pair(seed, data=(inputs, targets), keras_data=(own.astype(np.float32), targets))


FAULTS: tuple[Fault, ...] = (
    *(
        Fault(
            name=name,
            mistake=mistake,
            make=seeded(partial(with_loss, ours, theirs)),
            rung="loss",
            cause="loss_scale" if name in SCALES else ADDED if name in PUT_IN else OPERATIONS,
        )
        for name, (mistake, ours, theirs) in LOSSES.items()
    ),
    own_decay_of_vectors,
    own_step_without_sign,
    warm_up_missing,
    warm_up_one_late,
    inputs_turned_round,
    labels_from_one,
    a_few_wrong_labels,
    standardised_by_example,
)
