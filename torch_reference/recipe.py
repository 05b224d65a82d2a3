"""The numbers that define one training run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run, as plain numbers.

    Args:
        name: The preset that this recipe came from.
        hidden_layers: Hidden units of each Linear + Tanh pair, from the pixels to the classes.
        head: What the model outputs: `"log_softmax"` (log-probabilities), `"logits"` (raw scores) or `"softmax"`
            (probabilities).
        loss: What is minimised: `"nll"` (after `log_softmax`), `"cross_entropy"` (after `logits`) or `"mse"` (after
            `softmax`, against one-hot targets).
        convolutions: Channels of each 3x3 convolution + Tanh + 2x2 max pooling, before the hidden layers.
        learning_rate: Step size of plain SGD.
        batch_size: Images in a step; the last batch of an epoch is smaller.
        shuffle: Whether each epoch has an order of its own; else it is that of the files.
        largest_shift: Pixels by which each training image is moved at most, again in each epoch, down or up and to the
            right or left; 0 for not at all.
        epochs: Passes over the 10,000 training images.
        seed: Fixes the initial weights and, with the epoch, the order and the shifts of the images.
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
