"""The port, `birdplane_keras`, as the judge sees it: started from the reference's weights."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

import birdplane_keras.data
import birdplane_keras.model
import birdplane_keras.training
from birdplane_keras.data.inputs import normalize
from birdplane_keras.errors import TransferError
from birdplane_keras.flagship.program import OnEpochEnd, OnStepEnd
from birdplane_keras.parity.core.records import Tensors, TrainingRun
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.matching.transfer import torch_to_keras
from birdplane_keras.parity.sides.views import KerasView
from birdplane_keras.recipe import Recipe


class Port:
    """The Keras program.

    Args:
        recipe: What it trains.
        reference: A model of the reference, whose weights it starts from.
        data_dir: The cache folder with verified batches.
        engine: What its steps run on: `stock`, `exact` or `fused`.
        device: As PyTorch names it.
        synthetic: Use the generated stand-in for the images.
    """

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
        self.own, self.engine, self.device = recipe, engine, device
        self._reference = reference
        train, validation = birdplane_keras.data.load_data(data_dir, synthetic=synthetic)
        self._train = (normalize(train[0]), train[1])
        self._validation = (normalize(validation[0]), validation[1])

    def recipe(self) -> dict[str, Any]:
        """The hyperparameters, by field."""
        return dataclasses.asdict(self.own)

    def data(self) -> dict[str, np.ndarray]:
        """`x_train` (10000, 3072) float32, `y_train` (10000,) int64, and the same for `validation`."""
        (x_train, y_train), (x_validation, y_validation) = self._train, self._validation
        return {"x_train": x_train, "y_train": y_train, "x_validation": x_validation, "y_validation": y_validation}

    def inputs(self, epoch: int) -> np.ndarray:
        """`x_train` (10000, 3072) float32 as an epoch shows them, in file order."""
        x, y = self._train
        batches = birdplane_keras.training.build_train_batches((torch.from_numpy(x), torch.from_numpy(y)), self.own)
        batches.set_epoch(epoch)
        return batches.inputs(torch.arange(len(x))).numpy()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        rows = np.arange(len(self._train[0]))
        batches = birdplane_keras.training.build_train_batches((rows, rows), self.own)
        batches.set_epoch(epoch)
        return [np.asarray(batches.rows(step)) for step in range(len(batches))]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        return birdplane_keras.model.parameter_counts(self._untransferred())

    def as_built(self) -> Tensors:
        """The trained weights that the program draws by itself, before the reference's are given to it."""
        return self.view(self._untransferred()).weights(trainable=True)

    def new_model(self) -> keras.Model:
        """A model with the reference's weights."""
        model = self._untransferred()
        with contextlib.suppress(TransferError):  # the rung `parameter_counts` says what does not fit
            torch_to_keras(self._reference, model)
        return model

    def _untransferred(self) -> keras.Model:
        with keras.device(self.device):
            return birdplane_keras.model.build_model(self.own)

    def compiled(self) -> keras.Model:
        """What the judge takes apart: the model as it is trained, on its engine."""
        with keras.device(self.device):
            return birdplane_keras.training.compile_model(self.new_model(), self.own, self.engine)

    def view(self, model: keras.Model) -> KerasView:
        """The weights of such a model."""
        return KerasView(match_layers(model, self._reference))

    def train(self, model: keras.Model, on_step_end: OnStepEnd, on_epoch_end: OnEpochEnd) -> TrainingRun:
        """The whole run, through `fit`."""
        run = birdplane_keras.training.train(
            self.own,
            self._train,
            self._validation,
            model=model,
            engine=self.engine,
            device=self.device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, metrics),
            on_step_end=lambda step, trained, loss: on_step_end(step, loss),
        )
        matches = self.view(model).matches.values()
        weights = {
            match.name: match.from_keras(run.weights[m]) for match in matches if (m := match.keras) in run.weights
        }
        return dataclasses.replace(run, weights=weights)

    def predict(self, model: keras.Model, x: np.ndarray) -> np.ndarray:
        """From normalised pixels (N, 3072) to logits (N, 2)."""
        logits = birdplane_keras.training.attached_logits_model(model, self.engine)
        with keras.device(self.device):
            return np.asarray(logits.predict_on_batch(x))
