"""Decoders of text: KerasHub's backbones and the models of transformers."""

from typing import Any

import transformers
from keras_hub import models

from birdplane_keras.zoo.encoders import KERAS_SIZES, SIZES
from birdplane_keras.zoo.inputs import NAMES, TOKENS, counts, hidden, tokens
from birdplane_keras.zoo.registry import lively, pair

GROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 2}
KERAS_GROUPED: dict[str, Any] = {
    "vocabulary_size": TOKENS,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 64,
}


def joined(module, model):
    """Returns a pair of a decoder of transformers and one of KerasHub."""
    return {
        "torch_module": lively(module),
        "keras_model": model,
        "inputs": tokens(),
        "to_keras": NAMES,
        "outputs_to_keras": hidden,
    }


@pair("transformers GPT2Model", "KerasHub GPT2Backbone")
def gpt2(advised):
    config = transformers.GPT2Config(
        vocab_size=TOKENS, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=16, bos_token_id=1, eos_token_id=2
    )
    return joined(transformers.GPT2Model(config), models.GPT2Backbone(**KERAS_SIZES))


@pair("transformers LlamaModel", "KerasHub LlamaBackbone")
def llama(advised):
    return joined(transformers.LlamaModel(transformers.LlamaConfig(**GROUPED)), models.LlamaBackbone(**KERAS_GROUPED))


@pair("transformers MistralModel", "KerasHub MistralBackbone")
def mistral(advised):
    config = transformers.MistralConfig(**GROUPED, sliding_window=512)
    return joined(transformers.MistralModel(config), models.MistralBackbone(**KERAS_GROUPED))


@pair("transformers GemmaModel", "KerasHub GemmaBackbone")
def gemma(advised):
    """KerasHub counts both halves of the gated layer in `intermediate_dim`."""
    module = transformers.GemmaModel(transformers.GemmaConfig(**GROUPED, head_dim=8))
    return joined(module, models.GemmaBackbone(**KERAS_GROUPED | {"intermediate_dim": 128}, head_dim=8))


@pair("transformers OPTModel", "KerasHub OPTBackbone")
def opt(advised):
    """Padding, whose positions the reference counts otherwise, is masked."""
    config = transformers.OPTConfig(
        vocab_size=TOKENS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        max_position_embeddings=16,
        word_embed_proj_dim=32,
    )
    return joined(transformers.OPTModel(config), models.OPTBackbone(**KERAS_SIZES)) | {"output_mask": counts}


@pair("transformers GPTNeoXModel", "KerasHub GPTNeoXBackbone", 'GPTNeoXConfig(hidden_act="gelu_new")')
def gpt_neox(advised):
    config = transformers.GPTNeoXConfig(**SIZES, hidden_act="gelu_new" if advised else "gelu")
    return joined(transformers.GPTNeoXModel(config), models.GPTNeoXBackbone(**KERAS_SIZES))


@pair("transformers BloomModel", "KerasHub BloomBackbone")
def bloom(advised):
    config = transformers.BloomConfig(vocab_size=TOKENS, hidden_size=32, n_layer=2, n_head=4)
    sizes = {name: size for name, size in KERAS_SIZES.items() if name != "max_sequence_length"}
    return joined(transformers.BloomModel(config), models.BloomBackbone(**sizes | {"intermediate_dim": 128}))
