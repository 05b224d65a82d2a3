"""From images to what both programs are fed: normalised pixels in one row per image, their order and their shifts."""

import numpy as np
import torch

SHAPE = (3, 32, 32)  # of an image in a row of pixels

# Mean and standard deviation of the CIFAR-10 training pixels, red, green, blue, as the article gives them.
MEAN = np.array([0.4915, 0.4823, 0.4468], dtype=np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], dtype=np.float32)


def normalize(images: np.ndarray) -> np.ndarray:
    """Scales pixels to [0, 1], standardises each channel, and flattens with the channel first.

    The arithmetic is that of torchvision's `ToTensor` and `Normalize`, in the same order and precision:
    `(pixel / 255 - mean) / std`, float32 throughout. The result has the same bits.

    Args:
        images: (N, 32, 32, 3) uint8.

    Returns:
        (N, 3072) float32: 1,024 red values, then green, then blue.
    """
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    pixels /= np.float32(255)
    pixels -= MEAN[:, None, None]
    pixels /= STD[:, None, None]
    return pixels.reshape(len(images), -1)


def batch_order(size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Returns the order in which an epoch meets the images: a permutation (size,) int64.

    It is a function of (seed, epoch) alone, `numpy.random.default_rng([seed, epoch]).permutation(size)`, so that a
    program that is not Keras can repeat it.
    """
    return np.random.default_rng([seed, epoch]).permutation(size)


def epoch_shifts(size: int, *, seed: int, epoch: int, largest: int) -> np.ndarray:
    """Returns by how many pixels an epoch moves each image, down and to the right: (size, 2) int64.

    A function of (seed, epoch) alone: `numpy.random.default_rng([seed, epoch, 1]).integers(-largest, largest + 1)`.
    """
    return np.random.default_rng([seed, epoch, 1]).integers(-largest, largest + 1, (size, 2))


def shift_pixels(x: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Moves each image by its own shift; what comes in at an edge is the mirror image (reflection).

    Args:
        x: (N, 3072) float32, channel first.
        shifts: (N, 2) int64, pixels down and to the right, each less than 32 either way; on the device of `x`.

    Returns:
        (N, 3072) float32, the same numbers in other places.
    """
    channels, height, width = SHAPE
    down, right = shifts[:, :1], shifts[:, 1:]
    rows = reflect(torch.arange(height, device=x.device) - down, height)  # (N, H): where each new row comes from
    columns = reflect(torch.arange(width, device=x.device) - right, width)
    places = (rows[:, :, None] * width + columns[:, None, :]).reshape(len(x), 1, -1)
    planes = x.reshape(len(x), channels, height * width)
    return planes.gather(2, places.expand(-1, channels, -1)).reshape(len(x), -1)


def reflect(places: torch.Tensor, size: int) -> torch.Tensor:
    """Returns places from -size + 1 to 2 size - 2 mirrored into 0 to size - 1; the edge itself is not repeated."""
    return size - 1 - (size - 1 - places.abs()).abs()
