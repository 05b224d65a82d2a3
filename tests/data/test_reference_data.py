"""The reference's torchvision data set, its refusals, and the shim that lets torchvision be imported."""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from birdplane_keras.data.archive import BATCH_MD5, read_split
from torch_reference import __main__ as command
from torch_reference import torchvision_on_cpu
from torch_reference.data import CIFAR2, TRANSFORM, SyntheticCIFAR2


@pytest.fixture(scope="module")
def validation(data_dir):
    return CIFAR2(data_dir, train=False)


def test_the_dataset_is_torchvision_mannered(validation):
    assert len(validation) == 2_000
    assert validation.classes == ["airplane", "bird"]
    assert validation.class_to_idx == {"airplane": 0, "bird": 1}
    assert "Number of datapoints: 2000" in repr(validation)
    assert "Split: Test" in repr(validation)
    image, label = validation[0]
    assert (image.size, image.mode, label) == ((32, 32), "RGB", 0)


def test_both_programs_read_the_same_images_independently(validation, batches):
    images, labels, _ = read_split(batches.folder, "test")
    assert (validation.data == images).all()
    assert validation.targets == labels.tolist()


def test_transforms_of_image_and_label_are_applied(data_dir):
    dataset = CIFAR2(data_dir, train=False, transform=TRANSFORM, target_transform=lambda label: -label)
    image, label = dataset[1]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert label == -dataset.targets[1]


def test_it_works_with_subset_workers_and_v2_transforms(data_dir):
    from torchvision.transforms import v2  # importable now that torch_reference has seen to torchvision

    transform = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])
    subset = Subset(CIFAR2(data_dir, train=False, transform=transform), range(100))
    images, labels = next(iter(DataLoader(subset, batch_size=50, num_workers=2)))
    assert images.shape == (50, 3, 32, 32)
    assert labels.shape == (50,)


def test_it_survives_pickling(validation):
    assert len(pickle.loads(pickle.dumps(validation))) == 2_000


def test_a_missing_batch_is_named_with_the_way_to_get_it(tmp_path):
    with pytest.raises(RuntimeError, match=r"expected a CIFAR-10 batch at .*data_batch_1.bin.*birdplane_keras data"):
        CIFAR2(tmp_path, train=True)


def test_an_altered_batch_is_never_used(tmp_path, batches):
    folder = tmp_path / CIFAR2.folder
    folder.mkdir()
    for name in BATCH_MD5:
        shutil.copy(batches.folder / name, folder / name)
    content = bytearray((folder / "data_batch_4.bin").read_bytes())
    content[-1] ^= 1
    (folder / "data_batch_4.bin").write_bytes(content)
    with pytest.raises(RuntimeError, match=r"expected md5 ae636b3b.* for .*data_batch_4.bin, received"):
        CIFAR2(tmp_path, train=True)
    assert len(CIFAR2(tmp_path, train=False)) == 2_000  # the other split is whole


def test_the_sums_are_those_of_the_other_program():
    assert CIFAR2.train_batches | CIFAR2.test_batches == BATCH_MD5


def test_download_fetches_only_where_the_folder_is_missing(tmp_path, batches, monkeypatch):
    calls = []

    def fetch(url, root, md5):
        calls.append((url, md5))
        shutil.copytree(batches.folder, Path(root) / CIFAR2.folder)

    monkeypatch.setattr("torch_reference.data.download_and_extract_archive", fetch)
    for _ in range(2):
        CIFAR2(tmp_path, train=False, download=True)
    assert calls == [(CIFAR2.url, CIFAR2.archive_md5)]
    assert [path.name for path in tmp_path.iterdir()] == [CIFAR2.folder]


def test_a_download_that_is_interrupted_leaves_no_half_folder(tmp_path, monkeypatch):
    def fetch(url, root, md5):
        (Path(root) / CIFAR2.folder).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("torch_reference.data.download_and_extract_archive", fetch)
    with pytest.raises(KeyboardInterrupt):
        CIFAR2(tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


def test_the_stand_in_is_another_class_in_another_folder(synthetic_dir):
    assert len(SyntheticCIFAR2(synthetic_dir, train=False)) == 2_000
    with pytest.raises(RuntimeError, match="expected a CIFAR-10 batch"):
        CIFAR2(synthetic_dir, train=False)


@pytest.mark.slow
def test_run_alone_it_prints_what_the_article_prints(synthetic_dir, capsys):
    flags = ["--preset", "narrow", "--epochs", "11", "--synthetic", "--data-dir", str(synthetic_dir)]
    assert command.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SYNTHETIC DATA: generated pictures, not CIFAR-10"
    assert lines[1] == "Parameters: 1574402 [1572864, 512, 1024, 2]"
    assert [line.split(", Loss: ")[0] for line in lines[2:4]] == ["Epoch: 0", "Epoch: 10"]
    assert re.fullmatch(r"Train Accuracy: [01]\.\d{6}", lines[4])
    assert re.fullmatch(r"Validate Accuracy: 0\.\d{6}", lines[5])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--preset", "Wide"], "invalid choice: 'Wide'"),
        (["--epochs", "0"], "expected at least 1, received 0"),
        (["--seed", "-1"], "expected 0 to 4294967295, received -1"),
        (["--device", "cuda:99"], "CUDA"),
        (["--device", "meta"], "the meta device holds no numbers"),
        (["--data-dir", "/nonexistent"], "expected a CIFAR-10 batch at /nonexistent"),
        (["--synthetic", "--data-dir", "/nonexistent"], "/nonexistent"),
    ],
)
def test_run_alone_a_bad_request_is_one_line_and_exit_status_2(flags, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(flags)
    errors = capsys.readouterr().err.strip().splitlines()
    assert (stopped.value.code, len(errors)) == (2, 1)
    assert expected in errors[0]


@pytest.mark.slow
def test_the_shim_declares_operators_only_where_they_are_missing():
    program = (
        "import torch\n{before}"
        "from torch_reference import torchvision_on_cpu as shim\n"
        "shim.import_torchvision()\n"
        "print('declared' if shim._library else 'left alone')"
    )
    present = (
        "ours = torch.library.Library('torchvision', 'DEF')\n"
        f"for name, signature in {torchvision_on_cpu.OPERATORS!r}.items(): ours.define(name + signature)\n"
    )
    results = [
        subprocess.run(
            [sys.executable, "-c", program.format(before=before)], capture_output=True, text=True, timeout=60
        )
        for before in ("", present)
    ]
    assert results[1].stdout.strip() == "left alone", results[1].stderr
    missing = "declared" if torch.version.cuda is None else "left alone"
    assert results[0].stdout.strip() == missing, results[0].stderr


def test_the_shim_does_not_hide_another_failure(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        torchvision_on_cpu.import_torchvision()
