"""Times a training step in PyTorch, in stock Keras and with the plugin, side by side in one run. See `--help`."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark; returns 0, or 2 for an unusable request."""
    try:
        from birdplane_keras.benchmark.cli import main as run
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"benchmark.py: error: {error}", file=sys.stderr)
        return 2
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
