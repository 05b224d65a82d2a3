"""Changes calls of PyTorch functions: how Dropout is switched off, a weight stands for another, a mistake is made."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from birdplane_keras.parity.core.records import Dropped

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Rewrite = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Call]

GROUP_NORMS = {functional.group_norm, torch.group_norm}
DROPOUTS = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    torch.dropout,
    torch.dropout_,
    torch.alpha_dropout,
    torch.feature_dropout,
    torch.feature_alpha_dropout,
}
BY_CHANNEL = {
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.feature_alpha_dropout,
    torch.feature_dropout,
    torch.feature_alpha_dropout,
}
RATE = "dropout_p"  # what functions that drop on the way call their rate

Given = tuple[torch.Tensor, ...] | dict[str, torch.Tensor]  # what a module is called with, by position or by name


def given_to_module(tensors: Any, change: Callable[[tuple[torch.Tensor, ...]], Any] | None = None) -> Given:
    """Returns inputs as a module is called with them, changed by a function of all of them if one is given."""
    if isinstance(tensors, Mapping):
        values = tuple(tensors.values()) if change is None else change(tuple(tensors.values()))
        return dict(zip(tensors, values, strict=True))
    given = tuple(tensors) if isinstance(tensors, tuple | list) else (tensors,)
    return given if change is None else tuple(change(given))


def call_module(module: torch.nn.Module, given: Given) -> Any:
    """Calls a module by position or by name."""
    return module(**given) if isinstance(given, dict) else module(*given)


class Rewriting(TorchFunctionMode):
    """Changes the calls of PyTorch functions within it.

    Args:
        rewrites: Applied one after the other to each call; those that say that they are `last` after all others.
        stand_ins: `id` of a tensor -> the tensor that is taken in its place, wherever it is an argument.
    """

    def __init__(self, rewrites: Sequence[Rewrite], stand_ins: Mapping[int, torch.Tensor] | None = None) -> None:
        super().__init__()
        self.rewrites = sorted(rewrites, key=lambda rewrite: getattr(rewrite, "last", False))
        self.stand_ins = stand_ins or {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        call: Call = (func, args, kwargs or {})
        if self.stand_ins and (self._mentions(args) or (kwargs and self._mentions(kwargs.values()))):
            call = (func, self._replace(args), {name: self._replace(value) for name, value in call[2].items()})
        for rewrite in self.rewrites:
            call = rewrite(*call)
        return call[0](*call[1], **call[2])

    def _mentions(self, values: Iterable[Any]) -> bool:
        for value in values:
            if id(value) in self.stand_ins or (type(value) in (tuple, list) and self._mentions(value)):
                return True
        return False

    def _replace(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.stand_ins.get(id(value), value)
        if type(value) in (tuple, list) and any(isinstance(entry, torch.Tensor | tuple | list) for entry in value):
            return type(value)(self._replace(entry) for entry in value)
        return value


@lru_cache(maxsize=4096)
def drops_on_the_way(func: Callable[..., Any]) -> bool:
    """Whether a function takes the rate of a Dropout within it, as attention does."""
    if func is functional.scaled_dot_product_attention:  # has no signature
        return True
    try:
        return RATE in inspect.signature(func).parameters
    except (TypeError, ValueError):
        return False


def rate_on_the_way(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """Returns the rate that such a call has, 0.0 where it does not train."""
    if func is functional.scaled_dot_product_attention:
        return float(kwargs.get(RATE, args[4] if len(args) > 4 else 0.0))
    given = inspect.signature(func).bind(*args, **kwargs)
    given.apply_defaults()
    return float(given.arguments[RATE]) if given.arguments.get("training", True) else 0.0


def with_rate(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], rate: float) -> Call:
    """Returns such a call with another rate."""
    if func is functional.scaled_dot_product_attention:
        if len(args) > 4:
            return func, (*args[:4], rate, *args[5:]), kwargs
        return func, args, kwargs | {RATE: rate}
    given = inspect.signature(func).bind(*args, **kwargs)
    given.arguments[RATE] = rate
    return func, given.args, given.kwargs


def without_dropout(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites every Dropout to do nothing, those within other functions included."""
    if func in DROPOUTS:
        return (lambda input, *_, **__: input), args, kwargs
    if drops_on_the_way(func):
        return with_rate(func, args, kwargs, 0.0)
    return func, args, kwargs


def with_safe_group_norm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Rewrites a group normalisation to work on channels in front, where what it normalises needs no gradient.

    On a CPU, its gradient crashes the process where the channels lie last in memory (PyTorch 2.13).
    """
    if func in GROUP_NORMS and args and not args[0].requires_grad:
        return func, (args[0].contiguous(), *args[1:]), kwargs
    return func, args, kwargs


class Dropouts:
    """A rewrite that notes every Dropout of a forward pass, and does not drop."""

    def __init__(self) -> None:
        self.calls: list[Dropped] = []

    def __call__(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if func in DROPOUTS:
            inputs = args[0] if args else kwargs["input"]
            rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
            if training and rate:
                self.calls.append(Dropped(rate=float(rate), entries=entries_of(inputs, by_channel=func in BY_CHANNEL)))
        elif drops_on_the_way(func) and (rate := rate_on_the_way(func, args, kwargs)):
            self.calls.append(Dropped(rate=rate, entries=attention_entries(func, args, kwargs)))
        return without_dropout(func, args, kwargs)


def entries_of(inputs: torch.Tensor, *, by_channel: bool) -> int:
    """Returns how often Dropout draws for one example (N, ...), or (N, C, ...) by channel."""
    return int(inputs.shape[1]) if by_channel else inputs[0].numel()


def attention_entries(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Returns how often Dropout draws for one example within an attention: once for each score."""
    if func is functional.scaled_dot_product_attention:
        query, key = (args[i] if len(args) > i else kwargs[name] for i, name in enumerate(("query", "key")))
        return int(query[0, ..., 0].numel() * key.shape[-2])
    given = inspect.signature(func).bind(*args, **kwargs).arguments
    query, key = given.get("query"), given.get("key")  # (steps, N, features)
    heads = given.get("num_heads", 1)
    return 0 if query is None or key is None else int(heads * query.shape[0] * key.shape[0])


@contextlib.contextmanager
def without_dropout_between_layers(module: torch.nn.Module) -> Iterator[None]:
    """Within it, the recurrent modules in a module do not drop between their layers."""
    recurrent = [layer for layer in module.modules() if isinstance(layer, torch.nn.RNNBase)]
    rates = [layer.dropout for layer in recurrent]
    for layer in recurrent:
        layer.dropout = 0.0
    try:
        yield
    finally:
        for layer, rate in zip(recurrent, rates, strict=True):
            layer.dropout = rate
