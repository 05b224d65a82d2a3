"""Attention as PyTorch's kernel where Keras composes it for a dropout that does nothing."""

from typing import Any

import keras

from birdplane_keras.torch_plugin.native.forms import NativeForm


def attention(
    layer: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    training: bool | None = None,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    """`scaled_dot_product_attention` in the place of `keras.layers.MultiHeadAttention._compute_attention`.

    Without dropout Keras takes it by itself. With a mask it stays as it is: a row of which nothing is left is a mean
    in Keras, and no number in PyTorch.
    """
    if training or return_attention_scores or attention_mask is not None or query.ndim != 4 or layer._dropout == 0:
        return NotImplemented
    attended = keras.ops.dot_product_attention(
        query,
        key,
        value,
        scale=layer._inverse_sqrt_key_dim,
        is_causal=use_causal_mask,
        flash_attention=layer._flash_attention,
    )
    return attended, None


FORMS = (
    NativeForm(name="attention", owner=keras.layers.MultiHeadAttention, attribute="_compute_attention", make=attention),
)
