"""What may be wrong with a forward pass: activations, the settings of layers, the order of layers, precision."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from birdplane_keras.parity.causes.search import Hypothesis
from birdplane_keras.parity.causes.settings import differing_settings
from birdplane_keras.parity.sides.torch_run import Call, Rewrite, TorchRun

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "gelu, tanh approximation": lambda x: functional.gelu(x, approximate="tanh"),
    "leaky_relu, slope 0.01": lambda x: functional.leaky_relu(x, 0.01),
    "leaky_relu, slope 0.2": lambda x: functional.leaky_relu(x, 0.2),
    "leaky_relu, slope 0.3": lambda x: functional.leaky_relu(x, 0.3),
    "elu": functional.elu,
    "selu": functional.selu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish,
    "mish": functional.mish,
    "softmax": lambda x: torch.softmax(x, -1),
    "relu6": functional.relu6,
    "linear": lambda x: x,
}
NAMES = {
    "relu", "relu_", "tanh", "sigmoid", "gelu", "leaky_relu", "elu", "selu", "silu", "softplus", "hardsigmoid",
    "hardswish", "mish", "relu6",
}  # fmt: skip
POOLS = {"avg_pool1d", "avg_pool2d", "avg_pool3d"}


def forward_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Yields what may explain a failed `forward`, what the two models' settings suggest first."""
    yield from differing_settings(bench)
    yield from activation_hypotheses(bench)
    yield from output_hypotheses()
    yield from pooling_hypotheses(bench)
    yield from order_hypotheses(bench)
    yield from input_hypotheses(bench)
    yield from precision_hypotheses(bench)


def activation_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Another activation, in all places or in one."""
    calls = count_activations(bench)
    places: list[int | None] = [None, *range(len(calls))] if len(calls) > 1 else [None]
    for place, (name, activation) in itertools.product(places, ACTIVATIONS.items()):
        used = calls if place is None else [calls[place]]
        if not used:
            continue
        where = f"activation {place + 1} of {len(calls)}" if place is not None else "every activation"
        yield Hypothesis(
            cause="activation",
            text=f"{where} is {name} in the port; the reference has {', '.join(sorted(set(used)))}",
            fix=f'use the reference\'s activation ({used[0]}): activation="{used[0]}"'
            + (
                ", or keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=...)) for its two forms"
                if "gelu" in used[0]
                else ""
            ),
            change=rewriting(
                lambda activation=activation, place=place: replace_activation(activation, place, len(calls))
            ),
        )


def rewriting(make: Callable[[], Rewrite]) -> Callable[[TorchRun], None]:
    """Returns a change that adds a new rewrite to a run."""
    return lambda run: run.rewrites.append(make())


def count_activations(bench: Any) -> list[str]:
    """Returns the names of the activation functions that the reference calls, in their order."""
    calls: list[str] = []

    def note(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") in NAMES:
            calls.append(func.__name__.rstrip("_"))
        return func, args, kwargs

    run = bench.reference()
    run.rewrites.append(note)
    with torch.no_grad(), run.patched():
        run.forward(bench.plan(1)[0])
    return calls


def replace_activation(activation: Callable[[torch.Tensor], torch.Tensor], place: int | None, total: int) -> Rewrite:
    """Returns a rewrite of every activation, or of the one at a place among the `total` of each forward pass."""
    counter = itertools.count()

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") not in NAMES or (place is not None and next(counter) % total != place):
            return func, args, kwargs
        return (lambda input, *_, **__: activation(input)), args, kwargs

    return rewrite


def output_hypotheses() -> Iterator[Hypothesis]:
    """Something done to the outputs that the reference does not do."""
    for name, function in (
        ("softmax", lambda x: torch.softmax(x, -1)),
        ("log_softmax", lambda x: torch.log_softmax(x, -1)),
        ("sigmoid", torch.sigmoid),
        ("relu", torch.relu),
        ("tanh", torch.tanh),
    ):
        probabilities = name in ("softmax", "sigmoid", "log_softmax")
        yield Hypothesis(
            cause="softmax_before_loss" if probabilities else "activation",
            text=f"the port applies {name} to its outputs; the reference returns them as they are",
            fix="leave the last layer without an activation, and give the loss from_logits=True",
            change=lambda run, function=function: setattr(run, "change_outputs", function),
        )


def pooling_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Average pooling that counts the padding or does not; the Keras layers' windows, strides and padding."""
    yield Hypothesis(
        cause="pooling_padding",
        text="average pooling leaves the padding out of the mean on one side and counts it on the other",
        fix='Keras\' padding="same" does not count it; ZeroPadding2D and then AveragePooling2D(padding="valid") does, '
        "as PyTorch's count_include_pad=True",
        change=rewriting(flip_counting),
    )
    layers = [layer for layer in bench.pair.keras_model._flatten_layers() if hasattr(layer, "pool_size")]
    if layers:
        told = ", ".join(f"{tuple(x.pool_size)} strides {tuple(x.strides)} {x.padding}" for x in layers)
        yield Hypothesis(
            cause="padding",
            text=f"the port's pooling has other windows, strides or padding: {told}",
            fix='ZeroPadding2D with the reference\'s amounts, then padding="valid" (for a maximum, where no input is '
            'negative): Keras\' "same" may pad more at the end, PyTorch pads both ends alike',
            evidence="Keras' pooling layers in their order, emulated in PyTorch",
            change=rewriting(lambda: pool_as_keras(layers)),
        )


