"""A generated stand-in for CIFAR-10 in the same six-file format, for a machine that can reach nothing, and for tests.

Every class has a faint pattern of its own, two grey levels above or below a noise of 128: a Dense stack learns it, and
does not learn it perfectly. Nothing ever chooses it silently.
"""

import hashlib
from pathlib import Path

import numpy as np

from birdplane_keras.data.archive import BATCH_MD5, IMAGES_PER_BATCH, encode_batch

FOLDER = "synthetic-batches-bin"
SUMS_FILE = "MD5SUMS"
CLASSES = 10
NOISE = 128
PATTERN = 2


def generate(data_dir: Path, staging: Path) -> None:
    """Writes six batches, and their md5 sums in the format of `md5sum`; always the same ones."""
    signs = np.random.default_rng(0).integers(0, 2, size=(CLASSES, 32, 32, 3))
    patterns = (NOISE // 2 + PATTERN * (2 * signs - 1)).astype(np.uint8)
    sums = []
    for index, name in enumerate(BATCH_MD5):
        rng = np.random.default_rng([1, index])
        labels = rng.permutation(IMAGES_PER_BATCH) % CLASSES
        images = rng.integers(0, NOISE, size=(IMAGES_PER_BATCH, 32, 32, 3), dtype=np.uint8)
        images += patterns[labels]
        content = encode_batch(images, labels)
        (staging / name).write_bytes(content)
        sums.append(f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {name}\n")
    (staging / SUMS_FILE).write_text("".join(sums))


def read_sums(folder: Path) -> dict[str, str]:
    """Returns name -> md5 sum as the generator noted them; empty where there are none, or not for all six batches."""
    try:
        lines = (folder / SUMS_FILE).read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return {}
    sums = {name: md5 for md5, _, name in (line.partition("  ") for line in lines)}
    return sums if list(sums) == list(BATCH_MD5) else {}
