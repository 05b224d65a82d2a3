"""`python -m birdplane_keras` is `birdplane`."""

import sys

from birdplane_keras.cli import main

if __name__ == "__main__":
    sys.exit(main())
