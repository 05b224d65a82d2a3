"""Every layer that Keras has: on its engine with stock's numbers, or declined for a reason that is known."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import patience
from plugin.networks import draw

IMAGES, SERIES, ROWS = (8, 8, 3), (6, 4), (5,)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "Activation": {"activation": "gelu"},
    "ActivityRegularization": {"l1": 0.1, "l2": 0.1},
    "AdaptiveAveragePooling1D": {"output_size": 2},
    "AdaptiveAveragePooling2D": {"output_size": 2},
    "AdaptiveAveragePooling3D": {"output_size": 2},
    "AdaptiveMaxPooling1D": {"output_size": 2},
    "AdaptiveMaxPooling2D": {"output_size": 2},
    "AdaptiveMaxPooling3D": {"output_size": 2},
    "AlphaDropout": {"rate": 0.3},
    "AveragePooling1D": {"pool_size": 2},
    "AveragePooling2D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "AveragePooling3D": {"pool_size": 2},
    "CenterCrop": {"height": 4, "width": 4},
    "Conv1D": {"filters": 3, "kernel_size": 2, "padding": "causal"},
    "Conv1DTranspose": {"filters": 3, "kernel_size": 2},
    "Conv2D": {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
    "Conv2DTranspose": {"filters": 3, "kernel_size": 2, "strides": 2},
    "Conv3D": {"filters": 2, "kernel_size": 2},
    "Conv3DTranspose": {"filters": 2, "kernel_size": 2},
    "ConvLSTM1D": {"filters": 2, "kernel_size": 2},
    "ConvLSTM2D": {"filters": 2, "kernel_size": 2},
    "ConvLSTM3D": {"filters": 2, "kernel_size": 1},
    "Cropping1D": {"cropping": 1},
    "Cropping2D": {"cropping": 1},
    "Cropping3D": {"cropping": 1},
    "Dense": {"units": 3},
    "DepthwiseConv1D": {"kernel_size": 2},
    "DepthwiseConv2D": {"kernel_size": 2, "padding": "same"},
    "Discretization": {"bin_boundaries": [-0.5, 0.5]},
    "Dropout": {"rate": 0.3},
    "EinsumDense": {"equation": "ab,bc->ac", "output_shape": (3,)},
    "GRU": {"units": 3},
    "GaussianDropout": {"rate": 0.3},
    "GaussianNoise": {"stddev": 0.3},
    "GroupNormalization": {"groups": 3},
    "LSTM": {"units": 3},
    "MaxPooling2D": {"pool_size": 3, "strides": 2, "padding": "same"},
    "MaxPooling3D": {"pool_size": 2},
    "Normalization": {"mean": 0.1, "variance": 2.0},
    "Permute": {"dims": (2, 1)},
    "RandomBrightness": {"factor": 0.1, "value_range": (0, 1)},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomContrast": {"factor": 0.1},
    "RandomHue": {"factor": 0.1},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.1},
    "RandomSaturation": {"factor": 0.1},
    "RandomSharpness": {"factor": 0.1},
    "RandomShear": {"x_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "RepeatVector": {"n": 3},
    "Rescaling": {"scale": 0.5},
    "Reshape": {"target_shape": (-1,)},
    "Resizing": {"height": 4, "width": 4},
    "SeparableConv1D": {"filters": 3, "kernel_size": 2},
    "SeparableConv2D": {"filters": 3, "kernel_size": 2},
    "SimpleRNN": {"units": 3, "return_sequences": True},
    "SpatialDropout1D": {"rate": 0.3},
    "SpatialDropout2D": {"rate": 0.3},
    "SpatialDropout3D": {"rate": 0.3},
    "UpSampling2D": {"size": 2, "interpolation": "bilinear"},
}
SHAPES: dict[str, tuple] = dict.fromkeys(
    ["GRU", "LSTM", "SimpleRNN", "Masking", "Permute", "Bidirectional", "TimeDistributed", "RNN"], SERIES
) | {
    "ConvLSTM1D": (3, 6, 4), "ConvLSTM2D": (3, 6, 6, 2), "ConvLSTM3D": (2, 4, 4, 4, 1),
    "RepeatVector": ROWS, "EinsumDense": ROWS,
}  # fmt: skip
# Layers that hold others, or take more than one tensor.
MADE: dict[str, Callable[[], Callable]] = {
    "Add": lambda: twice(layers.Add()),
    "AdditiveAttention": lambda: twice(layers.AdditiveAttention()),
    "Attention": lambda: twice(layers.Attention()),
    "Average": lambda: twice(layers.Average()),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(3)),
    "Concatenate": lambda: twice(layers.Concatenate()),
    "Dot": lambda: twice(layers.Dot(1)),
    "Embedding": lambda: lambda x: layers.Embedding(7, 3)(keras.ops.cast(keras.ops.abs(x), "int32")),
    "GroupQueryAttention": lambda: attending(layers.GroupQueryAttention(2, 4, 2)),
    "Lambda": lambda: layers.Lambda(lambda x: x * 2),
    "Maximum": lambda: twice(layers.Maximum()),
    "Minimum": lambda: twice(layers.Minimum()),
    "MultiHeadAttention": lambda: attending(layers.MultiHeadAttention(2, 3), use_causal_mask=True),
    "Multiply": lambda: twice(layers.Multiply()),
    "RNN": lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
    "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Dense(3)),
    "Subtract": lambda: twice(layers.Subtract()),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
}
SHAPES |= dict.fromkeys(["Attention", "AdditiveAttention", "GroupQueryAttention", "MultiHeadAttention", "Dot"], SERIES)
# What is no part of a network that trains: abstract, a cell, made for text or for data of another kind. `Equalization`
# cannot be part of a functional model, and `RandomCrop` returns another shape where the model predicts.
LEFT_OUT = {
    "Layer", "Wrapper", "InputLayer", "Input", "InputSpec", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells",
    "TextVectorization", "StringLookup", "IntegerLookup", "Hashing", "HashedCrossing", "CategoryEncoding",
    "FeatureSpace", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Pipeline", "STFTSpectrogram",
    "MelSpectrogram", "MaxNumBoundingBoxes", "ReversibleEmbedding", "Equalization", "RandomCrop",
}  # fmt: skip
# In these Python looks at numbers, or a generator of PyTorch's is saved and brought back.
DECLINED = {
    "AugMix": "torch.random", "CutMix": "torch.random", "MixUp": "torch.random", "RandAugment": "numbers in a tensor",
    "RandomElasticTransform": "numbers in a tensor", "RandomGaussianBlur": "numbers in a tensor",
    "SpectralNormalization": "numbers in a tensor",
}  # fmt: skip


def twice(layer: keras.layers.Layer) -> Callable:
    return lambda x: layer([x, x * 2])


def attending(layer: keras.layers.Layer, **arguments: Any) -> Callable:
    return lambda x: layer(x, x, **arguments)


def names_of_layers() -> list[str]:
    """Returns the names of Keras' layers, each once, without those that are left out."""
    found: dict[type, str] = {}
    for name, kind in sorted(vars(layers).items()):
        if inspect.isclass(kind) and kind.__name__ == name and name not in LEFT_OUT:
            found.setdefault(kind, name)
    return list(found.values())