def flip_counting() -> Rewrite:
    """Returns a rewrite of average pooling that counts the padding where it did not, and the other way round."""
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if getattr(func, "__name__", "") in POOLS:
            given = dict(zip(names, args, strict=False)) | kwargs
            given["count_include_pad"] = not given.get("count_include_pad", True)
            return func, (), given
        return func, args, kwargs

    return rewrite


def pool_as_keras(layers: list[Any]) -> Rewrite:
    """Returns a rewrite of each pooling call to what the Keras layer in its place does."""
    counter = itertools.count()

    def rewrite(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        name = getattr(func, "__name__", "")
        if "pool" not in name or "adaptive" in name or not (args or "input" in kwargs):
            return func, args, kwargs
        layer = layers[next(counter) % len(layers)]
        return (lambda x: pool(x, layer, average="avg" in name)), (args[0] if args else kwargs["input"],), {}

    return rewrite


def pool(x: torch.Tensor, layer: Any, *, average: bool) -> torch.Tensor:
    """Pools (N, C, ...) as a Keras layer does."""
    rank = x.ndim - 2
    window, strides = tuple(layer.pool_size), tuple(layer.strides)
    amounts: list[int] = []
    for size, width, stride in zip(x.shape[2:], window, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + width - size, 0) if layer.padding == "same" else 0
        amounts = [total // 2, total - total // 2, *amounts]
    if not average:
        pooling: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
        return pooling(functional.pad(x, amounts, value=-torch.inf), window, strides)
    averaging: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[rank - 1]
    inside = averaging(functional.pad(torch.ones_like(x), amounts), window, strides)
    return averaging(functional.pad(x, amounts), window, strides) / inside


def order_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Two neighbours of an nn.Sequential exchanged, or one left out."""
    for name, container in bench.pair.torch_module.named_modules():
        if not isinstance(container, nn.Sequential):
            continue
        for first in range(len(container) - 1):
            yield Hypothesis(
                cause="layers_swapped",
                text=f"layers {first} and {first + 1} of {name or 'the module'} ({type(container[first]).__name__}, "
                f"{type(container[first + 1]).__name__}) are exchanged in the port",
                fix="put them in the reference's order",
                change=lambda run, name=name, first=first: swap(run, name, first, first + 1),
            )
        for index, module in enumerate(container):
            if not list(module.parameters()):
                yield Hypothesis(
                    cause="layer_missing",
                    text=f"layer {index} of {name or 'the module'} ({type(module).__name__}) is missing in the port",
                    fix=f"add the counterpart of {module}",
                    change=lambda run, name=name, index=index: leave_out(run, name, index),
                )
        for one, other in itertools.combinations(range(len(container)), 2):
            if other - one > 1 and type(container[one]) is not type(container[other]):
                yield Hypothesis(
                    cause="layers_swapped",
                    text=f"layers {one} and {other} of {name or 'the module'} are exchanged in the port",
                    fix="put them in the reference's order",
                    change=lambda run, name=name, one=one, other=other: swap(run, name, one, other),
                )


def swap(run: TorchRun, name: str, one: int, other: int) -> None:
    """Exchanges two modules of a Sequential."""
    container: Any = run.module.get_submodule(name)
    container[one], container[other] = container[other], container[one]


def leave_out(run: TorchRun, name: str, index: int) -> None:
    """Puts an identity in a module's place."""
    container: Any = run.module.get_submodule(name)
    container[index] = nn.Identity()


def input_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """Inputs whose channels are reversed, or that are shifted and scaled once more, within the port."""
    yield Hypothesis(
        cause="channel_order",
        text="the port reads the channels in reverse order (BGR for RGB)",
        fix="x[..., ::-1] before the first layer",
        change=lambda run: setattr(run, "change_inputs", lambda given: (given[0].flip(1), *given[1:])),
    )


def precision_hypotheses(bench: Any) -> Iterator[Hypothesis]:
    """A layer, or all of them, that computes in half precision."""
    names = [match.name for match in bench.matching.layers]
    others = [n for n, m in bench.pair.torch_module.named_modules() if n and not list(m.children()) and n not in names]
    for dtype in (torch.float16, torch.bfloat16):
        for places in ([*names, *others], *([name] for name in [*names, *others])):
            where = "every layer" if len(places) > 1 else places[0]
            yield Hypothesis(
                cause="precision",
                coarse=True,
                text=f"the output of {where} goes through {str(dtype).removeprefix('torch.')} in the port",
                fix='keras.config.set_dtype_policy("float32"), and no ops.cast to a half type between layers',
                change=lambda run, places=places, dtype=dtype: round_outputs(run, places, dtype),
            )


def round_outputs(run: TorchRun, places: list[str], dtype: torch.dtype) -> None:
    """Rounds what some modules return to another type."""

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return output.to(dtype).to(output.dtype) if isinstance(output, torch.Tensor) else output

    for place in places:
        run.module.get_submodule("" if place == "module" else place).register_forward_hook(hook)
