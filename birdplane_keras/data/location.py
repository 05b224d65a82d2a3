"""Finds the verified batches, or fetches them into the cache folder."""

import errno
import logging
import os
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import filelock
import platformdirs

from birdplane_keras.data import synthetic
from birdplane_keras.data.archive import BATCH_MD5, Inspection, inspect_batches
from birdplane_keras.data.routes import ARCHIVE_FOLDER, ARCHIVE_URL, ROUTES, RouteError
from birdplane_keras.errors import DataError

logger = logging.getLogger(__name__)

STAGING_PREFIX = ".fetch-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, kw_only=True)
class VerifiedBatches:
    """Six verified batches.

    Args:
        folder: Where they lie.
        source: `"cifar-10"`, or `"synthetic"` for the generated stand-in.
        sums: Name of each batch -> its md5 sum.
        route: How they came to be there, in words.
    """

    folder: Path
    source: str
    sums: dict[str, str]
    route: str


def default_data_dir() -> Path:
    """Returns `BIRDPLANE_DATA` where it is set, else the folder `birdplane` in the platform's cache folder."""
    if os.environ.get("BIRDPLANE_DATA"):
        return Path(os.environ["BIRDPLANE_DATA"])
    return platformdirs.user_cache_path("birdplane", appauthor=False)


def find_or_fetch(data_dir: str | Path | None = None, *, use_synthetic: bool = False) -> VerifiedBatches:
    """Returns verified batches: those in the data folder, else those of the first route that leads to them.

    Args:
        data_dir: The cache folder; `None` for `default_data_dir()`. It is made if it does not exist.
        use_synthetic: The generated stand-in instead of CIFAR-10.

    Raises:
        DataError: The folder cannot be used, or no route led to batches with the right sums. The message names every
            route tried, why it failed, and what to do by hand.
    """
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    folder = root / (synthetic.FOLDER if use_synthetic else ARCHIVE_FOLDER)
    try:
        if (found := look(folder, use_synthetic)) is not None:
            return found
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            faults = describe(inspect_batches(folder, expected_sums(folder, use_synthetic)))
            raise PermissionError(errno.EACCES, f"not writable, and the batches must be fetched ({faults})", str(root))
        with lock_folder(root):
            return look(folder, use_synthetic) or fetch(root, folder, use_synthetic)
    except OSError as error:
        raise folder_error(root, error) from error


def look(folder: Path, use_synthetic: bool) -> VerifiedBatches | None:
    """Returns the batches of a folder if all six are there and right."""
    sums = expected_sums(folder, use_synthetic)
    if not sums or not inspect_batches(folder, sums).complete:
        return None
    source = "synthetic" if use_synthetic else "cifar-10"
    return VerifiedBatches(folder=folder, source=source, sums=sums, route="already there")


def expected_sums(folder: Path, use_synthetic: bool) -> dict[str, str]:
    """Returns the official md5 sums, or those that the generator noted in the folder."""
    return synthetic.read_sums(folder) if use_synthetic else BATCH_MD5


def fetch(root: Path, folder: Path, use_synthetic: bool) -> VerifiedBatches:
    """Fills the folder through the first route whose files have the right sums; the lock is held."""
    for leftover in root.glob(STAGING_PREFIX + "*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    routes = {"the generator": synthetic.generate} if use_synthetic else ROUTES
    set_altered_aside(folder, expected_sums(folder, use_synthetic))
    failures = []
    for title, route in routes.items():
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=root) as temporary:
            staging = Path(temporary)
            try:
                logger.info("Looking for the six batches: %s.", title)
                route(root, staging)
                sums = expected_sums(staging, use_synthetic)
                inspection = inspect_batches(staging, sums)
                if not inspection.complete:
                    raise RouteError(describe(inspection))
            except Exception as error:  # whatever breaks one route, the next may still lead there
                if isinstance(error, OSError) and hopeless(error, root):
                    raise
                told = str(error) if isinstance(error, RouteError) else f"{type(error).__name__}: {error}"
                reason = told.splitlines()[0]
                logger.info("  %s.", reason)
                failures.append(f"{title}: {reason}")
                continue
            folder.mkdir(exist_ok=True)
            for name in [*sums, *([synthetic.SUMS_FILE] if use_synthetic else [])]:
                os.replace(staging / name, folder / name)
        logger.info("  All six md5 sums agree.")
        return VerifiedBatches(
            folder=folder, source="synthetic" if use_synthetic else "cifar-10", sums=sums, route=f"from {title}"
        )
    raise DataError(
        f"expected the six CIFAR-10 batches in {folder}, and no route led to them: {'; '.join(failures)}. "
        f"By hand: download {ARCHIVE_URL} and unpack it in {root}, or install npm; or look around with --synthetic"
    )


def hopeless(error: OSError, root: Path) -> bool:
    """Whether no other route could do better: the disk is full, or the data folder may not be written to."""
    place = str(error.filename or root)
    return error.errno in FULL or (error.errno in FORBIDDEN and place.startswith(str(root / STAGING_PREFIX)))


def set_altered_aside(folder: Path, sums: dict[str, str]) -> None:
    """Renames every batch that is not what it should be, and says so."""
    for name, reason in inspect_batches(folder, sums).altered.items():
        kept = next(path for n in count(1) if not (path := folder / f"{name}.rejected-{n}").exists())
        os.replace(folder / name, kept)
        logger.warning("%s is not what it should be: %s. It is kept as %s; fetching it again.", name, reason, kept)


def describe(inspection: Inspection) -> str:
    """Says in words what a folder lacks."""
    problems = [f"{name} is missing" for name in inspection.missing]
    return "; ".join(problems + [f"{name}: {reason}" for name, reason in inspection.altered.items()])


def lock_folder(root: Path) -> AbstractContextManager:
    """Acquires the lock of a data folder, until the `with` ends, so that processes started at once fetch once."""
    lock = filelock.FileLock(root / ".lock", is_singleton=True)  # one object a folder: it can be taken twice
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("Another process is at work in %s; waiting for it.", root)
        return lock.acquire()


def folder_error(root: Path, error: OSError) -> DataError:
    """Says what is wrong with the data folder and what to do about it."""
    if error.errno in FULL:
        fix = "free 600 MB there, or choose another folder with --data-dir or BIRDPLANE_DATA"
        return DataError(f"expected room for the batches in {root}, received «{error.strerror or error}»: {fix}")
    received = f"«{error.strerror or error}» for {error.filename or root}"
    fix = "fix it, or choose another with --data-dir or BIRDPLANE_DATA"
    return DataError(f"expected a readable and writable data folder with whole batches, received {received}: {fix}")
