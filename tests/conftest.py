"""What the tests share: the real images, found or fetched once, and the generated stand-in."""

import os
import random
import signal

os.environ["KERAS_BACKEND"] = "torch"  # before any test module imports keras: isort puts that import first
# Two processes of several threads each would wait for one another; what tests start takes this over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; what tests start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)

from pathlib import Path

import numpy as np
import pytest
import torch

from birdplane_keras.data import default_data_dir, find_or_fetch, load_data
from birdplane_keras.data.inputs import normalize
from birdplane_keras.data.location import VerifiedBatches


@pytest.hookimpl(tryfirst=True)  # before its fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test draws does not depend on which tests its process ran before."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The cache folder with the real batches; a machine that cannot have them fails here, it does not skip."""
    find_or_fetch()
    return default_data_dir()


@pytest.fixture(scope="session")
def batches(data_dir: Path) -> VerifiedBatches:
    return find_or_fetch(data_dir)


@pytest.fixture(scope="session")
def images(data_dir: Path):
    """`(x_train, y_train), (x_validation, y_validation)`, as `load_data` returns them."""
    return load_data(data_dir)


@pytest.fixture(scope="session")
def port_data(images):
    """The same, normalised, as the Keras side is fed."""
    return tuple((normalize(x), y) for x, y in images)


@pytest.fixture(scope="session")
def reference_data(data_dir: Path):
    """`cifar2, cifar2_val`, as the PyTorch side is fed."""
    from torch_reference.data import load_data as load_reference_data

    return load_reference_data(data_dir)


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch, data_dir: Path, images, reference_data) -> None:
    """Both programs take the images that the session has loaded already; the batches are still verified."""
    import birdplane_keras.data
    import torch_reference.data

    monkeypatch.setenv("BIRDPLANE_DATA", str(data_dir))
    monkeypatch.setattr(birdplane_keras.data, "load_data", lambda *_, **__: images)
    monkeypatch.setattr(torch_reference.data, "load_data", lambda *_, **__: reference_data)


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the generated stand-in."""
    folder = tmp_path_factory.mktemp("synthetic")
    find_or_fetch(folder, use_synthetic=True)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
