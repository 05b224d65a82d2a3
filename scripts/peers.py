"""Applies what others check a port with to the catalogue of planted mistakes. See `--help`.

The README's table, and the longer one of the documents, which has each method's limits:
python scripts/peers.py --mutants 100 --seed 0 --out results/peers --tables README.md docs/explanation/peers.md
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where our own judge was wrong about an entry, 2 for an unusable request."""
    try:
        from birdplane_keras.cli import peers
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"peers.py: error: {error}", file=sys.stderr)
        return 2
    return peers(argv)


if __name__ == "__main__":
    sys.exit(main())
