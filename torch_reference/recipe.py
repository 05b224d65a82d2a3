"""The numbers that define one training run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run, as plain numbers.

    Args:
        name: The preset that this recipe came from.
        hidden_layers: Hidden units of each Linear + Tanh pair, from the pixels to the classes.
        head: What the model outputs: `"log_softmax"` (log-probabilities) or `"logits"` (raw scores).
        loss: What is minimised: `"nll"` (after `log_softmax`) or `"cross_entropy"` (after `logits`).
        learning_rate: Step size of plain SGD.
        batch_size: Images in a step; the last batch of an epoch is smaller.
        epochs: Passes over the 10,000 training images.
        seed: Fixes the initial weights and, together with the epoch, the order of the images.
    """

    name: str
    hidden_layers: tuple[int, ...]
    head: str
    loss: str
    learning_rate: float = 1e-2
    batch_size: int = 64
    epochs: int = 100
    seed: int = 0


PRESETS = {
    "narrow": Recipe(name="narrow", hidden_layers=(512,), head="log_softmax", loss="nll"),
    "wide": Recipe(name="wide", hidden_layers=(1024, 512, 128), head="logits", loss="cross_entropy"),
}
