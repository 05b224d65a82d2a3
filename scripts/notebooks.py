"""Executes the notebooks of docs/notebooks and writes them with what their cells showed. See `--help`."""

import argparse
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a cell failed, 2 for an unusable request."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="needs the extra `notebook`")
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="default: all of docs/notebooks")
    arguments = parser.parse_args(argv)
    try:
        from birdplane_keras.errors import BirdplaneError
        from birdplane_keras.notebooks import write
    except ImportError as error:  # Keras on another backend, or an incomplete installation
        print(f"notebooks.py: error: {error}", file=sys.stderr)
        return 2
    for path in arguments.paths or sorted(FOLDER.glob("*.ipynb")):
        try:
            write(path)
        except BirdplaneError as error:
            print(f"notebooks.py: error: {error}", file=sys.stderr)
            return 2
        except Exception as error:
            print(f"notebooks.py: {path}: {error}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
