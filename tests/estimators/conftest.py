"""What the tests of the estimators share: some real images, and two small problems."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def some(images):
    """1,000 real training images with their labels, and 300 others."""
    (x, y), (x_validation, y_validation) = images
    return x[:1000], y[:1000], x_validation[:300], y_validation[:300]


@pytest.fixture(scope="session")
def classes():
    """Three overlapping clouds of points: (240, 5), and their numbers."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    return rng.normal(size=(240, 5)) + np.eye(5)[y] * 2, y


@pytest.fixture(scope="session")
def line():
    """A plane with a little noise: (200, 3), and two targets."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    return x, x @ np.array([[1.0, 0.0], [-2.0, 1.0], [0.5, 3.0]]) + [0.3, -1.0] + 0.1 * rng.normal(size=(200, 2))
