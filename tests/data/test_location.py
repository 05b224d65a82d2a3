"""Finding and fetching: nothing is used unless all six sums agree, and every failure says what to do."""

import errno
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from birdplane_keras.data import location, routes, synthetic
from birdplane_keras.data.archive import BATCH_MD5
from birdplane_keras.data.location import find_or_fetch, lock_folder
from birdplane_keras.data.routes import ARCHIVE_FOLDER, RouteError
from birdplane_keras.errors import DataError


@pytest.fixture
def copy_route(batches, monkeypatch):
    """The only route: copies the real batches; its list of calls tells how often it was taken."""
    calls = []

    def route(data_dir, staging):
        calls.append(data_dir)
        for name in BATCH_MD5:
            shutil.copy(batches.folder / name, staging / name)

    monkeypatch.setattr(location, "ROUTES", {"a copy": route})
    return calls


@pytest.fixture
def filled(batches, tmp_path):
    """A cache folder of its own with the real batches."""
    (tmp_path / ARCHIVE_FOLDER).mkdir()
    for name in BATCH_MD5:
        shutil.copy(batches.folder / name, tmp_path / ARCHIVE_FOLDER / name)
    return tmp_path


def test_what_is_there_and_right_is_used_as_it_is(filled, copy_route):
    found = find_or_fetch(filled)
    assert (found.route, found.source, copy_route) == ("already there", "cifar-10", [])


def test_an_empty_folder_is_filled_once(tmp_path, copy_route):
    assert find_or_fetch(tmp_path / "new").route == "from a copy"
    assert find_or_fetch(tmp_path / "new").route == "already there"
    assert len(copy_route) == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".lock", ARCHIVE_FOLDER]


@pytest.mark.parametrize("damage", ["one byte", "truncated", "empty"])
def test_an_altered_batch_is_kept_aside_named_and_fetched_again(filled, copy_route, caplog, damage):
    victim = filled / ARCHIVE_FOLDER / "data_batch_2.bin"
    content = bytearray(victim.read_bytes())
    content[12345] ^= 1
    altered = {"one byte": bytes(content), "truncated": bytes(content[:-1]), "empty": b""}[damage]
    victim.write_bytes(altered)

    with caplog.at_level(logging.WARNING):
        found = find_or_fetch(filled)

    assert found.route == "from a copy"
    assert (filled / ARCHIVE_FOLDER / "data_batch_2.bin.rejected-1").read_bytes() == altered
    assert "data_batch_2.bin is not what it should be" in caplog.text
    assert location.inspect_batches(found.folder, BATCH_MD5).complete


def test_an_altered_batch_that_cannot_be_replaced_is_never_used(filled, monkeypatch):
    victim = filled / ARCHIVE_FOLDER / "test_batch.bin"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    monkeypatch.setattr(location, "ROUTES", {})
    with pytest.raises(DataError, match="expected the six CIFAR-10 batches"):
        find_or_fetch(filled)
    assert not victim.exists()


def test_a_route_that_brings_something_else_is_not_believed(tmp_path, monkeypatch):
    def liar(data_dir, staging):
        for name in BATCH_MD5:
            (staging / name).write_bytes(b"not a batch")

    monkeypatch.setattr(location, "ROUTES", {"a liar": liar})
    with pytest.raises(DataError, match=r"a liar: data_batch_1.bin: expected 30730000 bytes, received 11"):
        find_or_fetch(tmp_path)
    assert not (tmp_path / ARCHIVE_FOLDER).exists()


def test_a_failure_names_every_route_and_what_to_do_by_hand(tmp_path, monkeypatch):
    def refuse(data_dir, staging):
        raise RouteError("the bridge is out")

    def crash(data_dir, staging):
        raise KeyError("oops")

    monkeypatch.setattr(location, "ROUTES", {"the north": refuse, "the south": crash})
    with pytest.raises(DataError) as failure:
        find_or_fetch(tmp_path)
    message = str(failure.value)
    assert "the north: the bridge is out" in message
    assert "the south: KeyError" in message
    assert f"By hand: download {routes.ARCHIVE_URL}" in message
    assert "\n" not in message


