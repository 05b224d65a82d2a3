"""`birdplane data`."""

import argparse

from birdplane_keras.commands.arguments import add_data_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the images come from."""
    add_data_arguments(parser)
    parser.set_defaults(command=data_command)
    parser.epilog = "example: birdplane data --data-dir ~/images"


def data_command(arguments: argparse.Namespace) -> int:
    """`birdplane data`."""
    from birdplane_keras.data import find_or_fetch

    batches = find_or_fetch(arguments.data_dir, use_synthetic=arguments.synthetic)
    what = "CIFAR-10" if batches.source == "cifar-10" else "SYNTHETIC DATA, not CIFAR-10"
    print(f"{what}: the six batches are in {batches.folder} ({batches.route}); all six md5 sums agree.")
    return 0
