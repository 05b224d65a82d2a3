"""Trains every preset on both sides and writes the article's table, reproduced. See `--help`."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs the reproduction; returns 0, 1 where a preset diverged, 2 for an unusable request."""
    try:
        from birdplane_keras.reproduction.cli import main as run
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"reproduce.py: error: {error}", file=sys.stderr)
        return 2
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
