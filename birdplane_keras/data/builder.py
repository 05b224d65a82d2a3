"""The TFDS builder `birdplane`: the airplanes and birds of CIFAR-10, prepared without TensorFlow."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from birdplane_keras.data.archive import read_split
from birdplane_keras.data.location import find_or_fetch
from birdplane_keras.labels import CLASS_NAMES

DESCRIPTION = """\
The images of CIFAR-10 that show an airplane or a bird, in the order of the official files: the task of chapter 7 of
*Deep Learning with PyTorch*. An `id` tells the split and the position of the image among all of CIFAR-10's.
"""
CITATION = """\
@techreport{krizhevsky2009learning,
    author = {Alex Krizhevsky},
    title = {Learning Multiple Layers of Features from Tiny Images},
    institution = {University of Toronto},
    year = {2009}
}"""
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Birdplane(tfds.core.GeneratorBasedBuilder):
    """Features: `id` text, `image` (32, 32, 3) uint8, `label` airplane or bird; splits: train 10,000, test 2,000.

    Args:
        batches_dir: The cache folder with the official batches; `None` for `BIRDPLANE_DATA` or the platform's.
        **kwargs: As every TFDS builder takes; `file_format` is array_record unless given, since TFDS reads and writes
            that without TensorFlow.
    """

    name = "birdplane"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="cifar10", description="The real images."),
        tfds.core.BuilderConfig(name="synthetic", description="A generated stand-in, not CIFAR-10."),
    ]

    def __init__(self, *, batches_dir: str | Path | None = None, **kwargs) -> None:
        self._batches_dir = batches_dir
        super().__init__(**{"file_format": "array_record"} | kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(CLASS_NAMES)),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=HOMEPAGE,
            citation=CITATION,
            metadata=tfds.core.MetadataDict(),  # filled from the batches, see `_split_generators`
            disable_shuffling=True,  # keeps the order of the files
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        batches = find_or_fetch(self._batches_dir, use_synthetic=self.builder_config.name == "synthetic")
        splits = {split: read_split(batches.folder, split) for split in ("train", "test")}
        self.info.metadata["batches_md5"] = batches.sums
        self.info.metadata["sha256"] = {split: digest(images, labels) for split, (images, labels, _) in splits.items()}
        return {split: self._generate_examples(split, *arrays) for split, arrays in splits.items()}

    def _generate_examples(
        self, split: str, images: np.ndarray, labels: np.ndarray, places: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for position, (image, label, place) in enumerate(zip(images, labels, places, strict=True)):
            example = {"id": f"{split}-{place:05d}", "image": encode_png(image), "label": int(label)}
            yield position, example


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """Returns the SHA-256 sum, in hexadecimal, over the bytes of images (N, 32, 32, 3) uint8 and labels (N,) int64."""
    return hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()


def encode_png(image: np.ndarray) -> io.BytesIO:
    """Returns the PNG file of an image (32, 32, 3) uint8; TFDS would need TensorFlow to encode an array itself."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    file.seek(0)
    return file
