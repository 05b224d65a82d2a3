"""Draws the weights of a copy of the reference, so that no two of them are alike: as built, many are zeros or ones."""

from collections.abc import Collection

import torch
from torch import nn

from birdplane_keras.parity.kinds.registry import torch_units

SHARE = 0.3  # of a tensor's size, by which its numbers are moved
LEAST = 1e-3  # sizes below it are none
MOVED = 0.1  # by which the numbers of a tensor without a size are moved
SPREAD = 0.2  # of the logarithm of what is never negative: a variance


def draw_weights(module: nn.Module, seed: int = 0, but: Collection[str] = ()) -> None:
    """Moves every floating-point weight, in place, each number by its own amount.

    What is never negative stays so. Of the buffers only those that a known kind of layer has: others hold tables and
    masks, which are no weights. Those named in `but` stay as they are.
    """
    random = torch.Generator().manual_seed(seed)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    known = {name for unit in torch_units(module) for name in unit.tensors.values()}
    known |= {name for name, _ in module.named_parameters()}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name in known and name not in but and tensor.is_floating_point() and tensor.numel():
                drawn = torch.randn(tensor.shape, generator=random).to(tensor)
                if not isinstance(tensor, nn.Parameter) and bool((tensor >= 0).all()) and bool((tensor > 0).any()):
                    tensor.mul_(torch.exp(SPREAD * drawn))
                else:
                    size = float(tensor.double().square().mean().sqrt())
                    tensor.add_(drawn * (SHARE * size if size > LEAST else MOVED))
