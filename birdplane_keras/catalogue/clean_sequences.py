"""Clean pairs for sequences, and for networks with several inputs, outputs or uses of a weight."""

import keras
from torch import nn

from birdplane_keras.catalogue.composed import (
    ByEmbedding,
    TiedWords,
    TwoBranches,
    TwoHeads,
    two_heads_data,
    two_heads_loss,
    two_heads_port,
)
from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    WORDS,
    Recurrent,
    Words,
    attention_pair,
    dense,
    gru,
    image_pair,
    join,
    labelled,
    labelled_words,
    like_torch,
    lstm,
    sequence_pair,
    stack,
    with_zero_biases,
    words_pair,
    words_port,
)
from birdplane_keras.catalogue.records import clean
from birdplane_keras.parity import Pair

layers = keras.layers


@clean
def convolution_of_sequences(seed: int) -> Pair:
    module = nn.Sequential(nn.Conv1d(FEATURES, 10, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, CLASSES))
    first = layers.Conv1D(10, 3, activation="relu", **like_torch(FEATURES * 3))
    model = stack((STEPS, FEATURES), [first, layers.Flatten(), dense(40, CLASSES)])
    return image_pair(seed, module=module, model=model, data=labelled(seed, FEATURES, STEPS))


@clean
def lstm_last_step(seed: int) -> Pair:
    return sequence_pair(seed)


@clean
def lstm_of_two_layers(seed: int) -> Pair:
    recurrent = with_zero_biases(nn.LSTM(FEATURES, 12, num_layers=2, batch_first=True))
    model = stack((STEPS, FEATURES), [lstm(FEATURES, 12, return_sequences=True), lstm(12, 12), dense(12, CLASSES)])
    return sequence_pair(seed, module=Recurrent(recurrent), model=model)


@clean
def lstm_in_both_directions(seed: int) -> Pair:
    recurrent = with_zero_biases(nn.LSTM(FEATURES, 10, bidirectional=True, batch_first=True))
    both = layers.Bidirectional(lstm(FEATURES, 10, return_sequences=True))
    model = stack((STEPS, FEATURES), [both, layers.GlobalAveragePooling1D(), dense(20, CLASSES)])
    return sequence_pair(seed, module=Recurrent(recurrent, mean=True), model=model)


@clean
def gru_last_step(seed: int) -> Pair:
    return sequence_pair(
        seed,
        module=Recurrent(nn.GRU(FEATURES, 12, batch_first=True)),
        model=stack((STEPS, FEATURES), [gru(12), dense(12, CLASSES)]),
    )


@clean
def attention_of_two_heads(seed: int) -> Pair:
    return attention_pair(seed)


@clean
def embedding_of_words(seed: int) -> Pair:
    return words_pair(seed)


@clean
def embedding_that_masks_padding(seed: int) -> Pair:
    return words_pair(seed, module=Words(masked=True), model=words_port(mask_zero=True))


@clean
def tied_embedding(seed: int) -> Pair:
    words, _ = labelled_words(seed)
    embedding = layers.Embedding(WORDS, FEATURES, embeddings_initializer=keras.initializers.RandomNormal(stddev=1))
    model = stack((STEPS,), [embedding, layers.GlobalAveragePooling1D(), ByEmbedding(embedding)], dtype="int32")
    return join(TiedWords(), model, (words, words[:, 0]))


@clean
def two_inputs(seed: int) -> Pair:
    left, right = keras.Input((FEATURES,)), keras.Input((5,))
    joined = layers.Concatenate()([dense(FEATURES, 10, "tanh")(left), dense(5, 6, "tanh")(right)])
    inputs, targets = labelled(seed, FEATURES + 5)
    model = keras.Model((left, right), dense(16, CLASSES)(joined))
    return join(TwoBranches(), model, ((inputs[:, :FEATURES], inputs[:, FEATURES:]), targets))


@clean
def two_outputs(seed: int) -> Pair:
    return join(
        TwoHeads(),
        two_heads_port(),
        two_heads_data(seed),
        torch_loss=two_heads_loss,
        keras_loss=(
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            keras.losses.MeanSquaredError(),
        ),
        loss_weights=(1.0, 0.3),
    )


CLEAN = (
    convolution_of_sequences,
    lstm_last_step,
    lstm_of_two_layers,
    lstm_in_both_directions,
    gru_last_step,
    attention_of_two_heads,
    embedding_of_words,
    embedding_that_masks_padding,
    tied_embedding,
    two_inputs,
    two_outputs,
)
