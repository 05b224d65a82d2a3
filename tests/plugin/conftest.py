"""What the tests of the plugin share."""

import pytest
import torch

from birdplane_keras.torch_plugin import products


@pytest.fixture(autouse=True)
def fuse_small_weights_too(monkeypatch):
    """The models here are small; so that `fused` does what it does to large ones, no weight is too small for it."""
    monkeypatch.setattr(products, "SMALLEST_FUSED", 0)


@pytest.fixture(autouse=True)
def two_threads():
    """The plugin lays kernels out by the number of threads; the other tests have one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
