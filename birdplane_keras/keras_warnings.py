"""Warnings that Keras gives of itself, which would stop a program that takes warnings for errors."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Keras converts tensors by `np.array`; on NumPy 2 a tensor's `__array__` lacks an argument.
OF_NUMPY_2 = "__array__ implementation doesn't accept a copy keyword"


@contextmanager
def own_warnings_ignored() -> Iterator[None]:
    """Within it, what Keras' own code warns of on NumPy 2 is ignored, whatever the program's filters say."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=OF_NUMPY_2, category=DeprecationWarning)
        yield
