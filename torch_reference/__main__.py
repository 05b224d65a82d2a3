"""`python -m torch_reference --preset narrow`: trains the original alone and prints what the article prints."""

import argparse
import dataclasses
import sys
from typing import NoReturn

import torch

from torch_reference.recipe import PRESETS, Recipe


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the request in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = OneLineParser(
        prog="python -m torch_reference",
        description="Train the airplane-versus-bird classifier in pure PyTorch.",
        epilog="example: python -m torch_reference --preset wide --epochs 20",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="narrow", help="which recipe (default: narrow)")
    parser.add_argument("--epochs", type=int, help="passes over the training images (default: the preset's)")
    parser.add_argument("--seed", type=int, help="fixes initial weights and batch order (default: the preset's)")
    parser.add_argument("--device", default="cpu", help="as PyTorch names it (default: cpu)")
    parser.add_argument("--data-dir", help="folder with cifar-10-batches-bin (default: BIRDPLANE_DATA, else the cache)")
    parser.add_argument("--download", action="store_true", help="fetch the official archive where the folder has none")
    parser.add_argument("--synthetic", action="store_true", help="use the generated stand-in, not CIFAR-10")
    return parser


def print_loss(epoch: int, epochs: int, loss: float) -> None:
    """Prints the last batch's loss every tenth epoch and after the last, as the article does."""
    if epoch % 10 == 0 or epoch == epochs - 1:
        print(f"Epoch: {epoch}, Loss: {loss:f}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 where the request or the data is unusable."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    changes = {name: getattr(arguments, name) for name in ("epochs", "seed") if getattr(arguments, name) is not None}
    recipe: Recipe = dataclasses.replace(PRESETS[arguments.preset], **changes)
    if recipe.epochs < 1:
        parser.error(f"argument --epochs: expected at least 1, received {recipe.epochs}")
    if not 0 <= recipe.seed < 2**32:
        parser.error(f"argument --seed: expected 0 to 4294967295, received {recipe.seed}")

    # Imported late, so that --help and a wrong flag answer at once.
    from torch_reference.data import default_data_dir, load_data
    from torch_reference.model import build_model, parameter_counts
    from torch_reference.training import accuracy, train

    try:
        if torch.empty(0, device=arguments.device).is_meta:
            raise RuntimeError("argument --device: the meta device holds no numbers")
        cifar2, cifar2_val = load_data(
            arguments.data_dir or default_data_dir(), download=arguments.download, synthetic=arguments.synthetic
        )
    except (RuntimeError, AssertionError, OSError, ValueError) as error:  # PyTorch asserts that a device is there
        parser.error(str(error).splitlines()[0])

    if arguments.synthetic:
        print("SYNTHETIC DATA: generated pictures, not CIFAR-10")
    counts = parameter_counts(build_model(recipe))
    print(f"Parameters: {sum(counts)} {counts}")
    run = train(
        recipe,
        cifar2,
        cifar2_val,
        device=arguments.device,
        on_epoch_end=lambda epoch, model, metrics: print_loss(epoch, recipe.epochs, metrics["last_batch_loss"]),
    )
    for name, logits, examples in (
        ("Train", run.train_logits, cifar2),
        ("Validate", run.validation_logits, cifar2_val),
    ):
        labels = torch.tensor([label for _, label in examples])
        print(f"{name} Accuracy: {accuracy(torch.from_numpy(logits), labels):f}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
