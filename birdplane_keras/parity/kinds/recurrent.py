"""What the recurrent kinds share: directions, stacked layers, and biases that one framework adds and one keeps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds.kind import (
    FeatureOrder,
    KerasUnit,
    Kind,
    Placed,
    Rule,
    TorchUnit,
    simple,
    whole_module,
)
from birdplane_keras.parity.kinds.layouts import Joint, Turn

WAYS = ("forward", "backward")


def part(way: str, name: str) -> str:
    """Returns how a weight of a direction is called."""
    return f"{way}/{name}"


def keras_parts(layer: Any) -> Mapping[str, Any]:
    """Names the weights of a layer, or of the two in a `Bidirectional`, by direction."""
    ways = [layer]
    if isinstance(layer, keras.layers.Bidirectional):
        ways = sorted((layer.forward_layer, layer.backward_layer), key=lambda one: one.go_backwards)
    return {part(way, weight.name): weight for way, one in zip(WAYS, ways, strict=False) for weight in one.weights}


def torch_parts(module: nn.Module, name: str) -> Sequence[Mapping[str, str]]:
    """Names the tensors of a module by direction, once for each of its layers."""
    own = whole_module(module, name)[0]
    if not isinstance(module, nn.RNNBase):
        return [{part("forward", key): tensor for key, tensor in own.items()}]
    found = []
    for index in range(module.num_layers):
        suffixes = {"forward": f"_l{index}", "backward": f"_l{index}_reverse"}
        found.append(
            {
                part(way, key.removesuffix(suffix)): tensor
                for way, suffix in suffixes.items()
                for key, tensor in own.items()
                if key.endswith(suffix)
            }
        )
    return found


def rules_with(gates: Callable[[int], Turn], joint: Callable[[], Joint], gates_of_bias: Turn) -> Any:
    """Returns the rules of a kind, by how its gates are ordered along an axis and how its two biases are kept."""

    def rules(ours: KerasUnit, theirs: TorchUnit, order: FeatureOrder) -> list[Rule]:
        kernel = layouts.chain(layouts.transposed(1, 0), gates(0))
        return [
            rule
            for way in WAYS
            for rule in (
                simple(part(way, "kernel"), part(way, "weight_ih"), kernel),
                simple(part(way, "recurrent_kernel"), part(way, "weight_hh"), kernel),
                Rule(
                    keras=part(way, "bias"),
                    torch=(part(way, "bias_ih"), part(way, "bias_hh")),
                    turn=gates_of_bias,
                    joint=joint(),
                ),
            )
        ]

    return rules


def received(placed: Placed, value: np.ndarray) -> np.ndarray:
    """Returns what a module receives with the batch before the steps, as Keras has it."""
    return value if getattr(placed.module, "batch_first", True) or value.ndim < 3 else np.swapaxes(value, 0, 1)


def main_output(placed: Placed, output: Any) -> torch.Tensor:
    """Returns all steps of a module's output, or the last, as the layer does."""
    steps = output if isinstance(output, torch.Tensor) else output[0]
    if not isinstance(placed.module, nn.RNNBase):
        return steps
    steps = steps if placed.module.batch_first else steps.swapaxes(0, 1)
    return steps if getattr(placed.layer, "return_sequences", True) else steps[:, -1]


def stands_alone(layer: Any, module: Any) -> bool:
    """Whether a layer stands for a whole module."""
    return not isinstance(module, nn.RNNBase) or (module.num_layers == 1 and not module.bidirectional)


def both_ways(is_keras: Callable[[Any], bool], is_torch: Callable[[Any], bool], **kind: Any) -> tuple[Kind, Kind]:
    """Returns a recurrent kind, and the same in both directions."""

    def bidirectional(module: Any) -> bool:
        return bool(getattr(module, "bidirectional", False))

    def wrapped(layer: Any) -> bool:
        return isinstance(layer, keras.layers.Bidirectional) and is_keras(layer.forward_layer)

    shared = {"keras_parts": keras_parts, "torch_parts": torch_parts, "received": received, "main_output": main_output}
    kind = shared | {"alone": stands_alone} | kind
    name = kind.pop("name")
    one_way = Kind(
        name=name,
        is_keras=is_keras,
        is_torch=lambda module: is_torch(module) and not bidirectional(module),
        **kind,
    )
    both = Kind(
        name=f"bidirectional {name}",
        is_keras=wrapped,
        is_torch=lambda module: is_torch(module) and bidirectional(module),
        **kind,
    )
    return one_way, both
