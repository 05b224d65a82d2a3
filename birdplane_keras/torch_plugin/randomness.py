"""Keras' seeded random draws as operations of a graph.

Keras draws from a new `torch.Generator`, seeded by the numbers that a `SeedGenerator` holds in a variable. A graph
cannot hold a generator that is new at every step; it can hold an operation that takes the seed as a tensor.
"""

from typing import Any

import torch

from birdplane_keras.torch_plugin.private_keras import seeds_are_masked

_LIBRARY = torch.library.Library("birdplane", "DEF")


def generator_of(seed: torch.Tensor) -> torch.Generator:
    """Returns the generator that Keras would make of a drawn seed."""
    generator = torch.Generator(device=seed.device)
    generator.manual_seed(int(seed) & 0xFFFFFFFF if seeds_are_masked() else int(seed))
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
    "seeded_rand": (seeded_rand, f"SymInt[] size, {_PLACE}"),
    "seeded_normal": (seeded_normal, f"float mean, float std, SymInt[] size, {_PLACE}"),
    "seeded_randint": (seeded_randint, f"int low, int high, SymInt[] size, {_PLACE}"),
}
for _name, (_function, _arguments) in SEEDED.items():
    _LIBRARY.define(f"{_name}(Tensor seed, {_arguments}) -> Tensor")
    _LIBRARY.impl(_name, _function, "CompositeExplicitAutograd")


def drawn_bernoulli(like, size, stride, p):
    """Zeros and ones from PyTorch's own generator, in memory with these strides, of a tensor's type and device."""
    return like.new_empty_strided(size, stride).bernoulli_(p)


_LIBRARY.define(
    "drawn_bernoulli(Tensor like, SymInt[] size, SymInt[] stride, float p) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded, torch.Tag.needs_fixed_stride_order),
)
_LIBRARY.impl("drawn_bernoulli", drawn_bernoulli, "CompositeExplicitAutograd")


# What they make, without its numbers.
@torch.library.register_fake("birdplane::drawn_bernoulli")
def _(like, size, stride, p):
    return like.new_empty_strided(size, stride)


@torch.library.register_fake("birdplane::seeded_bernoulli")
def _(seed, p):
    return torch.empty_like(p)


@torch.library.register_fake("birdplane::seeded_multinomial")
def _(seed, p, num_samples, replacement):
    return p.new_empty((*p.shape[:-1], num_samples), dtype=torch.int64)


@torch.library.register_fake("birdplane::seeded_rand")
def _(seed, size, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("birdplane::seeded_normal")
def _(seed, mean, std, size, dtype, device):
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("birdplane::seeded_randint")
def _(seed, low, high, size, dtype, device):
    return torch.empty(size, dtype=dtype or torch.int64, device=device)


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


IN_GRAPH: dict[Any, Any] = {
    torch.rand: _rand,
    torch.normal: _normal,
    torch.randint: _randint,
    torch.bernoulli: _bernoulli,
    torch.multinomial: _multinomial,
}
