"""The numbers that define one training run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from birdplane_keras.errors import RequestError

LARGEST_SEED = 2**32 - 1  # NumPy's, which Keras seeds too; PyTorch takes more


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run, as plain numbers.

    Args:
        name: The preset that this recipe came from.
        hidden_layers: Hidden units of each Dense + tanh, from the pixels to the classes.
        head: What the original outputs: `"log_softmax"` (log-probabilities) or `"logits"` (raw scores).
        loss: What the original minimises: `"nll"` (after `log_softmax`) or `"cross_entropy"` (after `logits`).
        learning_rate: Step size of plain SGD.
        batch_size: Images in a step; the last batch of an epoch is smaller.
        epochs: Passes over the 10,000 training images.
        seed: Fixes the initial weights and, together with the epoch, the order of the images; 0 to 2**32 - 1.

    Raises:
        RequestError: A number is outside what both frameworks accept.
    """

    name: str
    hidden_layers: tuple[int, ...]
    head: str
    loss: str
    learning_rate: float = 1e-2
    batch_size: int = 64
    epochs: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.head, self.loss) not in (("log_softmax", "nll"), ("logits", "cross_entropy")):
            raise RequestError(f"expected log_softmax with nll or logits with cross_entropy, received {self!r}")
        if not self.hidden_layers or min(self.hidden_layers) < 1:
            raise RequestError(f"expected hidden layers of at least 1 unit, received {self.hidden_layers}")
        if not 0 < self.learning_rate < float("inf"):
            raise RequestError(f"expected a learning rate above 0, received {self.learning_rate}")
        for field in ("batch_size", "epochs"):
            if getattr(self, field) < 1:
                raise RequestError(f"expected {field} of at least 1, received {getattr(self, field)}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise RequestError(f"expected a seed from 0 to {LARGEST_SEED}, received {self.seed}")


PRESETS = {
    "narrow": Recipe(name="narrow", hidden_layers=(512,), head="log_softmax", loss="nll"),
    "wide": Recipe(name="wide", hidden_layers=(1024, 512, 128), head="logits", loss="cross_entropy"),
}


def build_recipe(preset: str, *, epochs: int | None = None, seed: int | None = None) -> Recipe:
    """Returns a preset, with other epochs or another seed where they are given.

    Raises:
        RequestError: There is no such preset, or a number is outside what both frameworks accept.
    """
    if preset not in PRESETS:
        raise RequestError(f"expected a preset among {', '.join(PRESETS)}, received {preset!r}")
    changes: dict[str, Any] = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    return dataclasses.replace(PRESETS[preset], **changes)
