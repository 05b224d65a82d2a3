"""A graph computed in double precision: what it means, without the rounding of the type that it computes in.

Two graphs that mean the same agree there to some 1e-9 of their largest numbers. In single precision they may be far
apart where a number lies so near to a bend, such as a rectifier's at zero, that a rounding takes it over.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_map

from birdplane_keras.torch_plugin.randomness import SEEDED

_WIDE = torch.float64


def in_double(
    graph: fx.Graph,
    constants: dict[str, torch.Tensor],
    inputs: Sequence[torch.Tensor],
    state: Sequence[torch.Tensor],
) -> tuple[list, list]:
    """Returns the outputs of a graph, and what it leaves in its state, in double precision; nothing is written.

    Args:
        graph: Its placeholders are `inputs` and `state`.
        constants: Name -> tensor of each `get_attr` node.
        inputs: Tensors.
        state: Tensors that the graph may write.

    Raises:
        Exception: An operation cannot be computed so.
    """
    copies = [widened(tensor.detach().clone()) for tensor in state]
    module = fx.GraphModule({name: widened(value.clone()) for name, value in constants.items()}, graph)
    with torch.no_grad():
        outputs = _InDouble(module).run(*map(widened, inputs), *copies)
    return list(outputs), copies


def widened(value: Any) -> Any:
    """Returns a tensor of floating-point numbers in double precision; anything else as it is."""
    is_narrow = isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != _WIDE
    return value.to(_WIDE) if is_narrow else value


class _InDouble(fx.Interpreter):
    """Computes each call in double precision; what is drawn is drawn as in the graph, and widened."""

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        is_operation = isinstance(target, torch._ops.OpOverload)
        draws = is_operation and (
            torch.Tag.nondeterministic_seeded in target.tags or target._schema.name.split("::")[1] in SEEDED
        )
        if draws:
            args, kwargs = tree_map(_narrowed, (args, kwargs))
        elif is_operation:
            args, kwargs = tree_map(_wide_type, (args, kwargs))
        return tree_map(widened, super().call_function(target, args, kwargs))


def _narrowed(value: Any) -> Any:
    is_wide = isinstance(value, torch.Tensor) and value.dtype == _WIDE
    return value.to(torch.get_default_dtype()) if is_wide else value


def _wide_type(value: Any) -> Any:
    return _WIDE if isinstance(value, torch.dtype) and value.is_floating_point else value
