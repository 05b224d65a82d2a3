"""Takes the first training step of a model apart, in either framework. The judge's edge: it touches PyTorch."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch

from birdplane_keras.parity.records import FirstStep


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Returns a copy on the CPU."""
    return tensor.detach().cpu().numpy().copy()


def capture_torch_step(
    model: torch.nn.Module,
    logits: Callable[[torch.Tensor], torch.Tensor],
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, torch.Tensor],
) -> FirstStep:
    """Makes one step with a PyTorch model and keeps what it computed on the way.

    Args:
        model: Changed by the step.
        logits: From inputs to raw scores; shares the model's weights.
        loss_fn: From (outputs of the model, labels) to the loss.
        optimizer: Over the model's parameters.
        batch: Inputs (B, D) and labels (B,).
    """
    inputs, labels = batch
    with torch.no_grad():
        scores = to_numpy(logits(inputs))
    loss = loss_fn(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    gradients = {name: to_numpy(weight.grad) for name, weight in model.named_parameters() if weight.grad is not None}
    optimizer.step()
    updated = {name: to_numpy(weight) for name, weight in model.named_parameters()}
    return FirstStep(logits=scores, loss=to_numpy(loss), gradients=gradients, updated_weights=updated)


def capture_keras_step(
    model,
    last_loss: Callable[[], torch.Tensor],
    batch: tuple[np.ndarray, np.ndarray],
    keeping_gradients: AbstractContextManager[None],
) -> FirstStep:
    """Makes one step with a compiled Keras model, through `train_on_batch`, and keeps what it computed on the way.

    The logits are those that the model predicts for the batch just before, on the engine that is attached to it.

    Args:
        model: Changed by the step. Gradients and weights keep Keras' names and layout.
        last_loss: Returns the loss of the step just made.
        batch: Inputs (B, D) and labels (B,).
        keeping_gradients: Within it, the step leaves gradients in the weights' `.grad`.
    """
    inputs, labels = batch
    scores = model.predict_on_batch(inputs)
    with keeping_gradients:
        model.train_on_batch(inputs, labels)
    weights = {weight.path: weight.value for weight in model.trainable_weights}
    return FirstStep(
        logits=scores,
        loss=to_numpy(last_loss()),
        gradients={path: to_numpy(value.grad) for path, value in weights.items() if value.grad is not None},
        updated_weights={path: to_numpy(value) for path, value in weights.items()},
    )
