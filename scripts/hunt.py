"""Draws trainings, and runs each with stock Keras and attached to the torch plugin. See `--help`.

The documentation's table: python scripts/hunt.py --cases 300 --seed 40 --tables docs/explanation/plugin.md
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where an attached model was wrong or crashed, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import hunt
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"hunt.py: error: {error}", file=sys.stderr)
        return 2
    return hunt(argv)


if __name__ == "__main__":
    sys.exit(main())
