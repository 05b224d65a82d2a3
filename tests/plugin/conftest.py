"""What the tests of the plugin share."""

import pytest

from birdplane_keras.torch_plugin import rewrites


@pytest.fixture(autouse=True)
def fuse_small_weights_too(monkeypatch):
    """The models here are small; so that `fused` does what it does to large ones, no weight is too small for it."""
    monkeypatch.setattr(rewrites, "SMALLEST_FUSED", 0)
