"""The reference, `torch_reference`, as the judge sees it."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import torch_reference.data
import torch_reference.model
import torch_reference.training
from birdplane_keras.flagship.program import OnEpochEnd, OnStepEnd
from birdplane_keras.parity.core.records import TrainingRun
from birdplane_keras.parity.core.samples import Places
from birdplane_keras.parity.sides.arrays import to_numpy, to_view
from birdplane_keras.recipe import Recipe
from torch_reference.recipe import PRESETS


class Reference:
    """The original program.

    Args:
        recipe: Its own preset of that name is trained, with the same epochs and seed.
        data_dir: The cache folder with verified batches.
        device: As PyTorch names it.
        synthetic: Use the generated stand-in for the images.
    """

    def __init__(self, recipe: Recipe, *, data_dir: Path, device: str, synthetic: bool) -> None:
        changes: dict[str, Any] = {"epochs": recipe.epochs, "seed": recipe.seed}
        self.own = dataclasses.replace(PRESETS[recipe.name], **changes)
        self.device = device
        self._train, self._validation = torch_reference.data.load_data(data_dir, synthetic=synthetic)

    def recipe(self) -> dict[str, Any]:
        """The hyperparameters, by field."""
        return dataclasses.asdict(self.own)

    def data(self) -> dict[str, np.ndarray]:
        """`x_train` (10000, 3072) float32, `y_train` (10000,) int64, and the same for `validation`."""
        return self._tensors

    @cached_property
    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {}
        for split, examples in (("train", self._train), ("validation", self._validation)):
            tensors[f"x_{split}"] = torch.stack([image.view(-1) for image, _ in examples]).numpy()
            tensors[f"y_{split}"] = np.array([label for _, label in examples], dtype=np.int64)
        return tensors

    def augmented(self) -> bool:
        """Whether each epoch changes the images."""
        return self.own.largest_shift > 0

    def inputs(self, epoch: int) -> np.ndarray:
        """`x_train` (10000, 3072) float32 as an epoch shows them, in file order."""
        loader = torch_reference.data.build_train_loader(self._train, self.own)
        loader.set_epoch(epoch)
        return torch.stack([loader.dataset[row][0].reshape(-1) for row in range(len(self._train))]).numpy()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of each batch of an epoch."""
        loader = torch_reference.data.build_train_loader(self._train, self.own)
        loader.set_epoch(epoch)
        return [np.array(rows) for rows in loader.batch_sampler or ()]

    def parameter_counts(self) -> list[int]:
        """The elements of each trainable tensor."""
        return torch_reference.model.parameter_counts(self.build())

    def as_built(self) -> dict[str, np.ndarray]:
        """The trained weights that the program draws by itself."""
        return ModuleView(self.build()).weights(trainable=True)

    def parts(self) -> tuple[torch.nn.Module, Any, torch.optim.Optimizer]:
        """What the judge takes apart: the module up to what the port outputs, the loss of that, the optimizer.

        A log-softmax belongs to the loss: the port's has it inside.
        """
        model = self.new_model()
        loss_fn = torch_reference.training.LOSSES[self.own.loss]()
        optimizer = torch_reference.training.build_optimizer(model, self.own)
        if self.own.head != "log_softmax":
            return model, loss_fn, optimizer
        logits, head = torch_reference.model.logits_model(model), torch_reference.model.closing_head(model)
        return logits, lambda outputs, labels: loss_fn(head(outputs), labels), optimizer

    def build(self) -> torch.nn.Sequential:
        """A new model on the CPU, from its own seed."""
        return torch_reference.model.build_model(self.own)

    def new_model(self) -> torch.nn.Sequential:
        """The same on the device."""
        return self.build().to(self.device)

    def view(self, model: torch.nn.Module) -> "ModuleView":
        """The weights of such a model."""
        return ModuleView(model)

    def train(self, model: torch.nn.Sequential, on_step_end: OnStepEnd, on_epoch_end: OnEpochEnd) -> TrainingRun:
        """The whole run, by the program's own loop."""
        return torch_reference.training.train(
            self.own,
            self._train,
            self._validation,
            model=model,
            device=self.device,
            on_epoch_end=lambda epoch, trained, metrics: on_epoch_end(epoch, metrics),
            on_step_end=lambda step, trained, loss: on_step_end(step, loss),
        )

    def predict(self, model: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
        """From normalised pixels (N, 3072) to logits (N, 2)."""
        with torch.no_grad():
            return to_numpy(torch_reference.model.logits_model(model)(torch.from_numpy(x).to(self.device)))


class ModuleView:
    """The parameters of a module by their own names; see `program.View`."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._parameters = dict(module.named_parameters())

    def names(self, *, trainable: bool | None = None) -> list[str]:
        """Returns the names of all parameters, of those that are trained, or of those that are not."""
        return [n for n, weight in self._parameters.items() if trainable is None or weight.requires_grad == trainable]

    def read(self, name: str) -> np.ndarray:
        """Returns a copy of a parameter."""
        return to_numpy(self._parameters[name])

    def read_some(self, name: str, places: Places) -> np.ndarray:
        """Returns the values at some places of a parameter."""
        return to_view(self._parameters[name])[places]

    def weights(self, *, trainable: bool | None = None) -> dict[str, np.ndarray]:
        """Returns copies of those parameters."""
        return {name: self.read(name) for name in self.names(trainable=trainable)}

    def set_weights(self, weights: Any) -> None:
        """Sets all parameters."""
        with torch.no_grad():
            for name, weight in self._parameters.items():
                weight.copy_(torch.from_numpy(weights[name]))