def shape_of(name: str) -> tuple:
    if name in SHAPES:
        return SHAPES[name]
    return SERIES if "1D" in name else (4, 4, 4, 2) if "3D" in name else IMAGES


def trained(name: str, engine: str | None) -> tuple[list[np.ndarray], list[str], bool]:
    """Makes three steps and predicts; returns numbers, what was said, and whether the steps may round."""
    keras.utils.set_random_seed(0)
    shape = shape_of(name)
    given = keras.Input(shape)
    layer = MADE[name]() if name in MADE else getattr(layers, name)(**ARGUMENTS.get(name, {}))
    model = keras.Model(
        given, layers.Dense(2, activation="tanh")(layers.Flatten()(layer(layers.Dense(shape[-1])(given))))
    )
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse")
    if engine:
        torch_plugin.attach(model, engine, audit="never")
    x, y = draw(4, *shape), draw(4, 2, seed=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        losses = [model.train_on_batch(x, y) for _ in range(3)]
        numbers = [np.array(losses), model.predict_on_batch(x), *model.get_weights()]
    said = [str(each.message) for each in told if issubclass(each.category, torch_plugin.TorchPluginWarning)]
    rounds = (
        any(entry.step is not None and entry.step.rounds for entry in torch_plugin.traces(model)) if engine else False
    )
    return numbers, said, rounds


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of_layers())
def test_a_layer_is_what_stock_makes_of_it(name, monkeypatch):
    monkeypatch.setattr(patience, "LARGE", 10_000)
    stock, _, _ = trained(name, None)
    numbers, said, rounds = trained(name, "exact")
    if name in DECLINED:
        assert DECLINED[name] in said[0]
    else:
        assert said == []
    for ours, theirs in zip(numbers, stock, strict=True):
        if rounds:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(ours, theirs)
