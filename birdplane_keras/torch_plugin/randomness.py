"""Keras' seeded random draws as operations of a graph.

Keras draws from a new `torch.Generator`, seeded by the numbers that a `SeedGenerator` holds in a variable. A graph
cannot hold a generator that is new at every step; it can hold an operation that takes the seed as a tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras.src.backend.torch.random as keras_random
import torch
from keras.src.backend.common import global_state
from keras.src.backend.torch.core import get_device
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, draw_seed
from torch.overrides import TorchFunctionMode

from birdplane_keras.torch_plugin.errors import NotTraceableError

_LIBRARY = torch.library.Library("birdplane", "DEF")


def generator_of(seed: torch.Tensor) -> torch.Generator:
    """Returns the generator that Keras would make of a drawn seed."""
    generator = torch.Generator(device=seed.device)
    generator.manual_seed(int(seed) & 0xFFFFFFFF)
    return generator


def seeded_bernoulli(seed, p):
    """`torch.bernoulli` from a seed, () integer."""
    return torch.bernoulli(p, generator=generator_of(seed))


def seeded_multinomial(seed, p, num_samples, replacement):
    """`torch.multinomial` from a seed, () integer."""
    return torch.multinomial(p, num_samples, replacement, generator=generator_of(seed))


def seeded_rand(seed, size, dtype, device):
    """`torch.rand` from a seed, () integer."""
    return torch.rand(size, dtype=dtype, device=device, generator=generator_of(seed))


def seeded_normal(seed, mean, std, size, dtype, device):
    """`torch.normal` from a seed, () integer."""
    return torch.normal(mean, std, size=size, dtype=dtype, device=device, generator=generator_of(seed))


def seeded_randint(seed, low, high, size, dtype, device):
    """`torch.randint` from a seed, () integer."""
    return torch.randint(low, high, size, dtype=dtype, device=device, generator=generator_of(seed))


_PLACE = "ScalarType? dtype, Device? device"
SEEDED = {
    "seeded_bernoulli": (seeded_bernoulli, "Tensor p"),
    "seeded_multinomial": (seeded_multinomial, "Tensor p, int num_samples, bool replacement"),
    "seeded_rand": (seeded_rand, f"int[] size, {_PLACE}"),
    "seeded_normal": (seeded_normal, f"float mean, float std, int[] size, {_PLACE}"),
    "seeded_randint": (seeded_randint, f"int low, int high, int[] size, {_PLACE}"),
}
for _name, (_function, _arguments) in SEEDED.items():
    _LIBRARY.define(f"{_name}(Tensor seed, {_arguments}) -> Tensor")
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")


def _rand(seed, size, dtype=None, device=None):
    return torch.ops.birdplane.seeded_rand(seed, size, dtype, device)


def _normal(seed, mean, std, size, dtype=None, device=None):
    return torch.ops.birdplane.seeded_normal(seed, mean, std, size, dtype, device)


def _randint(seed, low, high, size, dtype=None, device=None):
    return torch.ops.birdplane.seeded_randint(seed, low, high, size, dtype, device)


def _bernoulli(seed, p):
    return torch.ops.birdplane.seeded_bernoulli(seed, p.detach())


def _multinomial(seed, p, num_samples, replacement=False):
    return torch.ops.birdplane.seeded_multinomial(seed, p.detach(), num_samples, replacement)


_IN_GRAPH: dict[Any, Any] = {
    torch.rand: _rand,
    torch.normal: _normal,
    torch.randint: _randint,
    torch.bernoulli: _bernoulli,
    torch.multinomial: _multinomial,
}
_DATA = vars(torch._C.TensorBase)["data"].__get__  # reading `tensor.data`
_LEAVES_THE_GRAPH = {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.data_ptr, torch.Tensor.__dlpack__}


class TracingMode(TorchFunctionMode):
    """Turns seeded draws into operations of the graph, and stops what would leave it unseen."""

    def __init__(self) -> None:
        super().__init__()
        self._seeds: dict[torch.Generator, torch.Tensor] = {}

    def stand_in(self, seed: torch.Tensor) -> torch.Generator:
        """Returns what Keras may pass as the generator of a seed, () integer."""
        generator = torch.Generator()
        self._seeds[generator] = seed
        return generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") in self._seeds:
            if func not in _IN_GRAPH:
                raise NotTraceableError(f"it draws with `{func.__name__}` from a seed")
            return _IN_GRAPH[func](self._seeds[kwargs.pop("generator")], *args, **kwargs)
        if func in _LEAVES_THE_GRAPH:
            raise NotTraceableError(
                f"it takes numbers out of a tensor (`{func.__name__}`), and what follows may depend on them"
            )
        if func == _DATA:  # an alias that no graph sees; `detach` is the same alias, seen
            return args[0].detach()
        return func(*args, **kwargs)


def has_global_seed() -> bool:
    """Tells whether Keras' generator for draws without a seed has been made; its first use makes it."""
    return global_state.get_global_attribute(GLOBAL_SEED_GENERATOR) is not None


@contextmanager
def tracing_mode() -> Iterator[None]:
    """Within it, Keras' random functions can be traced."""
    stock, mode = keras_random.torch_seed_generator, TracingMode()

    def drawn_seed(seed):
        if str(get_device()) == "meta":
            return None
        first, second = draw_seed(seed)
        return mode.stand_in(first + second)

    keras_random.torch_seed_generator = drawn_seed
    try:
        with mode:
            yield
    finally:
        keras_random.torch_seed_generator = stock
