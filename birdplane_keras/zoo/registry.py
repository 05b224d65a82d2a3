"""What a pair of the zoo is, and all of them. The libraries are loaded when a pair is made."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from birdplane_keras.errors import RequestError
from birdplane_keras.extras import require
from torch_reference.torchvision_on_cpu import import_torchvision

MODULES = ("encoders", "decoders", "sequences", "pictures", "segmentation", "networks", "tutorials")
LIBRARIES = ("transformers", "timm", "segmentation_models_pytorch")
SPREAD = 0.2  # of vectors and statistics around what they are built as


@dataclass(frozen=True, kw_only=True)
class ZooPair:
    """A pair of the zoo.

    Args:
        name: Of the pair.
        torch: The library of the reference, and its class.
        keras: The library of the port, and its class.
        make: Returns the arguments of `check_forward`, or of `Pair` where they have a loss. Given `True`, with what the
            judge advises, as far as the libraries let one set it.
        advice: What that is, in words; empty where there is none.
    """

    name: str
    torch: str
    keras: str
    make: Callable[[bool], Mapping[str, Any]]
    advice: str = ""

    def pair(self, *, advised: bool = False) -> Any:
        """Returns the `Pair`, as shipped or with what the judge advises."""
        from birdplane_keras.parity.check import forward_pair
        from birdplane_keras.parity.pair import Pair

        arguments = self.make(advised)
        return Pair(**arguments) if "torch_loss" in arguments else forward_pair(**arguments)


ZOO: dict[str, ZooPair] = {}


def pair(torch: str, keras: str, advice: str = "") -> Callable[[Callable[[bool], Mapping[str, Any]]], Any]:
    """Returns the decorator that registers a function as a pair of its name."""

    def register(make: Callable[[bool], Mapping[str, Any]]) -> Callable[[bool], Mapping[str, Any]]:
        name = make.__name__
        ZOO[name] = ZooPair(name=name, torch=torch, keras=keras, make=make, advice=advice)
        return make

    return register


def load() -> dict[str, ZooPair]:
    """Returns all pairs by name.

    Raises:
        RequestError: A library is not installed.
    """
    import_torchvision()  # which others import, too
    for library in LIBRARIES:
        require(library, extra="zoo", what="the zoo")
    try:
        importlib.import_module("keras_hub")
    except ImportError as error:
        raise RequestError(
            f"expected KerasHub, which the zoo needs ({error}): pip install --no-deps keras-hub, as its tokenizers "
            "would bring TensorFlow"
        ) from error
    for name in MODULES:
        importlib.import_module(f"birdplane_keras.zoo.{name}")
    return ZOO


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Returns a module in evaluation mode whose weights are drawn so that what it computes is not all but linear.

    As built, many libraries' weights are so small that activations see nothing but their middle.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            drawn = torch.randn(weight.shape, generator=random)
            if weight.ndim > 1:
                weight.copy_(drawn * weight[0].numel() ** -0.5)
            else:
                weight.add_(SPREAD * drawn)
        for name, buffer in module.named_buffers():
            drawn = torch.randn(buffer.shape, generator=random)
            if name.endswith("running_mean"):
                buffer.add_(SPREAD * drawn)
            elif name.endswith("running_var"):
                buffer.mul_(torch.exp(SPREAD * drawn))
    return module.eval()
