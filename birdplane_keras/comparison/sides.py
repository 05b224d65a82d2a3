"""The two programs, each shown to the judge in the same shape.

Weights appear in the reference's names and layout on both sides.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
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
from birdplane_keras import torch_plugin
from birdplane_keras.data.inputs import normalize
from birdplane_keras.parity.capture import capture_keras_step, capture_torch_step, to_numpy
from birdplane_keras.parity.records import FirstStep, Tensors, TrainingRun
from birdplane_keras.parity.weights import keras_to_torch, torch_to_keras
from birdplane_keras.recipe import Recipe
from torch_reference.recipe import PRESETS as REFERENCE_PRESETS

# Called after each epoch as on_epoch_end(epoch, weights, metrics).
OnEpochEnd = Callable[[int, Tensors, dict[str, float]], None]


class TorchSide:
    """The reference, `torch_reference`."""

    def __init__(self, recipe: Recipe, *, data_dir: Path, device: str, synthetic: bool) -> None:
        changes: dict[str, Any] = {"epochs": recipe.epochs, "seed": recipe.seed}
        self._recipe = dataclasses.replace(REFERENCE_PRESETS[recipe.name], **changes)
        self._device = device
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

    def batches(self) -> Iterator[list[np.ndarray]]:
        """For each epoch, the row numbers of each of its batches."""
        loader, order = torch_reference.data.build_train_loader(range(len(self._train)), self._recipe)
        for epoch in range(self._recipe.epochs):
            order.set_epoch(epoch)
            yield [rows.numpy() for rows in loader]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        return torch_reference.model.parameter_counts(self._build())

    def initial_weights(self) -> dict[str, np.ndarray]:
        """The weights from which training starts."""
        return named_weights(self._build())

    def first_step(self, dtype: torch.dtype = torch.float32) -> FirstStep:
        """The first step, in float32 as it is, or in float64, on the CPU, to measure its rounding."""
        device = self._device if dtype == torch.float32 else "cpu"  # not every device has float64
        model = self._build().to(device, dtype)
        loader, _ = torch_reference.data.build_train_loader(self._train, self._recipe)
        images, labels = next(iter(loader))
        inputs = images.view(images.shape[0], -1).to(device, dtype)
        return capture_torch_step(
            model,
            torch_reference.model.logits_model(model),
            torch_reference.training.LOSSES[self._recipe.loss](),
            torch_reference.training.build_optimizer(model, self._recipe),
            (inputs, labels.to(device)),
        )

    def train(self, on_epoch_end: OnEpochEnd, start: Mapping[str, np.ndarray] | None = None) -> TrainingRun:
        """The whole run, from its own initial weights or from others."""
        model = self._build()
        if start is not None:
            model.load_state_dict({name: torch.from_numpy(array) for name, array in start.items()})
        return torch_reference.training.train(
            self._recipe,
            self._train,
            self._validation,
            model=model,
            device=self._device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, named_weights(trained), metrics),
        )

    def _build(self) -> torch.nn.Sequential:
        return torch_reference.model.build_model(self._recipe)


def named_weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns a copy of every trainable tensor under its PyTorch name."""
    return {name: to_numpy(weight) for name, weight in model.named_parameters() if weight.requires_grad}


class KerasSide:
    """The port, `birdplane_keras`, started from the reference's weights."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        start: Mapping[str, np.ndarray],
        data_dir: Path,
        engine: str,
        device: str,
        synthetic: bool,
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._start = start
        self._device = device
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

    def batches(self) -> Iterator[list[np.ndarray]]:
        """For each epoch, the row numbers of each of its batches."""
        rows = np.arange(len(self._train[0]))
        batches = birdplane_keras.training.build_train_batches((rows, rows), self._recipe)
        for epoch in range(self._recipe.epochs):
            batches.set_epoch(epoch)
            yield [batches[step][0] for step in range(len(batches))]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        with keras.device(self._device):
            return birdplane_keras.model.parameter_counts(birdplane_keras.model.build_model(self._recipe))

    def initial_weights(self) -> dict[str, np.ndarray]:
        """The weights from which training starts."""
        with keras.device(self._device):
            return self._named_weights(self._build())

    def first_step(self) -> FirstStep:
        """The first step, through `train_on_batch`."""
        with keras.device(self._device):
            model = birdplane_keras.training.compile_model(self._build(), self._recipe, self._engine)
            batch = birdplane_keras.training.build_train_batches(self._train, self._recipe)[0]
            keeping_gradients = torch_plugin.gradients_kept(model)
            step = capture_keras_step(model, lambda: model.loss.latest.value, batch, keeping_gradients)
        names = dict(zip(step.updated_weights, self._start, strict=True))
        return dataclasses.replace(
            step,
            gradients=keras_to_torch(step.gradients, names),
            updated_weights=keras_to_torch(step.updated_weights, names),
        )

    def train(self, on_epoch_end: OnEpochEnd) -> TrainingRun:
        """The whole run, through `fit`."""
        with keras.device(self._device):
            model = self._build()
        run = birdplane_keras.training.train(
            self._recipe,
            self._train,
            self._validation,
            model=model,
            engine=self._engine,
            device=self._device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, self._named_weights(trained), metrics),
        )
        return dataclasses.replace(run, weights=self._renamed(run.weights))

    def _build(self) -> keras.Model:
        model = birdplane_keras.model.build_model(self._recipe)
        model.set_weights(torch_to_keras(self._start))
        return model

    def _named_weights(self, model: keras.Model) -> dict[str, np.ndarray]:
        return self._renamed({weight.path: to_numpy(weight.value) for weight in model.trainable_weights})

    def _renamed(self, weights: Tensors) -> dict[str, np.ndarray]:
        return keras_to_torch(weights, dict(zip(weights, self._start, strict=True)))
