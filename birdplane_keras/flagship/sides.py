"""The two programs, each shown to the judge in the same shape.

Weights appear in the reference's names and layout on both sides.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

import birdplane_keras.data
import birdplane_keras.model
import birdplane_keras.training
import torch_reference.data
import torch_reference.model
import torch_reference.training
from birdplane_keras.data.inputs import SHAPE, normalize, shift_pixels
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.core.samples import Places, Read
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.matching.transfer import TransferError, torch_to_keras
from birdplane_keras.parity.sides.arrays import to_numpy, to_view
from birdplane_keras.recipe import Recipe
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS

# Called after each epoch as on_epoch_end(epoch, weights, metrics).
OnEpochEnd = Callable[[int, Tensors, dict[str, float]], None]
OnStepEnd = Callable[[int, Read], None]  # called after each step, counted from 0
Predict = Callable[[np.ndarray], np.ndarray]


class TorchSide:
    """The reference, `torch_reference`."""

    def __init__(self, recipe: Recipe, *, data_dir: Path, device: str, synthetic: bool) -> None:
        changes: dict[str, Any] = {"epochs": recipe.epochs, "seed": recipe.seed}
        self._recipe = dataclasses.replace(REFERENCE_PRESETS[recipe.name], **changes)
        self.device = device
        self._train, self._validation = torch_reference.data.load_data(data_dir, synthetic=synthetic)

    def recipe(self) -> dict[str, Any]:
        """The hyperparameters, by field."""
        return dataclasses.asdict(self._recipe)

    def data(self) -> dict[str, np.ndarray]:
        """`x_train` (10000, 3072) float32, `y_train` (10000,) int64, and the same for `validation`."""
        tensors = {}
        for split, examples in (("train", self._train), ("validation", self._validation)):
            tensors[f"x_{split}"] = torch.stack([image.view(-1) for image, _ in examples]).numpy()
            tensors[f"y_{split}"] = np.array([label for _, label in examples], dtype=np.int64)
        return tensors

    def augmented(self) -> bool:
        """Whether each epoch changes the images."""
        return self._recipe.largest_shift > 0

    def inputs(self, epoch: int) -> np.ndarray:
        """`x_train` (10000, 3072) float32 as an epoch shows them, in file order."""
        loader = torch_reference.data.build_train_loader(self._train, self._recipe)
        loader.set_epoch(epoch)
        return torch.stack([loader.dataset[row][0].reshape(-1) for row in range(len(self._train))]).numpy()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        loader = torch_reference.data.build_train_loader(self._train, self._recipe)
        loader.set_epoch(epoch)
        return [np.array(rows) for rows in loader.batch_sampler or ()]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        return torch_reference.model.parameter_counts(self.build())

    def initial_weights(self) -> dict[str, np.ndarray]:
        """The weights from which training starts."""
        return named_weights(self.build())

    def parts(self) -> tuple[torch.nn.Module, Any, torch.optim.Optimizer]:
        """What the judge takes apart: the module up to what the port outputs, the loss of that, the optimizer.

        A log-softmax belongs to the loss: the port's has it inside.
        """
        model = self.build().to(self.device)
        loss_fn = torch_reference.training.LOSSES[self._recipe.loss]()
        optimizer = torch_reference.training.build_optimizer(model, self._recipe)
        if self._recipe.head != "log_softmax":
            return model, loss_fn, optimizer
        logits, head = torch_reference.model.logits_model(model), torch_reference.model.closing_head(model)
        return logits, lambda outputs, labels: loss_fn(head(outputs), labels), optimizer

    def train(
        self, on_epoch_end: OnEpochEnd, on_step_end: OnStepEnd, start: Mapping[str, np.ndarray] | None = None
    ) -> TrainingRun:
        """The whole run, from its own initial weights or from others."""
        model = self.with_weights(start)
        return torch_reference.training.train(
            self._recipe,
            self._train,
            self._validation,
            model=model,
            device=self.device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, named_weights(trained), metrics),
            on_step_end=lambda step, trained: on_step_end(
                step, lambda name, places: to_view(trained.get_parameter(name))[places]
            ),
        )

    def build(self) -> torch.nn.Sequential:
        """A new model, from its own seed."""
        return torch_reference.model.build_model(self._recipe)

    def with_weights(self, weights: Tensors | None) -> torch.nn.Sequential:
        """A model with given weights, or as it is built."""
        model = self.build()
        if weights is not None:
            model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return model.to(self.device)

    def predictor(self, weights: Tensors | None) -> Predict:
        """From normalised pixels (N, 3072) to logits (N, 2), by a model with given weights, or as it is built."""
        logits = torch_reference.model.logits_model(self.with_weights(weights))

        def predict(x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return to_numpy(logits(torch.from_numpy(x).to(self.device)))

        return predict

    def answer(self, logits: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Probabilities (2,) and the loss of the recipe, from the logits (2,) of one image and its class."""
        row = torch.from_numpy(logits)[None]
        head = torch_reference.model.closing_head(self.build())
        loss = torch_reference.training.LOSSES[self._recipe.loss]()(head(row), torch.tensor([label]))
        return torch.softmax(row, dim=1)[0].numpy(), float(loss)

    def shifted(self, x: np.ndarray, down: int, right: int) -> np.ndarray:
        """Normalised pixels (N, 3072) of images moved by so many pixels."""
        images = torch.from_numpy(x).view(-1, *SHAPE)
        return torch_reference.data.shift_images(images, down, right).reshape(len(x), -1).numpy()


