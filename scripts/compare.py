"""Trains the PyTorch original and its Keras port, and compares them rung by rung. See `--help`."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs the comparison; returns 0 where the sides match, 1 where they diverged, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import compare
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 2
    return compare(argv)


if __name__ == "__main__":
    sys.exit(main())
