"""How large "only rounding" is, measured on the reference itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.records import FirstStep, Tensors
from birdplane_keras.parity.tolerances import TOLERANCES


def nudge_one_ulp(weights: Tensors) -> tuple[dict[str, np.ndarray], str]:
    """Moves the weight of largest magnitude to the next float32 away from zero.

    Returns:
        a copy of the weights with that one change, and what was changed, in words.
    """
    name = max(weights, key=lambda key: float(np.abs(weights[key]).max()))
    nudged = {key: np.array(value) for key, value in weights.items()}
    index = np.unravel_index(int(np.abs(weights[name]).argmax()), weights[name].shape)
    before = weights[name][index]
    after = np.nextafter(before, np.copysign(np.float32(np.inf), before), dtype=np.float32)
    nudged[name][index] = after
    return nudged, f"{name}{[int(i) for i in index]} from {before!s} to {after!s}"


def rounding_tolerances(single: FirstStep, double: FirstStep) -> dict[str, dict[str, float]]:
    """Measures how far the reference's float32 step is from the same step in float64.

    The noise of a tensor is its largest entry times the largest relative error met in any tensor of the rung: a
    small tensor can be right by luck. It is never less than one ULP of that entry. The loss is one number, so the
    errors of its logits count for it as well: cross-entropy moves no more than twice as far as they do.

    Args:
        single: The reference's first step in float32.
        double: The same step in float64.

    Returns:
        rung -> name of the tensor -> tolerance, for `forward`, `loss`, `gradients` and `first_update`.
    """
    pairs: dict[str, tuple[Tensors, Tensors]] = {
        "forward": ({"logits": single.logits}, {"logits": double.logits}),
        "loss": ({"loss": single.loss}, {"loss": double.loss}),
        "gradients": (single.gradients, double.gradients),
        "first_update": (single.updated_weights, double.updated_weights),
    }
    tolerances = {}
    for rung, (ours, exact) in pairs.items():
        largest = {name: float(np.abs(tensor).max()) for name, tensor in exact.items()}
        errors = {name: float(np.abs(ours[name] - exact[name]).max()) for name in exact}
        relative = max(errors[name] / largest[name] if largest[name] else 0.0 for name in exact)
        relative = max(relative, float(np.finfo(np.float32).eps))
        tolerances[rung] = {name: TOLERANCES[rung].factor * relative * largest[name] for name in exact}
    tolerances["loss"]["loss"] = max(tolerances["loss"]["loss"], 2 * tolerances["forward"]["logits"])
    return tolerances


@dataclass(frozen=True, kw_only=True)
class NoiseEnvelope:
    """How far the reference drifts from a copy of itself with one weight moved by one ULP.

    Args:
        nudge: What was moved, in words.
        step_losses: (steps,) absolute differences of the loss of every step.
        epochs: The epochs after which the weights were compared, from 0.
        weights: For each of those epochs, name -> largest absolute difference in that tensor.
        image_differences: (N,) for each validation image, the largest absolute difference of its final logits.
        churn: Validation images that the two predict differently at the end.
    """

    nudge: str
    step_losses: np.ndarray
    epochs: Sequence[int]
    weights: Sequence[Mapping[str, float]]
    image_differences: np.ndarray
    churn: int

    def largest_weight_difference(self) -> dict[str, float]:
        """Returns name -> the largest difference met in that tensor after any epoch."""
        return {name: float(np.max([epoch[name] for epoch in self.weights])) for name in self.weights[-1]}


def largest_of_all(distances: Sequence[Mapping[str, float]]) -> list[float]:
    """Returns, for each epoch, the largest difference over all tensors."""
    return [float(np.max(list(epoch.values()))) for epoch in distances]
