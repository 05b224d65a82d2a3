"""What a drawn network is made of: operations as both frameworks write them, with the settings that an edit may change.

A value is an `image`, a `sequence` or a `vector`. Shapes leave the batch out: (C, H, W), (T, F), (F,). The reference
keeps the channels of images first, the port last.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]
Settings = Mapping[str, Any]
ANY = ("image", "sequence", "vector")
AXES = {  # kind -> name of an axis -> where it lies in the reference, and in the port
    "image": {"channels": (1, 3), "height": (2, 1), "width": (3, 2)},
    "sequence": {"steps": (1, 1), "features": (2, 2)},
    "vector": {"features": (1, 1)},
}


@dataclass(frozen=True, kw_only=True)
class Word:
    """An operation.

    Args:
        torch: How the reference writes it: `{0}` its first input, `{layer}` its layer, names of settings their values.
        keras: How the port writes it.
        kinds: Of its first input.
        inputs: How many it takes.
        settings: Name -> the values that are drawn from.
        torch_layer: How the reference makes its layer; empty where it has none.
        keras_layer: Likewise.
        shape: From settings and the first input's shape to its own; as that, where `None`.
        makes: The kind of its value; as its first input's, where empty.
        group: Others of one group may be written in its place by mistake.
        fits: Whether it can be applied to a shape.
    """

    torch: str
    keras: str
    kinds: Sequence[str] = ANY
    inputs: int = 1
    settings: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    torch_layer: str = ""
    keras_layer: str = ""
    shape: Callable[[Settings, Shape], Shape] | None = None
    makes: str = ""
    group: str = ""
    fits: Callable[[Shape], bool] = lambda shape: True


def elementwise(torch: str, keras: str, **settings: Sequence[Any]) -> Word:
    """Returns an operation on each number by itself."""
    return Word(torch=torch, keras=keras, settings=settings, group="elementwise")


def of_two(torch: str, keras: str) -> Word:
    """Returns an operation on two values of one shape."""
    return Word(torch=torch, keras=keras, inputs=2, group="of_two")


def reduced(torch: str, keras: str, kind: str) -> Word:
    """Returns an operation that leaves a vector of an image or a sequence."""
    shape = (lambda s, x: (x[0],)) if kind == "image" else (lambda s, x: (x[-1],))
    return Word(torch=torch, keras=keras, kinds=(kind,), shape=shape, makes="vector", group=f"reduced_{kind}")


def halved(settings: Settings, shape: Shape) -> Shape:
    """The shape of an image after a window of 2 that moves by 2."""
    return (shape[0], shape[1] // 2, shape[2] // 2)


def convolved(settings: Settings, shape: Shape) -> Shape:
    """The shape of an image after a convolution."""
    reach = settings["dilation"] * (settings["size"] - 1) + 1
    sides = [(side + 2 * settings["padding"] - reach) // settings["stride"] + 1 for side in shape[1:]]
    return (settings["units"], *sides)


EPSILONS = (1e-5, 1e-3, 1e-2)

WORDS: dict[str, Word] = {
    "relu": elementwise("torch.relu({0})", "ops.relu({0})"),
    "tanh": elementwise("torch.tanh({0})", "ops.tanh({0})"),
    "sigmoid": elementwise("torch.sigmoid({0})", "ops.sigmoid({0})"),
    "silu": elementwise("functional.silu({0})", "ops.silu({0})"),
    "gelu": elementwise("functional.gelu({0})", "ops.gelu({0}, approximate=False)"),
    "quick_gelu": elementwise("{0} * torch.sigmoid({factor} * {0})", "{0} * ops.sigmoid({factor} * {0})",
                              factor=(1.702, 1.6, 1.0)),
    "leaky_relu": elementwise("functional.leaky_relu({0}, {slope})", "ops.leaky_relu({0}, {slope})",
                              slope=(0.2, 0.1, 0.3)),
    "elu": elementwise("functional.elu({0}, {alpha})", "ops.elu({0}, {alpha})", alpha=(1.0, 0.8, 1.3)),
    "softplus": elementwise("functional.softplus({0})", "ops.softplus({0})"),
    "softsign": elementwise("functional.softsign({0})", "ops.softsign({0})"),
    "clip": elementwise("torch.clamp({0}, {low}, {high})", "ops.clip({0}, {low}, {high})",
                        low=(-1.0, -0.5, -0.3), high=(1.0, 0.5, 0.7)),
    "scale": elementwise("{0} * {factor}", "{0} * {factor}", factor=(0.5, 1.5, 0.7)),
    "shift": elementwise("{0} + {term}", "{0} + {term}", term=(0.1, -0.2, 0.3)),
    "root": elementwise("torch.sqrt({0} * {0} + {epsilon})", "ops.sqrt({0} * {0} + {epsilon})", epsilon=(0.1, 0.01)),
    "add": of_two("{0} + {1}", "{0} + {1}"),
    "subtract": of_two("{0} - {1}", "{0} - {1}"),
    "multiply": of_two("{0} * {1}", "{0} * {1}"),
    "maximum": of_two("torch.maximum({0}, {1})", "ops.maximum({0}, {1})"),
    "average": of_two("0.5 * ({0} + {1})", "0.5 * ({0} + {1})"),
    "gate": of_two("{0} * torch.sigmoid({1})", "{0} * ops.sigmoid({1})"),
    "concatenate": Word(
        torch="torch.cat([{0}, {1}], {features})", keras="ops.concatenate([{0}, {1}], {features})", inputs=2,
        shape=lambda s, x: (2 * x[0], *x[1:]) if len(x) == 3 else (*x[:-1], 2 * x[-1]), group="joined",
    ),
    "softmax": Word(
        torch="torch.softmax({0}, {axis})", keras="ops.softmax({0}, {axis})", settings={"axis": ("features", "other")},
        group="softmax",
    ),
    "flip": Word(
        torch="torch.flip({0}, [{axis}])", keras="ops.flip({0}, {axis})", settings={"axis": ("features", "other")},
        group="moved",
    ),
    "roll": Word(
        torch="torch.roll({0}, {shift}, {axis})", keras="ops.roll({0}, {shift}, {axis})",
        settings={"shift": (1, -1, 2), "axis": ("features", "other")}, group="moved",
    ),
    "normalise": Word(
        torch="{0} / torch.sqrt(torch.sum({0} * {0}, {axis}, keepdim=True) + {epsilon})",
        keras="{0} / ops.sqrt(ops.sum({0} * {0}, {axis}, keepdims=True) + {epsilon})",
        settings={"axis": ("features", "other"), "epsilon": (0.01, 0.1)}, group="normalised",
    ),
    "linear": Word(
        torch="self.{layer}({0})", keras="self.{layer}({0})", kinds=("sequence", "vector"),
        settings={"units": (6, 8)}, torch_layer="nn.Linear({last}, {units})", keras_layer="layers.Dense({units})",
        shape=lambda s, x: (*x[:-1], s["units"]),
    ),
    "convolution": Word(
        torch="self.{layer}({0})",
        keras="self.{layer}(ops.pad({0}, [[0, 0], [{padding}, {padding}], [{padding}, {padding}], [0, 0]]))",
        kinds=("image",),
        settings={"units": (4, 6), "size": (3,), "stride": (1, 1, 2), "padding": (1,), "dilation": (1, 1, 2),
                  "groups": (1, 1, 2)},
        torch_layer="nn.Conv2d({first}, {units}, {size}, {stride}, {padding}, {dilation}, {groups})",
        keras_layer="layers.Conv2D({units}, {size}, strides={stride}, dilation_rate={dilation}, groups={groups})",
        shape=convolved, fits=lambda shape: shape[1] >= 5 and shape[2] >= 5 and shape[0] % 2 == 0,
    ),
    "layer_norm": Word(
        torch="self.{layer}({0})", keras="self.{layer}({0})", kinds=("sequence", "vector"),
        settings={"epsilon": EPSILONS}, torch_layer="nn.LayerNorm({last}, eps={epsilon})",
        keras_layer="layers.LayerNormalization(epsilon={epsilon})", fits=lambda shape: shape[-1] > 2,
    ),
    "group_norm": Word(
        torch="self.{layer}({0})", keras="self.{layer}({0})", kinds=("image",),
        settings={"groups": (2, 1), "epsilon": EPSILONS},
        torch_layer="nn.GroupNorm({groups}, {first}, eps={epsilon})",
        keras_layer="layers.GroupNormalization({groups}, epsilon={epsilon})", fits=lambda shape: shape[0] % 2 == 0,
    ),
    "batch_norm": Word(
        torch="self.{layer}({0})", keras="self.{layer}({0})", kinds=("image",), settings={"epsilon": EPSILONS},
        torch_layer="nn.BatchNorm2d({first}, eps={epsilon})",
        keras_layer="torch_equivalents.BatchNormalization(epsilon={epsilon})",
    ),
    "max_pool": Word(
        torch="functional.max_pool2d({0}, 2)", keras="ops.max_pool({0}, 2, 2)", kinds=("image",), shape=halved,
        group="pooled", fits=lambda shape: min(shape[1:]) >= 4,
    ),
    "average_pool": Word(
        torch="functional.avg_pool2d({0}, 2)", keras="ops.average_pool({0}, 2, 2)", kinds=("image",), shape=halved,
        group="pooled", fits=lambda shape: min(shape[1:]) >= 4,
    ),
    "enlarge": Word(
        torch='functional.interpolate({0}, scale_factor=2, mode="{mode}")',
        keras='layers.UpSampling2D(2, interpolation="{mode}")({0})', kinds=("image",),
        settings={"mode": ("nearest", "bilinear")}, shape=lambda s, x: (x[0], 2 * x[1], 2 * x[2]),
        fits=lambda shape: max(shape[1:]) <= 6,
    ),
    "mean_image": reduced("torch.mean({0}, (2, 3))", "ops.mean({0}, (1, 2))", "image"),
    "max_image": reduced("torch.amax({0}, (2, 3))", "ops.max({0}, (1, 2))", "image"),
    "mean_steps": reduced("torch.mean({0}, 1)", "ops.mean({0}, 1)", "sequence"),
    "max_steps": reduced("torch.amax({0}, 1)", "ops.max({0}, 1)", "sequence"),
    "last_step": reduced("{0}[:, -1]", "{0}[:, -1]", "sequence"),
    "first_step": reduced("{0}[:, 0]", "{0}[:, 0]", "sequence"),
    "gru": Word(
        torch="self.{layer}({0})[0]", keras="self.{layer}({0})", kinds=("sequence",), settings={"units": (5, 6)},
        torch_layer="nn.GRU({last}, {units}, batch_first=True)",
        keras_layer="layers.GRU({units}, return_sequences=True)", shape=lambda s, x: (x[0], s["units"]),
    ),
    "attention": Word(
        torch="attend({0}, {1}, {2}, {scale}, {causal})", keras="attend({0}, {1}, {2}, {scale}, {causal})", inputs=3,
        kinds=("sequence",), settings={"scale": (0.5, 0.4, 1.0), "causal": (True, False)},
    ),
}  # fmt: skip
