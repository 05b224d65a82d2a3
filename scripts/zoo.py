"""Judges pairs of other people's models, and says what differs. See `--help`.

The documents: python scripts/zoo.py --out docs/zoo.md --tables docs/explanation/judged.md
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a difference is not proved or a pair cannot be judged, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import zoo
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"zoo.py: error: {error}", file=sys.stderr)
        return 2
    return zoo(argv)


if __name__ == "__main__":
    sys.exit(main())
