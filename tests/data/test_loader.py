"""`load_data` and the TFDS builder behind it."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import birdplane_keras.data  # noqa: F401 (importing it registers the builder)
from birdplane_keras.data import as_dataframe, loader, style_dataframe
from birdplane_keras.data.archive import read_split
from birdplane_keras.data.builder import Birdplane, digest
from birdplane_keras.data.loader import load_data
from birdplane_keras.errors import DataError


def test_the_arrays_are_those_of_the_official_files_in_their_order(images, batches):
    for (loaded, labels), split in zip(images, ("train", "test"), strict=True):
        expected_images, expected_labels, _ = read_split(batches.folder, split)
        assert loaded.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.array_equal(loaded, expected_images)
        assert np.array_equal(labels, expected_labels)


def test_the_builder_is_found_by_name_and_describes_itself(data_dir):
    builder = tfds.builder("birdplane", data_dir=data_dir / loader.PREPARED_FOLDER)
    assert isinstance(builder, Birdplane)
    assert builder.info.features["label"].names == ["airplane", "bird"]
    assert builder.info.features["image"].shape == (32, 32, 3)
    assert builder.info.features["image"].np_dtype == np.uint8
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 10_000, "test": 2_000}
    assert "Krizhevsky" in builder.info.citation
    assert "cs.toronto.edu" in builder.info.homepage


def test_examples_become_a_table_without_tensorflow(data_dir, images):
    source = tfds.data_source("birdplane", split="test", data_dir=data_dir / loader.PREPARED_FOLDER)
    info = tfds.builder("birdplane", data_dir=data_dir / loader.PREPARED_FOLDER).info
    frame = as_dataframe(source, info, rows=3)
    assert frame.columns.tolist() == ["id", "image", "label"]
    assert [frame["label"][row] for row in range(3)] == [("airplane", "bird")[label] for label in images[1][1][:3]]
    assert all(np.array_equal(frame["image"][row], images[1][0][row]) for row in range(3))
    assert frame["id"][0].startswith("test-0")
    assert style_dataframe(frame, info).to_html().count('<img src="data:image/png;base64') == 3
    assert len(as_dataframe(source, info)) == 2_000


def test_ids_tell_split_and_place_in_cifar10(images, batches, data_dir):
    source = tfds.builder("birdplane", data_dir=data_dir / loader.PREPARED_FOLDER).as_data_source(split="test")
    _, _, positions = read_split(batches.folder, "test")
    for row in (0, 999, 1999):
        assert source[row]["id"].decode() == f"test-{positions[row]:05d}"


@pytest.fixture(scope="module")
def prepared(synthetic_dir):
    """A cache folder whose stand-in was prepared once, and its arrays."""
    return synthetic_dir, load_data(synthetic_dir, synthetic=True)


def same(ours, theirs):
    return all(
        np.array_equal(mine, yours)
        for one, other in zip(ours, theirs, strict=True)
        for mine, yours in zip(one, other, strict=True)
    )


def test_a_second_load_prepares_nothing(prepared, monkeypatch):
    folder, expected = prepared
    monkeypatch.setattr(loader, "prepare", lambda *_: pytest.fail("prepared again"))
    assert same(load_data(folder, synthetic=True), expected)


@pytest.mark.slow
def test_damaged_prepared_images_are_prepared_again(prepared, caplog):
    folder, expected = prepared
    victim = next((folder / loader.PREPARED_FOLDER).rglob("birdplane-train.array_record*"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert same(load_data(folder, synthetic=True), expected)
    assert "are damaged" in caplog.text


@pytest.mark.slow
def test_prepared_images_are_checked_against_their_sum(prepared, caplog):
    folder, expected = prepared
    victim = next((folder / loader.PREPARED_FOLDER).rglob("metadata.json"))
    (labels_swapped,) = {digest(expected[0][0], 1 - expected[0][1])}
    good = digest(*expected[0])
    assert good in victim.read_text()
    victim.write_text(victim.read_text().replace(good, labels_swapped))
    with caplog.at_level(logging.WARNING):
        assert same(load_data(folder, synthetic=True), expected)
    assert "expected sha256" in caplog.text


@pytest.mark.slow
def test_images_prepared_from_other_batches_are_not_used(prepared, caplog):
    folder, expected = prepared
    victim = next((folder / loader.PREPARED_FOLDER).rglob("metadata.json"))
    victim.write_text(victim.read_text().replace('"batches_md5": {', '"batches_md5": {"other.bin": "0", ', 1))
    with caplog.at_level(logging.INFO, logger="birdplane_keras"):
        assert same(load_data(folder, synthetic=True), expected)
    assert "Preparing the images" in caplog.text


@pytest.mark.slow
def test_a_damaged_description_of_the_prepared_images_heals(prepared, caplog):
    folder, expected = prepared
    victim = next((folder / loader.PREPARED_FOLDER).rglob("dataset_info.json"))
    victim.write_bytes(victim.read_bytes()[:100])
    assert same(load_data(folder, synthetic=True), expected)
    assert "are damaged" in caplog.text


def test_a_disk_that_fills_while_tfds_prepares_is_an_error_with_advice(tmp_path, monkeypatch):
    def fill(self):
        raise RuntimeError("Failed to finalize writing: No space left on device; writing train\nmore")

    monkeypatch.setattr(Birdplane, "download_and_prepare", fill)
    with pytest.raises(DataError, match=r"No space left on device; writing train»: free 100 MB there"):
        load_data(tmp_path, synthetic=True)


def test_a_folder_that_cannot_be_written_is_an_error_not_a_traceback(prepared, monkeypatch):
    folder, _ = prepared

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(loader, "load_prepared", lambda *_: None)
    monkeypatch.setattr(loader, "prepare", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load_data(folder, synthetic=True)


@pytest.mark.slow
def test_tensorflow_is_never_imported_even_where_it_is_installed(tmp_path, synthetic_dir):
    """A TensorFlow that fails on import stands in the path; preparing and loading succeed all the same."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from birdplane_keras.data import load_data\n"
        f"(x, y), _ = load_data({str(synthetic_dir)!r}, synthetic=True)\n"
        "assert len(x) == 10_000 and 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "print('loaded')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "loaded", result.stderr
    control = subprocess.run(
        [sys.executable, "-c", program + "\nimport tensorflow"], capture_output=True, text=True, timeout=120
    )
    assert "TensorFlow was imported" in control.stderr
