"""Airplanes and birds of CIFAR-10 as a torchvision dataset, and the loader that orders its batches.

`N` images, 3 channels, 32 x 32 pixels; labels: airplane 0, bird 1.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from torch_reference.recipe import Recipe
from torch_reference.torchvision_on_cpu import import_torchvision

import_torchvision()

from torchvision import transforms  # noqa: E402 (only importable after the line above)
from torchvision.datasets import VisionDataset  # noqa: E402 (likewise)
from torchvision.datasets.utils import download_and_extract_archive  # noqa: E402 (likewise)
from torchvision.transforms.functional import crop, pad, to_pil_image  # noqa: E402 (likewise)

# Mean and standard deviation of the CIFAR-10 training pixels, red, green, blue, as the article gives them.
NORMALIZE = transforms.Normalize((0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616))
TRANSFORM = transforms.Compose([transforms.ToTensor(), NORMALIZE])

Example = tuple[torch.Tensor, int]


class CIFAR2(VisionDataset):
    """The two classes of CIFAR-10 that fly, read from the official binary batches.

    A record is 1 label byte and 3,072 pixel bytes: the red plane, then green, then blue, row by row.
    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "binary version".

    Args:
        root: The folder that holds, or with `download` will hold, `cifar-10-batches-bin`.
        train: The 10,000 images of the training batches, else the 2,000 of the test batch.
        transform: From a PIL image to what the dataset yields in its place.
        target_transform: The same for the label, an `int`.
        download: Fetch the official archive when `root` does not hold it.

    Raises:
        RuntimeError: A batch is missing, or its md5 sum is not the expected one.
    """

    folder = "cifar-10-batches-bin"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    train_batches: ClassVar[dict] = {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    }
    test_batches: ClassVar[dict] = {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"}
    label_map: ClassVar[dict] = {0: 0, 2: 1}
    classes: ClassVar[list[str]] = ["airplane", "bird"]
    class_to_idx: ClassVar[dict] = {"airplane": 0, "bird": 1}

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        batches = Path(root) / self.folder
        if download and not batches.is_dir():
            Path(root).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root) as temporary:  # an interruption leaves no half folder
                download_and_extract_archive(self.url, temporary, md5=self.archive_md5)
                (Path(temporary) / self.folder).rename(batches)
        expected = self.train_batches if train else self.test_batches
        records = np.concatenate([self._read(batches / name, md5) for name, md5 in expected.items()])
        records = records[np.isin(records[:, 0], list(self.label_map))]
        self.targets = [self.label_map[int(label)] for label in records[:, 0]]
        self.data = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N, 32, 32, 3) uint8

    def _read(self, path: Path, md5: str) -> np.ndarray:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RuntimeError(
                f"expected a CIFAR-10 batch at {path}, but it cannot be read ({error.strerror}): "
                "run `python -m birdplane_keras data`, or pass download=True"
            ) from error
        received = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if received != md5:
            raise RuntimeError(
                f"expected md5 {md5} for {path}, received {received}: "
                "delete the file, then run `python -m birdplane_keras data`"
            )
        return np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)

    def __getitem__(self, index: int):
        image, label = to_pil_image(self.data[index]), self.targets[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __len__(self) -> int:
        return len(self.targets)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}\nClasses: {', '.join(self.classes)}"


class SyntheticCIFAR2(CIFAR2):
    """The generated stand-in for CIFAR-10 that `python -m birdplane_keras data --synthetic` writes: not real images."""

    folder = "synthetic-batches-bin"

    def _read(self, path: Path, md5: str) -> np.ndarray:
        sums = (path.parent / "MD5SUMS").read_text().split()
        return super()._read(path, sums[sums.index(path.name) - 1])


def default_data_dir() -> Path:
    """Returns `BIRDPLANE_DATA` where it is set, else the folder `birdplane` in the platform's cache folder."""
    if os.environ.get("BIRDPLANE_DATA"):
        return Path(os.environ["BIRDPLANE_DATA"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "birdplane/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/birdplane"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "birdplane"


def load_data(
    data_dir: str | Path, *, download: bool = False, synthetic: bool = False
) -> tuple[list[Example], list[Example]]:
    """Reads and transforms every image once, as the article does: a list of (image, label) for each split.

    Args:
        data_dir: The folder that holds the folder of batches.
        download: Fetch the official archive when it does not.
        synthetic: Read the generated stand-in instead of CIFAR-10.

    Returns:
        train (10,000) and validation (2,000); an image is (3, 32, 32) float32, normalised.
    """
    dataset = SyntheticCIFAR2 if synthetic else CIFAR2
    cifar2 = list(dataset(data_dir, train=True, transform=TRANSFORM, download=download and not synthetic))
    cifar2_val = list(dataset(data_dir, train=False, transform=TRANSFORM))
    return cifar2, cifar2_val


class EpochOrder(Sampler[int]):
    """A shuffle that depends on (seed, epoch) alone, so that another program can repeat it.

    The order of epoch `e` is `numpy.random.default_rng([seed, e]).permutation(size)`; without `shuffle` it is always
    that of the examples.
    """

    def __init__(self, size: int, seed: int, shuffle: bool = True) -> None:
        self.size, self.seed, self.shuffle, self.epoch = size, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass; call it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.size))
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.size).tolist())

    def __len__(self) -> int:
        return self.size


