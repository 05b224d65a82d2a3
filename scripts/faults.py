"""Runs the judge on the catalogue of planted mistakes and clean pairs. See `--help`.

The README's table and docs/faults.md: python scripts/faults.py --readme README.md --document docs/faults.md
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
