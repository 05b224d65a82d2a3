"""`torch.optim.Adam` and `keras.optimizers.Adam`, which adds its epsilon before the bias correction; and AdamW."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.parity.optimizers.optimizer import Form, KerasStates, OptimizerKind, Option, is_stock


class KerasAdam(torch.optim.Optimizer):
    """Adam as Keras has it: w -= rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon).

    Args:
        params: What to train, as groups with `lr`, `betas`, `eps` and `weight_decay`.
        correct: Whether the bias of the moments is corrected.
        inside: Whether epsilon is added before the correction (Keras) or after it (PyTorch).
        coupled: Whether the decay is added to the gradient, or taken from the weight.

    Source: `keras.optimizers.Adam`.
    """

    def __init__(self, params: Iterable[Any], *, correct: bool, inside: bool, coupled: bool) -> None:
        super().__init__(params, {"weight_decay": 0.0})
        self.correct, self.inside, self.coupled, self.steps = correct, inside, coupled, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes one update."""
        self.steps += 1
        for group in self.param_groups:
            first, second = group["betas"]
            biases = (1 - first**self.steps, 1 - second**self.steps) if self.correct else (1.0, 1.0)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient, decay = weight.grad, group["weight_decay"]
                if decay and self.coupled:
                    gradient = gradient + decay * weight
                elif decay:
                    weight.mul_(1 - group["lr"] * decay)
                state = self.state[weight]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["exp_avg"] += (gradient - state["exp_avg"]) * (1 - first)
                state["exp_avg_sq"] += (gradient**2 - state["exp_avg_sq"]) * (1 - second)
                root, eps = state["exp_avg_sq"].sqrt(), group["eps"]
                divisor = (root + eps) / biases[1] ** 0.5 if self.inside else root / biases[1] ** 0.5 + eps
                weight -= group["lr"] / biases[0] * state["exp_avg"] / divisor


def emulated(groups: Sequence[dict[str, Any]], *, epsilon: float | None, **form: Any) -> KerasAdam:
    """Returns an Adam of another form over some parameter groups, with another epsilon if one is given."""
    changed = [dict(group) | ({} if epsilon is None else {"eps": epsilon}) for group in groups]
    return KerasAdam(changed, **form)


def states(optimizer: Any) -> KerasStates:
    """Returns both moments."""
    return {"exp_avg": (optimizer._momentums, 1.0), "exp_avg_sq": (optimizer._velocities, 1.0)}


def forms(ours: Any, theirs: torch.optim.Optimizer, *, scheduled: bool) -> Iterator[Form]:
    """Yields Keras' place of epsilon, and an Adam that does not correct the bias of its moments."""
    coupled = not isinstance(theirs, torch.optim.AdamW)
    epsilon = getattr(ours, "epsilon", None)
    if is_stock(ours):
        yield Form(
            cause="adam_epsilon",
            text=f"Keras' Adam adds epsilon ({epsilon:g}) before the bias correction, PyTorch's "
            f"({theirs.param_groups[0]['eps']:g}) after it: no value makes them equal",
            evidence="Keras' form of the update, emulated in PyTorch",
            make=partial(emulated, epsilon=epsilon, correct=True, inside=True, coupled=coupled),
        )
    yield Form(
        cause="bias_correction",
        text="the port's Adam does not correct the bias of its moments",
        evidence="Adam without the correction, emulated in PyTorch",
        make=partial(emulated, epsilon=epsilon, correct=False, inside=False, coupled=coupled),
    )


SETTINGS: dict[str, tuple[Option, str]] = {
    "learning_rate": ("lr", "learning_rate"),
    "beta_1": (("betas", 0), "betas"),
    "beta_2": (("betas", 1), "betas"),
    "epsilon": ("eps", "adam_epsilon"),
    "amsgrad": ("amsgrad", "amsgrad"),
}


def kind(name: str, torch_class: type, equivalent: type, *, couples: bool) -> OptimizerKind:
    """Returns Adam, or AdamW, which takes the decay from the weight."""
    decoupled = torch.optim.AdamW
    return OptimizerKind(
        name=name,
        is_keras=lambda optimizer: isinstance(
            optimizer, keras.optimizers.AdamW if not couples else keras.optimizers.Adam
        ),
        is_torch=lambda optimizer: isinstance(optimizer, torch_class) and isinstance(optimizer, decoupled) != couples,
        settings=SETTINGS,
        torch_states=("exp_avg", "exp_avg_sq"),
        states=states,
        complete=lambda optimizer: not optimizer.amsgrad,
        couples=couples,
        forms=forms,
        equivalent=equivalent,
    )


KINDS = (
    kind("AdamW", torch.optim.AdamW, torch_equivalents.AdamW, couples=False),
    kind("Adam", torch.optim.Adam, torch_equivalents.Adam, couples=True),
)
