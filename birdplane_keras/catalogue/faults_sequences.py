"""Mistakes with recurrent layers, attention and embeddings."""

from torch import nn

from birdplane_keras.catalogue.networks import (
    CLASSES,
    FEATURES,
    STEPS,
    Recurrent,
    Words,
    attention_pair,
    attention_port,
    dense,
    lstm,
    sequence_pair,
    stack,
    words_pair,
    words_port,
)
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair


@fault("The port's LSTM has hard sigmoids as gates.", rung="forward", cause="activation")
def hard_sigmoid_gates(seed: int) -> Pair:
    recurrent = lstm(FEATURES, 12, recurrent_activation="hard_sigmoid")
    return sequence_pair(seed, model=stack((STEPS, FEATURES), [recurrent, dense(12, CLASSES)]))


@fault("The reference trains both biases of its LSTM, the port their sum.", rung="first_update", cause="two_biases")
def two_biases_trained(seed: int) -> Pair:
    return sequence_pair(seed, module=Recurrent(nn.LSTM(FEATURES, 12, batch_first=True)), initialisation=False)


@fault("The port's attention does not divide the scores by sqrt(size).", rung="forward", cause="attention_scale")
def scores_not_scaled(seed: int) -> Pair:
    model = attention_port()
    model.layers[1]._inverse_sqrt_key_dim = 1.0
    return attention_pair(seed, model=model)


@fault("The port trains the padding's embedding.", rung="gradients", cause="padding_index")
def padding_trained(seed: int) -> Pair:
    return words_pair(seed, module=Words(padding_index=0))


@fault("The port's pooling leaves out the padding.", rung="forward", cause="mask")
def padding_left_out(seed: int) -> Pair:
    return words_pair(seed, model=words_port(mask_zero=True))


@fault("The reference's mean leaves out the padding, the port's does not.", rung="forward", cause="mask")
def padding_not_left_out(seed: int) -> Pair:
    return words_pair(seed, module=Words(masked=True))


FAULTS = (
    hard_sigmoid_gates,
    two_biases_trained,
    scores_not_scaled,
    padding_trained,
    padding_left_out,
    padding_not_left_out,
)
