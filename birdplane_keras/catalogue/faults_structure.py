"""Mistakes that show before any number is compared: outputs, rates of Dropout, and which tensors there are."""

import keras
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.composed import TiedWords, TwoHeads, two_heads_data, two_heads_loss, two_heads_port
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    WORDS,
    Recurrent,
    dense,
    gru,
    join,
    labelled_words,
    mlp_port,
    sequence_pair,
    stack,
    vector_pair,
)
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair


@fault("The port leaves out the second head.", rung="structure", cause="missing_output")
def second_output_missing(seed: int) -> Pair:
    model = stack((FEATURES,), [dense(FEATURES, 16, "tanh"), dense(16, CLASSES)])
    return join(
        TwoHeads(),
        model,
        two_heads_data(seed),
        torch_loss=two_heads_loss,
        targets_to_keras=lambda targets: targets[0],
    )


@fault("The port's Dropout is given the share to keep.", rung="structure", cause="dropout_rate")
def dropout_rate_to_keep(seed: int) -> Pair:
    return vector_pair(
        seed,
        module=nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES)),
        model=stack((FEATURES,), [dense(FEATURES, 16, "relu"), keras.layers.Dropout(0.8), dense(16, CLASSES)]),
    )


@fault("The port leaves Dropout out.", rung="structure", cause="dropout_rate")
def dropout_missing(seed: int) -> Pair:
    return vector_pair(
        seed,
        module=nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES)),
        model=stack((FEATURES,), [dense(FEATURES, 16, "relu"), dense(16, CLASSES)]),
    )


@fault("One of the port's dense layers has no bias.", rung="parameter_counts", cause="missing_bias")
def bias_missing(seed: int) -> Pair:
    middle = dense(16, 16, "relu", use_bias=False)
    model = stack((FEATURES,), [dense(FEATURES, 16, "relu"), middle, dense(16, CLASSES)])
    return vector_pair(seed, model=model)


@fault("A layer of the port is left frozen.", rung="parameter_counts", cause="frozen")
def layer_frozen(seed: int) -> Pair:
    model = mlp_port()
    model.layers[0].trainable = False
    return vector_pair(seed, model=model)


@fault("The port scores words by a matrix of its own.", rung="parameter_counts", cause="untied")
def embedding_untied(seed: int) -> Pair:
    words, _ = labelled_words(seed)
    normal = {"use_bias": False, "kernel_initializer": keras.initializers.RandomNormal(stddev=1)}
    embedding = keras.layers.Embedding(
        WORDS, FEATURES, embeddings_initializer=keras.initializers.RandomNormal(stddev=1)
    )
    head = keras.layers.Dense(WORDS, **normal)
    model = stack((STEPS,), [embedding, keras.layers.GlobalAveragePooling1D(), head], dtype="int32")
    return join(TiedWords(), model, (words, words[:, 0]))


@fault("The port's GRU resets the state before the product.", rung="parameter_counts", cause="reset_after")
def reset_before_the_product(seed: int) -> Pair:
    return sequence_pair(
        seed,
        module=Recurrent(nn.GRU(FEATURES, 12, batch_first=True)),
        model=stack((STEPS, FEATURES), [gru(12, reset_after=False), dense(12, CLASSES)]),
    )


@fault("The port returns both outputs and trains on the first.", rung="loss", cause="missing_output")
def second_loss_left_out(seed: int) -> Pair:
    return join(
        TwoHeads(),
        two_heads_port(),
        two_heads_data(seed),
        torch_loss=lambda outputs, targets: (
            functional.cross_entropy(outputs[0], targets[0]) + functional.mse_loss(outputs[1], targets[1])
        ),
        keras_loss=(keras.losses.SparseCategoricalCrossentropy(from_logits=True), None),
    )


FAULTS = (
    second_output_missing,
    dropout_rate_to_keep,
    dropout_missing,
    bias_missing,
    layer_frozen,
    embedding_untied,
    reset_before_the_product,
    second_loss_left_out,
)
