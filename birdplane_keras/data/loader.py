"""Loads the images as arrays, the way `keras.datasets` does, through the TFDS builder."""

import io
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from birdplane_keras.data.builder import Birdplane, digest
from birdplane_keras.data.location import VerifiedBatches, default_data_dir, find_or_fetch, folder_error, lock_folder
from birdplane_keras.errors import DataError

logger = logging.getLogger(__name__)

PREPARED_FOLDER = "tensorflow_datasets"

Split = tuple[np.ndarray, np.ndarray]


def load_data(data_dir: str | Path | None = None, *, synthetic: bool = False) -> tuple[Split, Split]:
    """Loads the airplanes and birds of CIFAR-10; the first call fetches and prepares them.

    Args:
        data_dir: The cache folder; `None` for `BIRDPLANE_DATA`, else the platform's.
        synthetic: Load the generated stand-in instead.

    Returns:
        `(x_train, y_train), (x_validation, y_validation)`: images (10000, 32, 32, 3) and (2000, 32, 32, 3) uint8,
        labels (10000,) and (2000,) int64, airplane 0 and bird 1, in the order of the official files.

    Raises:
        DataError: The images cannot be had, or the folder cannot be used.
    """
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    batches = find_or_fetch(root, use_synthetic=synthetic)
    try:
        with quiet_tfds():
            loaded = load_prepared(root, batches)
            if loaded is not None:
                return loaded
            with lock_folder(root):
                return load_prepared(root, batches) or prepare(root, batches)
    except OSError as error:
        raise folder_error(root, error) from error


def load_prepared(root: Path, batches: VerifiedBatches) -> tuple[Split, Split] | None:
    """Reads the images if they were prepared from these very batches and are undamaged."""
    try:
        builder = build_builder(root, batches)
        if not builder.is_prepared() or builder.info.metadata.get("batches_md5") != batches.sums:
            return None
        return read_splits(builder)
    except Exception as error:  # whatever a damaged file makes its reader raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.warning("The prepared images in %s are damaged (%s).", root / PREPARED_FOLDER, reason)
        return None


def prepare(root: Path, batches: VerifiedBatches) -> tuple[Split, Split]:
    """Prepares the images again and reads them; the lock is held."""
    shutil.rmtree(root / PREPARED_FOLDER / Birdplane.name / config_name(batches), ignore_errors=True)
    builder = build_builder(root, batches)
    logger.info("Preparing the images as a TFDS data set in %s.", builder.data_dir)
    try:
        builder.download_and_prepare()
    except RuntimeError as error:  # so the writer of array_record reports a full disk
        received = str(error).splitlines()[0]
        fix = "free 100 MB there, or choose another folder with --data-dir or BIRDPLANE_DATA"
        raise DataError(f"expected room to prepare the images in {root}, received «{received}»: {fix}") from error
    return read_splits(builder)


def build_builder(root: Path, batches: VerifiedBatches) -> Birdplane:
    """Returns the builder whose prepared files lie in the cache folder, too."""
    return Birdplane(config=config_name(batches), data_dir=root / PREPARED_FOLDER, batches_dir=root)


def config_name(batches: VerifiedBatches) -> str:
    """Returns the name of the builder's configuration for these batches."""
    return "synthetic" if batches.source == "synthetic" else "cifar10"


def read_splits(builder: Birdplane) -> tuple[Split, Split]:
    """Reads both splits and checks them against the sums that were noted when they were prepared."""
    train, test = (read_split(builder, split) for split in ("train", "test"))
    return train, test


def read_split(builder: Birdplane, split: str) -> Split:
    """Reads one split in file order.

    Raises:
        DataError: It is not what was prepared.
    """
    source = builder.as_data_source(split=split)
    examples = source.__getitems__(range(len(source)))
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], dtype=np.int64)
    expected, received = builder.info.metadata["sha256"][split], digest(images, labels)
    if received != expected:
        raise DataError(f"expected sha256 {expected} for the {split} images, received {received}")
    return images, labels


@contextmanager
def quiet_tfds() -> Iterator[None]:
    """Shows TFDS' progress bars in a terminal only, and nothing that it prints: we say what is done."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
