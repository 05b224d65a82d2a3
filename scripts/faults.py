"""Runs the judge on the catalogue of planted mistakes and clean pairs. See `--help`.

The tables: python scripts/faults.py --tables docs/explanation/judged.md --document docs/causes/catalogue.md
The examples on the pages of causes: python scripts/faults.py --causes docs/causes
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a mistake slipped through or a clean pair was accused, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import faults
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"faults.py: error: {error}", file=sys.stderr)
        return 2
    return faults(argv)


if __name__ == "__main__":
    sys.exit(main())
