"""What both programs say about images, one by one, shifted, and of their parameters: the article's sections 2 to 6."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import torch

import birdplane_keras.model
import birdplane_keras.training
import torch_reference.data
import torch_reference.model
import torch_reference.training
from birdplane_keras.data.inputs import SHAPE, shift_pixels
from birdplane_keras.flagship.port import Port
from birdplane_keras.flagship.program import Program
from birdplane_keras.flagship.reference import Reference
from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.recipe import IMAGE_SIZE, Recipe
from torch_reference.recipe import Recipe as ReferenceRecipe

SIZES = (IMAGE_SIZE, 224, 1024)  # pixels of an image's edge: CIFAR-10's, ImageNet's, a photograph's
Predict = Callable[[np.ndarray], np.ndarray]


class Answering(Protocol):
    """A program that answers questions about images."""

    @property
    def program(self) -> Program:
        """The program itself."""

    def answer(self, logits: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Probabilities (2,) and the loss of the recipe, from the logits (2,) of one image and its class."""

    def shifted(self, x: np.ndarray, down: int, right: int) -> np.ndarray:
        """Normalised pixels (N, 3072) of images moved by so many pixels."""


class ReferenceAnswers:
    """The reference's answers."""

    def __init__(self, program: Reference) -> None:
        self.program = program

    def answer(self, logits: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Probabilities and loss of one image."""
        row, recipe = torch.from_numpy(logits)[None], self.program.own
        head = torch_reference.model.closing_head(self.program.build())
        loss = torch_reference.training.LOSSES[recipe.loss]()(head(row), torch.tensor([label]))
        return torch.softmax(row, dim=1)[0].numpy(), float(loss)

    def shifted(self, x: np.ndarray, down: int, right: int) -> np.ndarray:
        """Images moved by so many pixels."""
        images = torch.from_numpy(x).view(-1, *SHAPE)
        return torch_reference.data.shift_images(images, down, right).reshape(len(x), -1).numpy()


class PortAnswers:
    """The port's answers."""

    def __init__(self, program: Port) -> None:
        self.program = program

    def answer(self, logits: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Probabilities and loss of one image."""
        recipe = self.program.own
        probabilities = keras.ops.softmax(logits[None])
        outputs = probabilities if recipe.head == "softmax" else logits[None]
        loss = birdplane_keras.training.build_loss(recipe)(np.array([label]), outputs)
        return keras.ops.convert_to_numpy(probabilities)[0], float(loss)

    def shifted(self, x: np.ndarray, down: int, right: int) -> np.ndarray:
        """Images moved by so many pixels."""
        shifts = torch.tensor([[down, right]]).expand(len(x), -1)
        return shift_pixels(torch.from_numpy(x), shifts).numpy()


def predictor(program: Program, weights: Tensors | None) -> Predict:
    """Returns the map from normalised pixels (N, 3072) to logits (N, 2), of given weights or of those at the start."""
    model = program.new_model()
    if weights is not None:
        program.view(model).set_weights(weights)
    return lambda x: program.predict(model, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """The two programs of a preset with what they learned.

    Args:
        recipe: The preset's.
        sides: `torch` and `keras`.
        untrained: Side -> its model as it starts, from normalised pixels (N, 3072) to logits (N, 2).
        trained: The same after training.
    """

    recipe: Recipe
    sides: dict[str, Answering]
    untrained: dict[str, Predict]
    trained: dict[str, Predict]


def look_at(answers: Answers, split: str, index: int) -> dict[str, Any]:
    """Asks both sides about one image.

    Args:
        answers: Both sides.
        split: `train` or `validation`.
        index: Of the image in the split, from 0.

    Returns:
        `split`, `index`, `label` (the class's name), and `answers`: for each of `untrained` and `trained` and each side
        `probabilities` (2,), `predicted` (the class's name) and `loss`.
    """
    said: dict[str, dict[str, Any]] = {"untrained": {}, "trained": {}}
    label = 0
    for side, asked in answers.sides.items():
        data = asked.program.data()
        x, y = data[f"x_{split}"], data[f"y_{split}"]
        label = int(y[index])
        for state, predictors in (("untrained", answers.untrained), ("trained", answers.trained)):
            probabilities, loss = asked.answer(predictors[side](x[index : index + 1])[0], label)
            said[state][side] = {
                "probabilities": probabilities.tolist(),
                "predicted": CLASS_NAMES[int(np.argmax(probabilities))],
                "loss": loss,
            }
    return {"split": split, "index": index, "label": CLASS_NAMES[label], "answers": said}


def measure_translation(
    answers: Answers, shifts: Sequence[int], on_row: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Scores the validation images moved by every pair of shifts; what comes in at an edge is the mirror image.

    Args:
        answers: Both sides.
        shifts: Pixels down, and pixels to the right.
        on_row: Called after each row of shifts of each side.

    Returns:
        `shifts`, and for each side the accuracies, a row for each shift down and a column for each to the right.
    """
    measured: dict[str, Any] = {"shifts": list(shifts)}
    for side, asked in answers.sides.items():
        data = asked.program.data()
        x, y = data["x_validation"], data["y_validation"]
        rows = []
        for down in shifts:
            row = []
            for right in shifts:
                logits = answers.trained[side](asked.shifted(x, down, right))
                row.append(float((logits.argmax(axis=1) == y).mean()))
            rows.append(row)
            on_row()
        measured[side] = rows
    return measured


def by_distance(measured: dict[str, Any], side: str) -> dict[int, float]:
    """Returns the mean accuracy over all shifts of one distance, the larger of the pixels down and to the right."""
    shifts = np.abs(measured["shifts"])
    distances = np.maximum.outer(shifts, shifts)
    table = np.array(measured[side])
    return {int(d): float(table[distances == d].mean()) for d in np.unique(distances)}


def count_parameters(recipe: Recipe) -> dict[str, Any]:
    """Counts the parameters of both sides.

    The models are built without memory (PyTorch's meta device), so that a network of billions can be counted.

    Returns:
        `tensors`: one row for each, with `name` and `shape` on both sides, `count` and whether it is `trainable`;
        `totals`: for each edge of an image in pixels and each side, `total` and `trainable`.
    """
    reference, port = build_both(recipe, IMAGE_SIZE)
    weights, matching = dict(reference.named_parameters()), match_layers(port, reference)
    rows = []
    for match in matching.tensors:
        ours, theirs = matching.variables[match.name], weights[match.name]
        rows.append(
            {
                "torch": match.name,
                "torch_shape": list(theirs.shape),
                "keras": match.keras.partition("/")[2],  # without the model's own name
                "keras_shape": list(ours.shape),
                "count": {"torch": theirs.numel(), "keras": int(torch.Size(ours.shape).numel())},
                "trainable": {"torch": theirs.requires_grad, "keras": bool(ours.trainable)},
            }
        )
    return {"tensors": rows, "totals": {size: totals(*build_both(recipe, size)) for size in SIZES}}


def build_both(recipe: Recipe, size: int) -> tuple[torch.nn.Sequential, keras.Sequential]:
    """Returns both networks for images of a size, without memory for their weights."""
    with torch.device("meta"):
        reference = torch_reference.model.build_model(ReferenceRecipe(**dataclasses.asdict(recipe)), size)
    with keras.device("meta"):
        return reference, birdplane_keras.model.build_model(recipe, size)


def totals(reference: torch.nn.Module, port: keras.Model) -> dict[str, dict[str, int]]:
    """Returns, for each side, all parameters and those that are trained."""
    return {
        "torch": {
            "total": sum(p.numel() for p in reference.parameters()),
            "trainable": sum(torch_reference.model.parameter_counts(reference)),
        },
        "keras": {
            "total": port.count_params(),
            "trainable": sum(birdplane_keras.model.parameter_counts(port)),
        },
    }
