"""The numbers that define one training run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from birdplane_keras.errors import RequestError

IMAGE_SIZE = 32
MOST_CONVOLUTIONS = 5  # each is followed by a pooling that halves the image
HEADS_WITH_LOSSES = (("log_softmax", "nll"), ("logits", "cross_entropy"), ("softmax", "mse"))
LARGEST_SEED = 2**32 - 1  # NumPy's, which Keras seeds too; PyTorch takes more


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run, as plain numbers.

    Args:
        name: The preset that this recipe came from.
        hidden_layers: Hidden units of each Dense + tanh, from the pixels to the classes.
        head: What the original outputs: `"log_softmax"` (log-probabilities), `"logits"` (raw scores) or `"softmax"`
            (probabilities).
        loss: What the original minimises: `"nll"` (after `log_softmax`), `"cross_entropy"` (after `logits`) or `"mse"`
            (after `softmax`, against one-hot targets).
        convolutions: Channels of each 3x3 convolution + tanh + 2x2 max pooling, before the hidden layers.
        learning_rate: Step size of plain SGD.
        batch_size: Images in a step; the last batch of an epoch is smaller.
        shuffle: Whether each epoch has an order of its own; else it is that of the files.
        largest_shift: Pixels by which each training image is moved at most, again in each epoch, down or up and to the
            right or left; 0 for not at all.
        epochs: Passes over the 10,000 training images.
        seed: Fixes the initial weights and, with the epoch, the order and the shifts of the images; 0 to 2**32 - 1.

    Raises:
        RequestError: A number is outside what both frameworks accept.
    """

    name: str
    hidden_layers: tuple[int, ...]
    head: str
    loss: str
    convolutions: tuple[int, ...] = ()
    learning_rate: float = 1e-2
    batch_size: int = 64
    shuffle: bool = True
    largest_shift: int = 0
    epochs: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.head, self.loss) not in HEADS_WITH_LOSSES:
            known = ", ".join(" with ".join(pair) for pair in HEADS_WITH_LOSSES)
            raise RequestError(f"expected one of {known}, received {self.head} with {self.loss}")
        if not self.hidden_layers or min(self.hidden_layers + self.convolutions) < 1:
            layers = f"{self.hidden_layers} and {self.convolutions}"
            raise RequestError(f"expected hidden layers, and convolutions, of at least 1 unit, received {layers}")
        if len(self.convolutions) > MOST_CONVOLUTIONS:
            raise RequestError(f"expected at most {MOST_CONVOLUTIONS} convolutions, received {len(self.convolutions)}")
        if not 0 < self.learning_rate < float("inf"):
            raise RequestError(f"expected a learning rate above 0, received {self.learning_rate}")
        if not 0 <= self.largest_shift < IMAGE_SIZE:
            raise RequestError(f"expected shifts below the image's {IMAGE_SIZE} pixels, received {self.largest_shift}")
        for field in ("batch_size", "epochs"):
            if getattr(self, field) < 1:
                raise RequestError(f"expected {field} of at least 1, received {getattr(self, field)}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise RequestError(f"expected a seed from 0 to {LARGEST_SEED}, received {self.seed}")


PRESETS = {
    "narrow": Recipe(name="narrow", hidden_layers=(512,), head="log_softmax", loss="nll"),
    "wide": Recipe(name="wide", hidden_layers=(1024, 512, 128), head="logits", loss="cross_entropy"),
    "wide-nll": Recipe(name="wide-nll", hidden_layers=(1024, 512, 128), head="log_softmax", loss="nll"),
    "per-sample": Recipe(
        name="per-sample", hidden_layers=(512,), head="log_softmax", loss="nll", batch_size=1, shuffle=False, epochs=1
    ),
    "softmax-mse": Recipe(name="softmax-mse", hidden_layers=(512,), head="softmax", loss="mse"),
    "small": Recipe(name="small", hidden_layers=(128,), head="log_softmax", loss="nll"),
    "shifted": Recipe(name="shifted", hidden_layers=(512,), head="log_softmax", loss="nll", largest_shift=4),
    "convolution": Recipe(
        name="convolution", convolutions=(16, 8), hidden_layers=(32,), head="logits", loss="cross_entropy"
    ),
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
