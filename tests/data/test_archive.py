"""The official files: their records are read and written without a bit of difference, and every fault is seen."""

import hashlib

import numpy as np
import pytest

from birdplane_keras.data.archive import BATCH_BYTES, BATCH_MD5, RECORD_BYTES, encode_batch, inspect_batches, read_split


def write(folder, name, content):
    (folder / name).write_bytes(content)
    return hashlib.md5(content).hexdigest()


def test_encoding_a_batch_gives_the_official_bytes_back(batches):
    content = (batches.folder / "test_batch.bin").read_bytes()
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert encode_batch(images, records[:, 0]) == content


def test_the_two_classes_have_the_published_numbers_of_images(batches):
    for split, size in (("train", 10_000), ("test", 2_000)):
        images, labels, positions = read_split(batches.folder, split)
        assert images.shape == (size, 32, 32, 3)
        assert images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [size // 2, size // 2]
        assert (np.diff(positions) > 0).all()


def test_real_batches_are_complete(batches):
    assert inspect_batches(batches.folder, BATCH_MD5).complete


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "received 0"),
        (b"\x00" * 100, "received 100"),
        (b"\x01" + b"\x00" * (BATCH_BYTES - 1), "expected md5"),
    ],
)
def test_empty_truncated_and_altered_batches_are_told_apart(tmp_path, content, reason):
    good = write(tmp_path, "a.bin", b"\x00" * BATCH_BYTES)
    write(tmp_path, "b.bin", content)
    inspection = inspect_batches(tmp_path, {"a.bin": good, "b.bin": good, "c.bin": good})
    assert inspection.missing == ["c.bin"]
    assert list(inspection.altered) == ["b.bin"]
    assert reason in inspection.altered["b.bin"]
