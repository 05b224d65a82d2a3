"""Networks whose middle is a function of its own on either side, and functions that both frameworks can compute."""

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import ops
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, STEPS, conv, dense, image_pair, join, labelled, stack
from birdplane_keras.parity import Pair

WIDTH = 8
CHANNELS = 8
Function = Callable[[Any], Any]
layers = keras.layers


class Own(keras.layers.Layer):
    """Computes what a function says."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


class Theirs(nn.Module):
    """Computes what a function says."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def of_images(ours: Function, theirs: Function, width: int, seed: int) -> Pair:
    """A convolution of 8 channels, what the functions compute, the mean over the places, and a linear layer."""
    module = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3), Theirs(theirs), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)
    )
    model = stack((8, 8, 3), [conv(3, CHANNELS), Own(ours), layers.GlobalAveragePooling2D(), dense(width, CLASSES)])
    return image_pair(seed, module=module, model=model)


def of_sequences(ours: Function, theirs: Function, width: int, seed: int) -> Pair:
    """A linear layer of each step, what the functions compute, the mean over the steps, and a linear layer."""
    module = nn.Sequential(
        nn.Linear(FEATURES, WIDTH), Theirs(theirs), Theirs(lambda x: x.mean(1)), nn.Linear(width, CLASSES)
    )
    model = stack(
        (STEPS, FEATURES), [dense(FEATURES, WIDTH), Own(ours), layers.GlobalAveragePooling1D(), dense(width, CLASSES)]
    )
    return join(module, model, labelled(seed, STEPS, FEATURES))


def of_steps(ours: Function, theirs: Function, width: int, seed: int) -> Pair:
    """A linear layer of each step, what the functions make a vector of, and a linear layer."""
    module = nn.Sequential(nn.Linear(FEATURES, WIDTH), Theirs(theirs), nn.Linear(width, CLASSES))
    model = stack((STEPS, FEATURES), [dense(FEATURES, WIDTH), Own(ours), dense(width, CLASSES)])
    return join(module, model, labelled(seed, STEPS, FEATURES))


def attend(x: Any, of: Any, *, scale: float = WIDTH**-0.5, mask: Any = None, axis: int = -1) -> Any:
    """Self-attention without weights of its own, in either framework: `of` is `torch` or `keras.ops`."""
    scores = of.matmul(x, of.swapaxes(x, 1, 2)) * scale
    if mask is not None:
        scores = scores + mask(of)
    return of.matmul(of.softmax(scores, axis), x)


def causal(of: Any, *, offset: int = 0, inverted: bool = False, value: float = -1e9) -> Any:
    """What is added to the scores of steps that come later, (STEPS, STEPS)."""
    steps = of.arange(STEPS)
    later = steps[None, :] > steps[:, None] + offset
    return of.where(later != inverted, value, 0.0)


def padded(of: Any, *, kept: int = 4) -> Any:
    """What is added to the scores of steps that hold nothing."""
    return of.where(of.arange(STEPS)[None, :] < kept, 0.0, -1e9)


def positions(of: Any, *, first: int = 0, base: float = 100.0, interleaved: bool = True) -> Any:
    """Sines and cosines of positions, (STEPS, WIDTH)."""
    steps = of.reshape(of.arange(first, first + STEPS), (STEPS, 1)) * 1.0
    angles = steps / base ** (of.arange(WIDTH // 2) * (2 / WIDTH))
    waves = [of.sin(angles), of.cos(angles)]
    if interleaved:
        return of.reshape(of.stack(waves, -1), (STEPS, WIDTH))
    return of.cat(waves, -1) if of is torch else of.concatenate(waves, -1)


def halves(x: Any) -> tuple[Any, Any]:
    """Both halves of the features of a sequence."""
    return x[..., : WIDTH // 2], x[..., WIDTH // 2 :]


def shuffled(x: Any, groups: int) -> Any:
    """Channels at the end, shuffled between groups."""
    shape = (-1, *x.shape[1:3], groups, CHANNELS // groups)
    return ops.reshape(ops.swapaxes(ops.reshape(x, shape), 3, 4), (-1, *x.shape[1:]))


def whitened(x: Any, of: Any, axis: Any, epsilon: float = 1e-3) -> Any:
    """What is less its mean, over its deviation."""
    keep = {"keepdim": True} if of is torch else {"keepdims": True}
    centred = x - of.mean(x, axis, **keep)
    return centred / of.sqrt(of.mean(centred**2, axis, **keep) + epsilon)


def running_sums(x: Any, of: Any) -> Any:
    """Sums over the steps up to each."""
    return of.cumsum(x, 1)


def glu(x: Any, of: Any) -> Any:
    """The first half of the features, gated by the second."""
    values, gates = halves(x)
    return values * of.sigmoid(gates)


def rotated(x: Any, of: Any, sign: float = 1.0) -> Any:
    """The halves of the features turned by an angle for each step."""
    one, two = halves(x)
    angle = of.reshape(of.arange(STEPS), (STEPS, 1)) * 0.3
    sine, cosine = of.sin(angle) * sign, of.cos(angle)
    parts = [one * cosine - two * sine, one * sine + two * cosine]
    return of.cat(parts, -1) if of is torch else of.concatenate(parts, -1)


def pooled(x: Any, **settings: Any) -> Any:
    return functional.max_pool2d(x, 3, 2, **settings)


def enlarged(mode: str) -> Function:
    return lambda x: ops.tanh(3 * layers.UpSampling2D(2, interpolation=mode)(x))


def stretched(mode: str, **settings: Any) -> Function:
    return lambda x: torch.tanh(3 * functional.interpolate(x, scale_factor=2, mode=mode, **settings))
