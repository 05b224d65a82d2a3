"""Clean pairs of whole networks, as people port them."""

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import join, labelled, labelled_words, sgd
from birdplane_keras.catalogue.records import clean
from birdplane_keras.catalogue.whole import (
    SIZE,
    Encoding,
    Residual,
    Segmenting,
    Towers,
    encoding_port,
    residual_port,
    segmenting_port,
    separable,
    separable_port,
    towers_port,
)
from birdplane_keras.parity import Pair, channels_last


def residual_pair(seed: int, **changes) -> Pair:
    """Momentum, and images of SIZE x SIZE."""
    optimizers = {
        "torch_optimizer": sgd(0.05, momentum=0.9),
        "keras_optimizer": keras.optimizers.SGD(0.05, momentum=0.9),
    }
    model = changes.pop("model", None) or residual_port()
    data = labelled(seed, 3, SIZE, SIZE, examples=96)
    return join(Residual(), model, data, **(optimizers | {"to_keras": channels_last} | changes))


def segmenting_pair(seed: int, **changes) -> Pair:
    """A binary target for each pixel; the outputs are images, too."""
    inputs = np.random.default_rng(seed).normal(size=(64, 3, SIZE, SIZE)).astype(np.float32)
    settings = {
        "torch_loss": nn.BCEWithLogitsLoss(),
        "keras_loss": keras.losses.BinaryCrossentropy(from_logits=True),
        "to_keras": channels_last,
        "targets_to_keras": channels_last,
        "outputs_to_keras": channels_last,
    }
    targets = (inputs.sum(1, keepdims=True) > 0).astype(np.float32)
    return join(Segmenting(), segmenting_port(), (inputs, targets), **(settings | changes))


@clean
def residual_network(seed: int) -> Pair:
    return residual_pair(seed)


@clean
def residual_network_with_adam(seed: int) -> Pair:
    return residual_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        keras_optimizer=torch_equivalents.Adam(1e-3),
    )


@clean
def separable_network(seed: int) -> Pair:
    nesterov = {"momentum": 0.9, "nesterov": True}
    return join(
        separable(),
        separable_port(),
        labelled(seed, 3, SIZE, SIZE, examples=96),
        torch_optimizer=sgd(0.05, **nesterov),
        keras_optimizer=keras.optimizers.SGD(0.05, **nesterov),
        to_keras=channels_last,
    )


@clean
def segmenting_network(seed: int) -> Pair:
    return segmenting_pair(seed)


@clean
def encoding_network(seed: int) -> Pair:
    return join(
        Encoding(),
        encoding_port(),
        labelled_words(seed),
        torch_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        keras_optimizer=torch_equivalents.AdamW(1e-3),
        initialisation=False,
    )


@clean
def two_towers(seed: int) -> Pair:
    inputs, targets = labelled(seed, 21)
    return join(Towers(), towers_port(), ((inputs[:, :16], inputs[:, 16:]), targets))


CLEAN = (
    residual_network,
    residual_network_with_adam,
    separable_network,
    segmenting_network,
    encoding_network,
    two_towers,
)
