"""The training loop of *Deep Learning with PyTorch*, chapter 7, with a record of what happened."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader

from torch_reference.data import Example, build_train_loader, build_validation_loader
from torch_reference.model import CLASSES, build_model, closing_head, logits_model
from torch_reference.recipe import Recipe

OnEpochEnd = Callable[[int, nn.Module, dict[str, float]], None]
OnStepEnd = Callable[[int, nn.Module, torch.Tensor], None]


class OneHotMSELoss(nn.MSELoss):
    """Mean squared error of probabilities (N, 2) against one-hot targets: airplane (1, 0), bird (0, 1)."""

    def forward(self, probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = nn.functional.one_hot(labels, CLASSES).to(probabilities.dtype)
        return super().forward(probabilities, targets)


LOSSES = {"nll": nn.NLLLoss, "cross_entropy": nn.CrossEntropyLoss, "mse": OneHotMSELoss}


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a training run leaves behind, all on the CPU.

    Args:
        weights: Final value of each parameter under its name in `state_dict`; kernels are (out, in) float32.
        step_losses: (steps,) float32, the loss of every batch, before its update.
        history: A list with one number per epoch for each of `loss` (mean over the images as they were met),
            `accuracy` (likewise), `validation_loss` and `validation_accuracy` (after the epoch).
        train_logits: (10000, 2) float32, the trained model on the training images in file order.
        validation_logits: (2000, 2) float32, the same on the validation images.
        seconds_per_epoch: Wall time of the steps of each epoch; validation and callbacks are not in it.
    """

    weights: dict[str, np.ndarray]
    step_losses: np.ndarray
    history: dict[str, list[float]]
    train_logits: np.ndarray
    validation_logits: np.ndarray
    seconds_per_epoch: list[float]


def build_optimizer(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """Plain SGD: `w -= learning_rate * gradient`."""
    return optim.SGD(model.parameters(), lr=recipe.learning_rate)


def predict_logits(model: nn.Sequential, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores every example of a loader.

    Returns:
        logits (N, 2) float32 and labels (N,) int64, in the loader's order, on the CPU.
    """
    device = next(model.parameters()).device
    logits, targets = [], []
    with torch.no_grad():
        for imgs, labels in loader:
            logits.append(logits_model(model)(imgs.view(imgs.shape[0], -1).to(device)).cpu())
            targets.append(labels)
    return torch.cat(logits), torch.cat(targets)


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Returns the share of rows whose largest logit is the label's."""
    return int((logits.argmax(dim=1) == labels).sum()) / labels.shape[0]


def train(
    recipe: Recipe,
    cifar2: Sequence[Example],
    cifar2_val: Sequence[Example],
    *,
    model: nn.Sequential | None = None,
    device: str = "cpu",
    on_epoch_end: OnEpochEnd | None = None,
    on_step_end: OnStepEnd | None = None,
) -> TrainingRun:
    """Trains the classifier as the recipe says.

    Args:
        recipe: Layers, loss, rate, batches, epochs, seed.
        cifar2: Training examples (image (3, 32, 32) float32, label).
        cifar2_val: Validation examples.
        model: Start from this model instead of a new one; it is trained in place.
        device: Where to train, as PyTorch names it.
        on_epoch_end: Called as `on_epoch_end(epoch, model, metrics)`; the metrics are the last entries of `history`,
            and `last_batch_loss`, the number that the article prints.
        on_step_end: Called as `on_step_end(step, model, loss)` after the update of each step, counted over all epochs;
            its time is not counted.
    """
    train_loader = build_train_loader(cifar2, recipe)
    val_loader = build_validation_loader(cifar2_val, recipe)
    model = (model or build_model(recipe)).to(device)
    optimizer = build_optimizer(model, recipe)
    loss_fn = LOSSES[recipe.loss]()
    # Filled in place: a small tensor kept from every step would sit between the large ones that come and go, and the
    # holes that it leaves in the heap would add up to gigabytes.
    step_losses = torch.empty(recipe.epochs, len(train_loader), device=device)
    history: dict[str, list[float]] = {
        name: [] for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")
    }
    seconds_per_epoch: list[float] = []

    for epoch in range(recipe.epochs):
        train_loader.set_epoch(epoch)
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        started = time.perf_counter()
        for step, (imgs, labels) in enumerate(train_loader):
            imgs, labels = imgs.view(imgs.shape[0], -1).to(device), labels.to(device)
            outputs = model(imgs)
            loss = loss_fn(outputs, labels)

            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            step_losses[epoch, step] = loss.detach()
            if on_step_end is not None:
                float(step_losses[epoch, step])  # waits for the device
                held = time.perf_counter()
                on_step_end(epoch * len(train_loader) + step, model, step_losses[epoch, step])
                started += time.perf_counter() - held
            loss_sum += loss.detach() * labels.shape[0]
            correct += (outputs.argmax(dim=1) == labels).sum()
        last_batch_loss = float(step_losses[epoch, -1])  # waits for the device
        seconds_per_epoch.append(time.perf_counter() - started)

        val_logits, val_labels = predict_logits(model, val_loader)
        history["loss"].append(float(loss_sum) / len(cifar2))
        history["accuracy"].append(int(correct) / len(cifar2))
        history["validation_loss"].append(float(loss_fn(closing_head(model)(val_logits), val_labels)))
        history["validation_accuracy"].append(accuracy(val_logits, val_labels))
        if on_epoch_end is not None:
            metrics = {name: values[-1] for name, values in history.items()}
            on_epoch_end(epoch, model, metrics | {"last_batch_loss": last_batch_loss})

    train_logits, _ = predict_logits(model, build_validation_loader(cifar2, recipe))
    val_logits, _ = predict_logits(model, val_loader)
    return TrainingRun(
        weights={name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()},
        step_losses=step_losses.flatten().cpu().numpy(),
        history=history,
        train_logits=train_logits.numpy(),
        validation_logits=val_logits.numpy(),
        seconds_per_epoch=seconds_per_epoch,
    )
