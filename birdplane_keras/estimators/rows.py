"""What `X` is, images or columns, pixels or other numbers, and how its rows are standardised."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from birdplane_keras.data.inputs import normalize
from birdplane_keras.user_code import warning_level

STANDARDISE = ("auto", "pixels", "features", "cifar10", None)
CIFAR_SHAPE = (32, 32, 3)
CIFAR_PIXELS = 3072
LARGEST_PIXEL = 255
FEWEST_PIXELS = 64  # columns from which on integers are worth a hint: an image of 8 x 8
BRIGHT = 128  # and one of them is at least this


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was passed as `X`, in two dimensions.

    Args:
        values: (N, D) array or DataFrame.
        image: Shape of one image, (H, W) or (H, W, C); `None` for rows.
        integers: The dtype that all values have, if it is an integer one; else `None`.
        dtype: In words, for an error.
    """

    values: Any
    image: tuple[int, ...] | None
    integers: np.dtype | None
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How rows become what the network reads, as `fit` has decided: `(row - mean) / deviation`.

    Args:
        rule: The parameter `standardise` that it was decided by.
        kind: `pixels`, one mean and deviation; `features`, one of each column; `cifar10`, those of CIFAR-10, of each
            channel; `numbers`, the rows as they are.
        image: Shape of the images that `fit` saw; `None` for rows.
        integers: Whether `fit` saw integers.
        mean: (1,) or (D,) float64.
        deviation: Likewise; 1 where nothing varies.
    """

    rule: str | None
    kind: str
    image: tuple[int, ...] | None
    integers: bool
    mean: np.ndarray
    deviation: np.ndarray


def look_at(X: Any) -> Look:
    """Returns what `X` is: images of any shape are flattened to rows, DataFrames keep their names."""
    integers, dtype = common_integers(X)
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) > 2 and shape[0]:
        return Look(values=np.asarray(X).reshape(shape[0], -1), image=tuple(shape[1:]), integers=integers, dtype=dtype)
    return Look(values=X, image=None, integers=integers, dtype=dtype)


def common_integers(X: Any) -> tuple[np.dtype | None, str]:
    """Returns the integer dtype that holds every value of `X`, or `None`, and the dtype in words."""
    columns = getattr(X, "dtypes", None)
    if columns is not None and all(getattr(one, "kind", "") in ("i", "u") for one in columns):
        dtype: Any = np.result_type(*(f"{one.kind}{one.itemsize}" for one in columns)) if len(columns) else None
    elif columns is not None:
        words = sorted({str(one) for one in columns})
        return None, " and ".join(words)
    else:
        dtype = getattr(X, "dtype", None)
        if not isinstance(dtype, np.dtype):
            dtype = getattr(as_array(X), "dtype", None)
    return (dtype if dtype is not None and dtype.kind in "iu" else None), str(dtype)


def as_array(X: Any) -> np.ndarray | None:
    """Returns lists, tensors and the like as an array; `None` where they are none, which scikit-learn says best."""
    try:
        return np.asarray(X)
    except (TypeError, ValueError):
        return None


def fit_scaling(rule: str | None, look: Look, rows: np.ndarray, kept: np.ndarray) -> Scaling:
    """Decides how rows are standardised.

    Args:
        rule: The parameter `standardise`.
        look: What `X` was.
        rows: (N, D) the same as numbers.
        kept: Which of them train: mean and deviation are theirs.
    """
    kind = kind_of(rule, look, rows)
    mean, deviation = np.zeros(1), np.ones(1)
    if kind in ("pixels", "features"):
        axis = 0 if kind == "features" else None
        mean = np.atleast_1d(rows[kept].mean(axis=axis, dtype=np.float64))
        deviation = np.atleast_1d(rows[kept].std(axis=axis, dtype=np.float64))
        deviation[deviation == 0] = 1
    return Scaling(
        rule=rule, kind=kind, image=look.image, integers=look.integers is not None, mean=mean, deviation=deviation
    )


def kind_of(rule: str | None, look: Look, rows: np.ndarray) -> str:
    """Returns what a rule takes rows for: see `Scaling`.

    Raises:
        ValueError: Images of another shape than CIFAR-10's, with the rule `cifar10`.
    """
    pixels = look.integers is not None and rows.min() >= 0 and rows.max() <= LARGEST_PIXEL
    if rule == "cifar10":
        if look.image not in (None, CIFAR_SHAPE):
            raise ValueError(
                f"expected rows (N, D), a 2D array, or images (N, 32, 32, 3) uint8 with standardise='cifar10', "
                f"received images {look.image}, {look.dtype}: set standardise='auto', or use KerasDenseClassifier"
            )
        return "cifar10" if pixels and rows.shape[1] == CIFAR_PIXELS else "numbers"
    if rule == "auto":
        return "pixels" if pixels and (look.integers == np.uint8 or look.image is not None) else "numbers"
    return rule or "numbers"


def hint_at_pixels(scaling: Scaling, look: Look, rows: np.ndarray) -> None:
    """Warns where the rule `auto` has taken rows as they are that may well be pixels."""
    if scaling.rule != "auto" or scaling.kind != "numbers" or look.integers is None or rows.shape[1] < FEWEST_PIXELS:
        return
    if rows.min() >= 0 and BRIGHT <= rows.max() <= LARGEST_PIXEL:
        warnings.warn(
            f"expected pixels as uint8, received integers within 0..255 as {look.dtype}: standardise='auto' reads them "
            "as they are; if they are pixels, set standardise='pixels' or pass uint8; if not, set standardise=None",
            UserWarning,
            stacklevel=warning_level(),
        )


def check_alike(scaling: Scaling, look: Look, rows: np.ndarray) -> None:
    """Makes sure that rows are of the kind that `fit` saw.

    Raises:
        ValueError: They are not.
    """
    if look.image and scaling.image and look.image != scaling.image:
        raise ValueError(f"expected images {scaling.image}, as in fit, received images {look.image}")
    received = f"received shape {rows.shape if look.image is None else (len(rows), *look.image)}, {look.dtype}"
    if scaling.kind in ("pixels", "cifar10") and scaling.integers:
        if look.integers is None or rows.min() < 0 or rows.max() > LARGEST_PIXEL:
            raise ValueError(
                f"expected integer pixels within 0..255, as in fit, {received}: pass the pixels as uint8, unscaled"
            )
    elif scaling.kind == "numbers" and not scaling.integers and kind_of(scaling.rule, look, rows) != "numbers":
        raise ValueError(
            f"expected numbers that are no pixels, as in fit, {received}: prepare them as the rows of fit were"
        )


def standardise(scaling: Scaling, rows: np.ndarray) -> np.ndarray:
    """Returns what the network reads: (N, D) float32.

    Raises:
        ValueError: A number is beyond float32.
    """
    if scaling.kind == "cifar10":
        return normalize(rows.astype(np.uint8, copy=False).reshape(-1, *CIFAR_SHAPE))
    with np.errstate(over="ignore"):
        if scaling.kind == "pixels":
            scaled = rows.astype(np.float32)
            scaled -= np.float32(scaling.mean[0])
            scaled /= np.float32(scaling.deviation[0])
        elif scaling.kind == "features":
            scaled = ((rows - scaling.mean) / scaling.deviation).astype(np.float32)
        else:
            scaled = np.require(rows, np.float32, ["C", "W"])
    if not np.isfinite(scaled).all():
        raise ValueError("expected numbers within ±3.4e38, which float32 holds, received larger ones: scale X")
    return scaled