def test_a_source_that_may_not_be_read_does_not_end_the_search(tmp_path, copy_route, monkeypatch):
    def forbid(data_dir, staging):
        raise PermissionError(errno.EACCES, "Permission denied", "/usr/bin/npm")

    monkeypatch.setattr(location, "ROUTES", {"first": forbid, **location.ROUTES})
    assert find_or_fetch(tmp_path).route == "from a copy"


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free 600 MB"), (errno.EACCES, "readable and writable"), (errno.EROFS, "readable and writable")],
)
def test_a_full_or_forbidden_folder_ends_the_search(tmp_path, monkeypatch, number, advice):
    def fill(data_dir, staging):
        raise OSError(number, os.strerror(number), str(staging))

    second = []
    monkeypatch.setattr(location, "ROUTES", {"first": fill, "second": lambda *folders: second.append(folders)})
    with pytest.raises(DataError, match=advice):
        find_or_fetch(tmp_path)
    assert second == []  # no other route could do better


def test_a_data_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected a readable and writable data folder"):
        find_or_fetch(tmp_path / "file")


def test_a_read_only_folder_with_an_altered_batch_says_both(filled, monkeypatch):
    (filled / ARCHIVE_FOLDER / "test_batch.bin").write_bytes(b"short")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(DataError) as failure:
        find_or_fetch(filled)
    assert "not writable" in str(failure.value)
    assert "test_batch.bin: expected 30730000 bytes, received 5" in str(failure.value)


def test_an_unreadable_batch_is_reported_not_replaced(filled, monkeypatch):
    monkeypatch.setattr(location, "inspect_batches", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(DataError, match="denied"):
        find_or_fetch(filled)


def test_what_a_killed_process_left_is_cleared(tmp_path, copy_route):
    (tmp_path / ".fetch-dead").mkdir()
    (tmp_path / ".fetch-dead" / "data_batch_1.bin").write_bytes(b"half")
    find_or_fetch(tmp_path)
    assert not (tmp_path / ".fetch-dead").exists()


def test_two_threads_fetch_once(tmp_path, copy_route):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(find_or_fetch, [tmp_path] * 2))
    assert sorted(batches.route for batches in found) == ["already there", "from a copy"]
    assert len(copy_route) == 1


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(tmp_path):
    program = (
        "import sys; from birdplane_keras.data.location import find_or_fetch\n"
        "print(find_or_fetch(sys.argv[1], use_synthetic=True).route)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(process.communicate(timeout=120)[0].strip() for process in processes) == [
        "already there",
        "from the generator",
    ]


def test_the_lock_can_be_taken_again_by_its_holder(tmp_path):
    with lock_folder(tmp_path), lock_folder(tmp_path):
        pass


def test_the_environment_chooses_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BIRDPLANE_DATA", str(tmp_path))
    assert location.default_data_dir() == tmp_path


@pytest.mark.parametrize("variable", ["BIRDPLANE_DATA", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("value", ["", "/somewhere"])
def test_both_programs_look_in_the_same_folder(monkeypatch, variable, value):
    from torch_reference.data import default_data_dir as reference_data_dir

    monkeypatch.delenv("BIRDPLANE_DATA", raising=False)
    monkeypatch.setenv(variable, value)
    assert location.default_data_dir() == reference_data_dir()


def test_the_stand_in_has_a_name_sums_and_a_folder_of_its_own(synthetic_dir: Path):
    found = find_or_fetch(synthetic_dir, use_synthetic=True)
    assert found.source == "synthetic"
    assert found.folder.name == synthetic.FOLDER != ARCHIVE_FOLDER
    assert set(found.sums) == set(BATCH_MD5)
    assert not set(found.sums.values()) & set(BATCH_MD5.values())


def test_the_stand_in_is_never_chosen_silently(synthetic_dir, monkeypatch):
    monkeypatch.setattr(location, "ROUTES", {})
    with pytest.raises(DataError, match="--synthetic"):
        find_or_fetch(synthetic_dir)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"one line", b"", b"\xff\xfe", b"0  data_batch_1.bin\n"])
def test_a_stand_in_whose_sums_are_damaged_is_generated_again(tmp_path, damage):
    folder = find_or_fetch(tmp_path, use_synthetic=True).folder
    (folder / synthetic.SUMS_FILE).write_bytes(damage)
    assert find_or_fetch(tmp_path, use_synthetic=True).route == "from the generator"


@pytest.mark.slow
def test_an_altered_stand_in_is_generated_again(tmp_path, caplog):
    folder = find_or_fetch(tmp_path, use_synthetic=True).folder
    sums = synthetic.read_sums(folder)
    (folder / "test_batch.bin").write_bytes(b"short")
    with caplog.at_level(logging.WARNING):
        assert find_or_fetch(tmp_path, use_synthetic=True).route == "from the generator"
    assert "test_batch.bin" in caplog.text
    assert synthetic.read_sums(folder) == sums  # always the same images
