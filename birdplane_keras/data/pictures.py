"""Image files of any size and mode, as the classifier takes them."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from birdplane_keras.errors import DataError, RequestError
from birdplane_keras.recipe import IMAGE_SIZE

STANDARD_INPUT = "-"
BACKGROUND = (255, 255, 255)  # behind what is transparent
SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")


def find_pictures(names: Iterable[str]) -> Iterator[str]:
    """Yields the names of files, those of a folder's images in place of the folder's, sorted, with its subfolders'.

    In a folder, an image is what Pillow knows by its suffix; what is named by itself is always tried.

    Raises:
        RequestError: A folder holds no image.
    """
    suffixes = Image.registered_extensions()
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT or not path.is_dir():
            yield name
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        if not found:
            raise RequestError(f"expected images in the folder {name}, received none that Pillow knows by its suffix")
        yield from map(str, found)


def read_picture(source: str | io.BytesIO) -> np.ndarray:
    """Reads an image file: (32, 32, 3) uint8.

    It is turned as its EXIF orientation says, its first frame is taken, what is transparent becomes white, and the
    middle square is scaled (bicubic).

    Args:
        source: A file's name, or its content.

    Raises:
        DataError: Pillow cannot read it.
    """
    try:
        with whole_images_only(), Image.open(source) as image:
            image.seek(0)
            return np.asarray(ImageOps.fit(to_rgb(ImageOps.exif_transpose(image)), (IMAGE_SIZE, IMAGE_SIZE)))
    except UnidentifiedImageError as error:
        raise DataError("the file is empty" if is_empty(source) else "no image that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise DataError(str(error)) from error
    except FileNotFoundError as error:
        raise DataError("there is no such file") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # the ways in which Pillow's readers fail
        raise DataError(f"no image that Pillow reads ({describe(error)})") from error


@contextmanager
def whole_images_only() -> Iterator[None]:
    """Within it Pillow refuses half a file; TFDS tells it, for the whole process, to fill up the rest with grey."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns an image in red, green and blue; of 16 bits, the upper 8."""
    if image.mode in SIXTEEN_BITS:
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        image.alpha_composite(layer)
    return image.convert("RGB")


def is_empty(source: str | io.BytesIO) -> bool:
    """Whether a file has no content."""
    if isinstance(source, io.BytesIO):
        return not source.getvalue()
    return Path(source).is_file() and Path(source).stat().st_size == 0


def describe(error: Exception) -> str:
    """Returns an error's first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
