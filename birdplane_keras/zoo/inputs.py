"""What the pairs of the zoo are given: drawn tokens, pictures and sounds, and their names on either side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

N, TOKENS, LENGTH = 4, 99, 12  # examples, entries of the vocabulary, tokens of an example
FIRST = 3  # of the vocabulary that is drawn: those before it have a meaning of their own
NAMES = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
BOTH_NAMES = {
    "input_ids": "encoder_token_ids",
    "attention_mask": "encoder_padding_mask",
    "decoder_input_ids": "decoder_token_ids",
    "decoder_attention_mask": "decoder_padding_mask",
}


def tokens(*, pad: int = 0, types: bool = False) -> dict[str, np.ndarray]:
    """Returns (N, LENGTH) token ids, some examples padded, with their mask, by the names that transformers gives."""
    random = np.random.default_rng(0)
    mask = np.ones((N, LENGTH), np.int64)
    mask[N // 2 :, LENGTH - 3 :] = 0
    ids = np.where(mask == 1, random.integers(FIRST, TOKENS - 1, (N, LENGTH)), pad)
    found = {"input_ids": ids, "attention_mask": mask}
    return found | ({"token_type_ids": random.integers(0, 2, (N, LENGTH))} if types else {})


def tokens_of_both() -> dict[str, np.ndarray]:
    """Returns those of an encoder and a decoder."""
    given = tokens()
    decoder = {
        "decoder_input_ids": given["input_ids"][:, ::-1].copy(),
        "decoder_attention_mask": given["attention_mask"],
    }
    return given | {name: np.ones_like(v) if "mask" in name else v for name, v in decoder.items()}


def pictures(size: int = 32, channels: int = 3) -> np.ndarray:
    """Returns (N, channels, size, size) float32."""
    return np.random.default_rng(0).standard_normal((N, channels, size, size)).astype(np.float32)


def numbers(*shape: int) -> np.ndarray:
    """Returns standard normal float32."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def counts(given: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns where the outputs count: not at padding, (N, LENGTH)."""
    return given["attention_mask"] == 1


def hidden(outputs: Any) -> np.ndarray:
    """Returns the one output that backbones share."""
    return outputs["last_hidden_state"]
