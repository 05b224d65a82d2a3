"""Executes the notebooks of docs/notebooks and writes them with what their cells showed. See `--help`."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a cell failed, 2 for an unusable request."""
    try:
        from birdplane_keras.notebooks import main as notebooks
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"notebooks.py: error: {error}", file=sys.stderr)
        return 2
    return notebooks(FOLDER, argv)


if __name__ == "__main__":
    sys.exit(main())
