"""Encoders of text: KerasHub's backbones and the models of transformers."""

from typing import Any

import transformers
from keras_hub import models

from birdplane_keras.zoo.inputs import NAMES, TOKENS, counts, hidden, tokens
from birdplane_keras.zoo.registry import lively, pair

SIZES: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 16,
}
KERAS_SIZES: dict[str, Any] = {
    "vocabulary_size": TOKENS,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 64,
    "max_sequence_length": 16,
}
BOTH = {"last_hidden_state": "sequence_output", "pooler_output": "pooled_output"}


@pair("transformers BertModel", "KerasHub BertBackbone", 'BertConfig(hidden_act="gelu_new")')
def bert(advised):
    config = transformers.BertConfig(**SIZES, hidden_act="gelu_new" if advised else "gelu")
    return {
        "torch_module": lively(transformers.BertModel(config)),
        "keras_model": models.BertBackbone(**KERAS_SIZES),
        "inputs": tokens(types=True),
        "to_keras": NAMES,
        "outputs": BOTH,
    }


@pair("transformers DistilBertModel", "KerasHub DistilBertBackbone")
def distilbert(advised):
    config = transformers.DistilBertConfig(
        vocab_size=TOKENS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=16
    )
    return {
        "torch_module": lively(transformers.DistilBertModel(config)),
        "keras_model": models.DistilBertBackbone(**KERAS_SIZES),
        "inputs": tokens(),
        "to_keras": NAMES,
        "outputs_to_keras": hidden,
    }


@pair("transformers RobertaModel", "KerasHub RobertaBackbone", "RobertaConfig(layer_norm_eps=1e-5)")
def roberta(advised):
    """The reference adds the one row of its token types; published weights have zeros there, and so has this.

    Padding, whose positions the reference counts otherwise, is masked.
    """
    config = transformers.RobertaConfig(
        **SIZES | {"max_position_embeddings": 18},
        type_vocab_size=1,
        pad_token_id=1,
        layer_norm_eps=1e-5 if advised else 1e-12,
    )
    module = lively(transformers.RobertaModel(config, add_pooling_layer=False))
    dict(module.named_parameters())["embeddings.token_type_embeddings.weight"].data.zero_()
    return {
        "torch_module": module,
        "keras_model": models.RobertaBackbone(**KERAS_SIZES),
        "inputs": tokens(pad=1),
        "output_mask": counts,
        "to_keras": NAMES,
        "outputs_to_keras": hidden,
        "mapping": {"embeddings.token_type_embeddings": None},
    }


@pair("transformers AlbertModel", "KerasHub AlbertBackbone")
def albert(advised):
    return {
        "torch_module": lively(transformers.AlbertModel(transformers.AlbertConfig(**SIZES, embedding_size=16))),
        "keras_model": models.AlbertBackbone(**KERAS_SIZES, embedding_dim=16),
        "inputs": tokens(types=True),
        "to_keras": NAMES,
        "outputs": BOTH,
    }


@pair("transformers ElectraModel", "KerasHub ElectraBackbone", 'ElectraConfig(hidden_act="gelu_new")')
def electra(advised):
    """The port has a pooler that the reference has not."""
    act = "gelu_new" if advised else "gelu"
    config = transformers.ElectraConfig(**SIZES, embedding_size=16, hidden_act=act)
    sizes = {name.replace("vocabulary", "vocab"): size for name, size in KERAS_SIZES.items()}
    return {
        "torch_module": lively(transformers.ElectraModel(config)),
        "keras_model": models.ElectraBackbone(**sizes, embedding_dim=16),
        "inputs": tokens(types=True),
        "to_keras": NAMES,
        "outputs": {"last_hidden_state": "sequence_output"},
        "mapping": {"pooled_dense": None},
    }