class ShiftedExamples(Dataset[Example]):
    """Examples whose images are moved, each again in each epoch, by up to `largest_shift` pixels either way.

    The shifts of epoch `e`, down and to the right, are `numpy.random.default_rng([seed, e, 1]).integers(-largest_shift,
    largest_shift + 1, (size, 2))`.
    """

    def __init__(self, examples: Sequence[Example], seed: int, largest_shift: int) -> None:
        self.examples, self.seed, self.largest_shift = examples, seed, largest_shift
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shifts of the next pass; call it before each epoch."""
        draw = np.random.default_rng([self.seed, epoch, 1])
        self.shifts = draw.integers(-self.largest_shift, self.largest_shift + 1, (len(self.examples), 2)).tolist()

    def __getitem__(self, index: int) -> Example:
        image, label = self.examples[index]
        return shift_images(image, *self.shifts[index]), label

    def __len__(self) -> int:
        return len(self.examples)


def shift_images(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Moves images (..., H, W) down and to the right; what comes in at an edge is the mirror image (reflection)."""
    height, width = images.shape[-2:]
    # Left and right, above and below; the pixel at the edge is not repeated.
    padding = [max(right, 0), max(down, 0), max(-right, 0), max(-down, 0)]
    padded = pad(images, padding, padding_mode="reflect")
    return crop(padded, max(-down, 0), max(-right, 0), height, width)


class TrainLoader(DataLoader):
    """The mini-batches of training, which take the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Chooses order and shifts of the next pass; call it before each epoch."""
        for part in (self.sampler, self.dataset):
            if isinstance(part, EpochOrder | ShiftedExamples):
                part.set_epoch(epoch)


def build_train_loader(examples: Sequence, recipe: Recipe) -> TrainLoader:
    """Returns the loader of the mini-batches that the recipe asks for; call its `set_epoch` before each epoch."""
    order = EpochOrder(len(examples), recipe.seed, recipe.shuffle)
    shifted = ShiftedExamples(examples, recipe.seed, recipe.largest_shift) if recipe.largest_shift else examples
    return TrainLoader(shifted, batch_size=recipe.batch_size, sampler=order)  # type: ignore[arg-type] # a list will do


def build_validation_loader(examples: Sequence, recipe: Recipe) -> DataLoader:
    """Returns the loader that scores every example once, in file order."""
    return DataLoader(examples, batch_size=recipe.batch_size, shuffle=False)  # type: ignore[arg-type] # likewise
