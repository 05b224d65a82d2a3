"""What the tests of the transfer share: carry the weights over, and see whether the outputs follow."""

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.matching.transfer import keras_to_torch, torch_to_keras


def stir(module: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every weight and statistic a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.8 + 0.1 - 0.4 * (tensor.ndim > 1))
    return module.eval()


def outputs_of(module: nn.Module, inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        outputs = module(torch.from_numpy(inputs))
    return (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()


def last(images: np.ndarray) -> np.ndarray:
    """Channels last, for batches of maps and their outputs."""
    return np.moveaxis(images, 1, -1) if images.ndim > 2 else images


def port(shape, *stack, dtype="float32") -> keras.Model:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def difference(model, module, inputs, turn=lambda array: array) -> float:
    """The largest difference of the two sides' outputs; `turn` takes PyTorch's layout to Keras'."""
    expected = turn(outputs_of(module, inputs))
    received = keras.ops.convert_to_numpy(model(turn(inputs), training=False))
    assert received.shape == expected.shape
    return float(np.abs(received - expected).max())


def check_both_ways(model, make, inputs, turn=lambda array: array, mapping=None) -> None:
    module = stir(make())
    before = difference(model, module, inputs, turn)
    torch_to_keras(module, model, mapping)
    assert difference(model, module, inputs, turn) < 1e-5 < before
    fresh = stir(make(), seed=1)
    assert difference(model, fresh, inputs, turn) > 1e-3
    keras_to_torch(model, fresh, mapping)
    np.testing.assert_allclose(outputs_of(fresh, inputs), outputs_of(module, inputs), atol=1e-6)


def images(rng, *shape) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)
