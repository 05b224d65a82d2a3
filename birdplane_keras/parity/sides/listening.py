"""Hears what a port's step computes: its outputs and loss, and the gradients that reach its optimizer."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch

from birdplane_keras.parity.kinds.repairing import attributes_set
from birdplane_keras.parity.private_keras import variables_of


@dataclass(kw_only=True)
class Heard:
    """What the last step computed, as far as it could be heard.

    Args:
        outputs: That the loss was computed of; `None` where the step computes its loss in its own way.
        loss: Likewise, ().
        gradients: `id` of a Keras variable -> its gradient, before clipping.
        output_gradients: Of the loss, in the order of the outputs' leaves, where they were asked for.
        wants_output_gradients: Whether they are.
    """

    outputs: Any = None
    loss: torch.Tensor | None = None
    gradients: dict[int, torch.Tensor] = field(default_factory=dict)
    output_gradients: list[torch.Tensor] = field(default_factory=list)
    wants_output_gradients: bool = False

    def forget(self) -> None:
        """Forgets the last step."""
        self.outputs, self.loss = None, None
        self.gradients, self.output_gradients = {}, []


@contextlib.contextmanager
def listening(model: Any, heard: Heard) -> Iterator[None]:
    """Within it, every step of a model leaves what it computes in `heard`."""
    compute_loss: Callable[..., torch.Tensor] = model.compute_loss
    optimizer = model.optimizer
    apply: Callable[..., Any] = optimizer.apply

    def listening_loss(*args: Any, **kwargs: Any) -> torch.Tensor:
        loss = compute_loss(*args, **kwargs)
        outputs = kwargs["y_pred"] if "y_pred" in kwargs else args[2] if len(args) > 2 else None
        heard.outputs, heard.loss = outputs, loss
        if heard.wants_output_gradients:
            hear_gradients(outputs, heard)
        return loss

    def listening_apply(grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> Any:
        variables = variables_of(optimizer) if trainable_variables is None else trainable_variables
        heard.gradients = {id(v): g.detach() for v, g in zip(variables, grads, strict=False) if g is not None}
        return apply(grads) if trainable_variables is None else apply(grads, trainable_variables)

    with attributes_set(model, compute_loss=listening_loss), attributes_set(optimizer, apply=listening_apply):
        yield


def hear_gradients(outputs: Any, heard: Heard) -> None:
    """Notes the gradients for the outputs as they come back."""
    leaves = [leaf for leaf in keras.tree.flatten(outputs) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    heard.output_gradients = []
    for leaf in leaves:
        leaf.register_hook(lambda gradient: heard.output_gradients.append(gradient.detach().clone()))
