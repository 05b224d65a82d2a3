"""What a trained model says of rows, a batch of one size at a time."""

from pathlib import Path

import keras
import numpy as np
from scipy.special import softmax

from birdplane_keras.data.inputs import normalize
from birdplane_keras.errors import RequestError
from birdplane_keras.files.keras_archive import load_keras
from birdplane_keras.keras_warnings import own_warnings_ignored
from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.training import attached_logits_model

ROWS_AT_A_TIME = 64
PIXELS = 3072


def predict_rows(model: keras.Model, rows: np.ndarray) -> np.ndarray:
    """Returns a model's outputs (N, C) float32 for rows (N, D) float32.

    Every batch has the same number of rows, the last one filled up: a product of another shape may round otherwise, and
    what is said of a row is not to depend on how many others are asked about.
    """
    filled = np.zeros((-(-len(rows) // ROWS_AT_A_TIME) * ROWS_AT_A_TIME, rows.shape[1]), np.float32)
    filled[: len(rows)] = rows
    with own_warnings_ignored():
        return np.asarray(model.predict(filled, batch_size=ROWS_AT_A_TIME, verbose=0))[: len(rows)]


class ImageClassifier:
    """A model of this package's shape, loaded from a `.keras` file.

    Args:
        path: Of the file.
        engine: What it predicts on: `stock`, `exact` or `fused`.

    Raises:
        UnsafeFileError: The file brings code.
        RequestError: There is no such file, or its model is not one from 3,072 pixels to 2 classes.
    """

    def __init__(self, path: Path, engine: str = "exact") -> None:
        model = load_keras(path)
        shapes = (model.input_shape, model.output_shape)
        if not isinstance(model, keras.Sequential) or shapes != ((None, PIXELS), (None, len(CLASS_NAMES))):
            raise RequestError(
                f"expected a Sequential model from (N, {PIXELS}) pixels to (N, {len(CLASS_NAMES)}) classes in {path}, "
                f"received {type(model).__name__} from {shapes[0]} to {shapes[1]}"
            )
        self.model = model
        self._logits = attached_logits_model(model, engine)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """From images (N, 32, 32, 3) uint8 to logits (N, 2) float32."""
        return predict_rows(self._logits, normalize(images))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """From images (N, 32, 32, 3) uint8 to probabilities (N, 2) float64, airplane and bird."""
        return softmax(self.logits(images).astype(np.float64), axis=1)
