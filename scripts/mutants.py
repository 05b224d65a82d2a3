"""Draws pairs and mistakes in their ports, and says how the judge does on them. See `--help`.

The documentation's table: python scripts/mutants.py --mutants 300 --seed 0 --tables docs/explanation/judged.md
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a mistake slipped through or a right port was accused, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import mutants
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"mutants.py: error: {error}", file=sys.stderr)
        return 2
    return mutants(argv)


if __name__ == "__main__":
    sys.exit(main())
