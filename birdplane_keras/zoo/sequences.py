"""Encoders with decoders, of text and of sound: KerasHub's backbones and the models of transformers."""

from typing import Any

import numpy as np
import transformers
from keras_hub import models

from birdplane_keras.zoo.encoders import KERAS_SIZES
from birdplane_keras.zoo.inputs import BOTH_NAMES, TOKENS, N, numbers, tokens, tokens_of_both
from birdplane_keras.zoo.registry import lively, pair

BOTH = {"last_hidden_state": "decoder_sequence_output", "encoder_last_hidden_state": "encoder_sequence_output"}
LAYERS: dict[str, Any] = {
    "vocab_size": TOKENS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
MELS, FRAMES = 8, 20  # of a sound


@pair("transformers T5Model", "KerasHub T5Backbone", "keras.activations.gelu with approximate=True")
def t5(advised):
    """The reference's gated-gelu is the tanh approximation."""
    import keras

    def approximate(x):
        return keras.activations.gelu(x, approximate=True)

    config = transformers.T5Config(
        vocab_size=TOKENS, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    sizes = {name: size for name, size in KERAS_SIZES.items() if name != "max_sequence_length"}
    return {
        "torch_module": lively(transformers.T5Model(config)),
        "keras_model": models.T5Backbone(**sizes, key_value_dim=8, activation=approximate if advised else "gelu"),
        "inputs": tokens_of_both(),
        "to_keras": BOTH_NAMES,
        "outputs": BOTH,
    }


@pair("transformers BartModel", "KerasHub BartBackbone")
def bart(advised):
    return {
        "torch_module": lively(transformers.BartModel(transformers.BartConfig(**LAYERS, max_position_embeddings=16))),
        "keras_model": models.BartBackbone(**KERAS_SIZES),
        "inputs": tokens_of_both(),
        "to_keras": BOTH_NAMES,
        "outputs": BOTH,
    }


@pair("transformers WhisperModel", "KerasHub WhisperBackbone")
def whisper(advised):
    config = transformers.WhisperConfig(
        **LAYERS,
        num_mel_bins=MELS,
        max_source_positions=FRAMES // 2,
        max_target_positions=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = models.WhisperBackbone(
        vocabulary_size=TOKENS,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        num_mels=MELS,
        max_encoder_sequence_length=FRAMES,
        max_decoder_sequence_length=16,
    )
    ids = tokens()["input_ids"]

    def to_keras(given):
        return {
            "encoder_features": given["input_features"].transpose(0, 2, 1),
            "decoder_token_ids": given["decoder_input_ids"],
            "decoder_padding_mask": given["decoder_attention_mask"],
        }

    return {
        "torch_module": lively(transformers.WhisperModel(config)),
        "keras_model": model,
        "inputs": {
            "input_features": numbers(N, MELS, FRAMES),
            "decoder_input_ids": ids,
            "decoder_attention_mask": np.ones_like(ids),
        },
        "to_keras": to_keras,
        "outputs": BOTH,
    }
