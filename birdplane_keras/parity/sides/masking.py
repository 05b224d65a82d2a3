"""Which places of the outputs count: at padding, say, models may compute what they like, as no loss looks there."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from birdplane_keras.errors import PairError
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.examples import reference_examples, validation_inputs


def counted(pair: Pair, outputs: Mapping[str, np.ndarray], inputs: Any) -> dict[str, np.ndarray]:
    """Returns outputs that are zero where they do not count. One that does not begin with the mask's axes counts whole.

    Args:
        pair: Says what counts.
        outputs: Name -> output (B, ...).
        inputs: The reference's, of these examples first.
    """
    if pair.output_mask is None:
        return dict(outputs)
    mask = mask_of(pair, inputs)
    return {
        name: masked(value, mask[: len(value)]) if begins(value, mask) else value for name, value in outputs.items()
    }


def counted_of_rows(
    pair: Pair, outputs: Mapping[str, np.ndarray], rows: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Returns the same for some examples, (B,) their numbers; `None`: those to predict, or the first of them."""
    if pair.output_mask is None:
        return dict(outputs)
    inputs = validation_inputs(pair) if rows is None else reference_examples(pair).take(rows)[0]
    return counted(pair, outputs, inputs)


def check_mask(pair: Pair, outputs: Mapping[str, np.ndarray], inputs: Any) -> None:
    """Checks what a pair says of the reference's outputs.

    Raises:
        PairError: No output begins with the mask's axes.
    """
    if pair.output_mask is None:
        return
    mask = mask_of(pair, inputs)
    if not any(begins(value, mask) for value in outputs.values()):
        shapes = ", ".join(str(value.shape) for value in outputs.values())
        raise PairError(
            f"expected output_mask to return truth values with whose axes an output begins, received {mask.shape} "
            f"beside {shapes}"
        )


def describe_mask(pair: Pair) -> list[str]:
    """Returns in words that not all outputs are compared; nothing where all are."""
    if pair.output_mask is None:
        return []
    share = float(mask_of(pair, validation_inputs(pair)).mean())
    return [f"outputs are compared where the pair's output_mask says: at {share:.0%} of their places"]


def mask_of(pair: Pair, inputs: Any) -> np.ndarray:
    """Returns what counts of the outputs for some inputs, truth values."""
    return np.asarray(True if pair.output_mask is None else pair.output_mask(inputs)).astype(bool)


def begins(value: np.ndarray, mask: np.ndarray) -> bool:
    """Whether an array begins with the axes of a mask; of the examples it may have fewer."""
    return 0 < mask.ndim <= value.ndim and len(value) <= len(mask) and value.shape[1 : mask.ndim] == mask.shape[1:]


def masked(value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns an array, zero where a mask, of its first axes, is false."""
    return np.where(mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim)), value, np.zeros((), value.dtype))
