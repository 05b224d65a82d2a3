"""The images: found or fetched, prepared as a TFDS data set, loaded as arrays.

Importing this package registers the TFDS builder, so that `tfds.builder("birdplane")` finds it.
"""

from birdplane_keras.data.builder import Birdplane
from birdplane_keras.data.dataframe import as_dataframe, style_dataframe
from birdplane_keras.data.loader import load_data
from birdplane_keras.data.location import default_data_dir, find_or_fetch

__all__ = ["Birdplane", "as_dataframe", "default_data_dir", "find_or_fetch", "load_data", "style_dataframe"]