def named_weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns a copy of every trainable tensor under its PyTorch name."""
    return {name: to_numpy(weight) for name, weight in model.named_parameters() if weight.requires_grad}


class KerasSide:
    """The port, `birdplane_keras`, started from the reference's weights."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        reference: torch.nn.Module,
        data_dir: Path,
        engine: str,
        device: str,
        synthetic: bool,
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._reference = reference
        self.device = device
        train, validation = birdplane_keras.data.load_data(data_dir, synthetic=synthetic)
        self._train = (normalize(train[0]), train[1])
        self._validation = (normalize(validation[0]), validation[1])

    def recipe(self) -> dict[str, Any]:
        """The hyperparameters, by field."""
        return dataclasses.asdict(self._recipe)

    def data(self) -> dict[str, np.ndarray]:
        """`x_train` (10000, 3072) float32, `y_train` (10000,) int64, and the same for `validation`."""
        (x_train, y_train), (x_validation, y_validation) = self._train, self._validation
        return {"x_train": x_train, "y_train": y_train, "x_validation": x_validation, "y_validation": y_validation}

    def inputs(self, epoch: int) -> np.ndarray:
        """`x_train` (10000, 3072) float32 as an epoch shows them, in file order."""
        x, y = self._train
        batches = birdplane_keras.training.build_train_batches((torch.from_numpy(x), torch.from_numpy(y)), self._recipe)
        batches.set_epoch(epoch)
        return batches.inputs(torch.arange(len(x))).numpy()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        rows = np.arange(len(self._train[0]))
        batches = birdplane_keras.training.build_train_batches((rows, rows), self._recipe)
        batches.set_epoch(epoch)
        return [np.asarray(batches.rows(step)) for step in range(len(batches))]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        with keras.device(self.device):
            return birdplane_keras.model.parameter_counts(birdplane_keras.model.build_model(self._recipe))

    def as_built(self) -> dict[str, np.ndarray]:
        """The weights that the port draws by itself, before the reference's are given to it."""
        with keras.device(self.device):
            return self._named_weights(birdplane_keras.model.build_model(self._recipe))

    def compiled(self) -> keras.Model:
        """What the judge takes apart: the model as it is trained, on its engine."""
        with keras.device(self.device):
            return birdplane_keras.training.compile_model(self._build(), self._recipe, self._engine)

    def train(self, on_epoch_end: OnEpochEnd, on_step_end: OnStepEnd) -> TrainingRun:
        """The whole run, through `fit`."""
        with keras.device(self.device):
            model = self._build()
        matches = match_layers(model, self._reference)
        by_name = {match.name: match for match in matches.tensors}

        def read(name: str, places: Places) -> np.ndarray:
            return by_name[name].view_keras(to_view(matches.variables[name].value))[places]

        run = birdplane_keras.training.train(
            self._recipe,
            self._train,
            self._validation,
            model=model,
            engine=self._engine,
            device=self.device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, self._named_weights(trained), metrics),
            on_step_end=lambda step, trained: on_step_end(step, read),
        )
        return dataclasses.replace(run, weights=self._renamed(run.weights, model))

    def predictor(self, weights: Tensors | None) -> Predict:
        """From normalised pixels (N, 3072) to logits (N, 2), by a model with given weights, or as it starts."""
        with keras.device(self.device):
            model = self._build()
            if weights is not None:
                matches = match_layers(model, self._reference)
                for match in matches.tensors:
                    matches.variables[match.name].assign(match.to_keras(weights[match.name]))
        logits = birdplane_keras.training.attached_logits_model(model, self._engine)

        def predict(x: np.ndarray) -> np.ndarray:
            with keras.device(self.device):
                return np.asarray(logits.predict_on_batch(x))

        return predict

    def answer(self, logits: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Probabilities (2,) and the loss of the recipe, from the logits (2,) of one image and its class."""
        probabilities = keras.ops.softmax(logits[None])
        outputs = probabilities if self._recipe.head == "softmax" else logits[None]
        loss = birdplane_keras.training.build_loss(self._recipe)(np.array([label]), outputs)
        return keras.ops.convert_to_numpy(probabilities)[0], float(loss)

    def shifted(self, x: np.ndarray, down: int, right: int) -> np.ndarray:
        """Normalised pixels (N, 3072) of images moved by so many pixels."""
        shifts = torch.tensor([[down, right]]).expand(len(x), -1)
        return shift_pixels(torch.from_numpy(x), shifts).numpy()

    def _build(self) -> keras.Model:
        model = birdplane_keras.model.build_model(self._recipe)
        with contextlib.suppress(TransferError):  # the rung `parameter_counts` says what does not fit
            torch_to_keras(self._reference, model)
        return model

    def _named_weights(self, model: keras.Model) -> dict[str, np.ndarray]:
        return self._renamed({weight.path: to_numpy(weight.value) for weight in model.trainable_weights}, model)

    def _renamed(self, weights: Tensors, model: keras.Model) -> dict[str, np.ndarray]:
        matches = match_layers(model, self._reference).tensors
        return {match.name: match.from_keras(weights[match.keras]) for match in matches if match.keras in weights}
