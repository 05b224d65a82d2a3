"""From images to what both programs are fed: normalised pixels in one row per image, and the order of the rows."""

import numpy as np

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
