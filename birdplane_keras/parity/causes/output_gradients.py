"""What a loss gives back to the outputs: how it weighs each example, and with that each class."""

from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.sides.examples import named_leaves

SAME = 1e-3  # relative spread within which factors are one


def weights_of_classes(case: Case) -> tuple[dict[int, float], str] | None:
    """Returns class -> how much more the port weighs its examples than the reference does, up to one common factor.

    Read from the gradients of both losses for the outputs, whose ratio is one number for all examples of a class.
    `None` where it is not, where it is one number for all classes, or where the gradients cannot be had.
    """
    targets = case.bench.reference().examples.take(case.plan[0])[1]
    if not isinstance(targets, np.ndarray) or not np.issubdtype(targets.dtype, np.integer):
        return None
    both = gradients_of_reference(case), gradients_of_port(case)
    theirs, ours = both
    if theirs is None or ours is None or theirs.shape != ours.shape:
        return None
    axis = 1 if theirs.ndim == targets.ndim + 1 and theirs.shape[2:] == targets.shape[1:] else theirs.ndim - 1
    sizes = [np.abs(np.moveaxis(side, axis, -1).reshape(-1, side.shape[axis])).sum(-1) for side in (ours, theirs)]
    labels = targets.reshape(-1)
    if len(labels) != len(sizes[0]):
        return None
    found = {}
    for label in np.unique(labels):
        chosen = (labels == label) & (sizes[1] > np.abs(sizes[1]).max() * 1e-4)
        if not chosen.any():
            return None
        factors = sizes[0][chosen] / sizes[1][chosen]
        if factors.max() - factors.min() > SAME * factors.mean():
            return None
        found[int(label)] = float(np.median(factors))
    if max(found.values()) - min(found.values()) <= SAME * min(found.values()):
        return None
    told = ", ".join(f"{label}: {factor:.4g}" for label, factor in found.items())
    return found, f"the port's gradients for the outputs are so many times the reference's, by class: {told}"


def gradients_of_reference(case: Case) -> np.ndarray | None:
    """Returns the gradient of the reference's loss for its one output, in the reference's layout."""
    run = case.bench.reference()
    run.set_training()
    inputs, targets = run.examples.take(case.plan[0])
    with torch.no_grad(), run.patched():
        outputs = run.call(inputs)
    if not isinstance(outputs, torch.Tensor):
        return None
    outputs = outputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(run.compute_loss(outputs, targets), [outputs])
    return gradient.cpu().numpy()


def gradients_of_port(case: Case) -> np.ndarray | None:
    """Returns the gradient of the port's loss for its one output, in the reference's layout; `None` if unheard."""
    port = case.bench.port()
    host = port.host
    host.heard.wants_output_gradients = True
    try:
        port.step(case.plan[0])
        given = list(host.heard.output_gradients)
    finally:
        host.heard.wants_output_gradients = False
    if len(given) != 1:
        return None
    return in_reference_layout(case, given[0].cpu().numpy())


def in_reference_layout(case: Case, gradient: np.ndarray) -> np.ndarray | None:
    """Returns an array in the layout of the port's outputs in that of the reference's.

    The pair says how outputs go the other way: numbers are sent that way to see where each comes from.
    """
    turn: Any = case.pair.outputs_to_keras
    if turn is None:
        return gradient
    run = case.bench.reference()
    run.set_training()
    with torch.no_grad(), run.patched():
        outputs = run.forward(case.plan[0])
    places = np.arange(outputs.numel(), dtype=np.float64).reshape(tuple(outputs.shape))
    sent = next(iter(named_leaves(turn(places), "outputs").values()))
    if sent.shape != gradient.shape or not np.array_equal(np.sort(sent, axis=None), places.reshape(-1)):
        return None
    back = np.empty(places.size, gradient.dtype)
    back[sent.reshape(-1).astype(np.int64)] = gradient.reshape(-1)
    return back.reshape(places.shape)
