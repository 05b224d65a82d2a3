"""Builds a pair of what two plans say: the files are written, imported, and put together."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.mutants.plans import Plan
from birdplane_keras.mutants.terms import CLASSES, NUMBERS
from birdplane_keras.mutants.writing import PORT, REFERENCE, Written, write
from birdplane_keras.parity.pair import Pair, channels_last

EXAMPLES, BATCH = 44, 16  # the third batch has fewer

DEFAULTS: dict[str, dict[str, Any]] = {
    "own": {},
    "sgd": {"weight_decay": 0.0},
    "momentum": {"momentum": 0.9, "nesterov": False},
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "adamw": {"weight_decay": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "rmsprop": {"rho": 0.99, "epsilon": 1e-8},
}


@contextmanager
def imported(written: Written, name: str, folder: Path) -> Iterator[ModuleType]:
    """Within it, a file that was written is a module."""
    path = folder / f"{name}.py"
    path.write_text(written.text)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.modules.pop(name, None)


@contextmanager
def built(plan: Plan, port: Plan, folder: Path) -> Iterator[tuple[Pair, Written, Written]]:
    """Yields the pair of a reference and a port, and their files.

    Args:
        plan: What the reference does.
        port: What the port does.
        folder: For the files.
    """
    theirs, ours = write(plan, REFERENCE), write(port, PORT)
    with imported(theirs, "drawn_reference", folder) as reference, imported(ours, "drawn_port", folder) as translated:
        yield join(plan, port, reference, translated), theirs, ours


def join(plan: Plan, port: Plan, reference: ModuleType, translated: ModuleType) -> Pair:
    """Returns the pair of two modules that plans were written as."""
    keras.utils.set_random_seed(plan.seed)
    random = np.random.default_rng([plan.seed, 2])
    raw = [drawn(random, shape) for _, _, shape in plan.inputs]
    targets = [random.integers(0, CLASSES, EXAMPLES)]
    if len(plan.outputs) > 1:
        targets.append(random.normal(size=(EXAMPLES, NUMBERS)).astype(np.float32))
    module, model = reference.Network(), translated.Network()
    for name, parameter in module.named_parameters():  # as Keras has none of them: one bias is enough for a recurrence
        if "bias" in name:
            torch.nn.init.uniform_(parameter, -0.2, 0.2)
    inputs = prepared(raw, reference)
    given = [last(each) for each in raw]
    port_inputs = prepared(given, translated)
    model(as_given([keras.ops.convert_to_tensor(each[:2]) for each in port_inputs]))
    count = len(plan.outputs)
    losses = [getattr(translated, f"loss{index}") for index in range(count)]
    model.compile(optimizer=optimizer_of_port(port, translated), loss=losses if count > 1 else losses[0])
    optimizer = optimizer_of_reference(plan, module, reference)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, reference.factor) if plan.schedule else None

    clip = plan.optimizer.get("clip")
    return Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=reference.loss,
        torch_optimizer=optimizer,
        torch_scheduler=scheduler,
        torch_clip=None if clip is None else lambda weights: torch.nn.utils.clip_grad_norm_(weights, clip),
        data=(as_given(inputs), as_given(targets)),
        to_keras=lambda given: keras.tree.map_structure(last, given),
        keras_data=(as_given(port_inputs), as_given(targets)),
        batch_size=BATCH,
        initialisation=False,
        search_seconds=20.0,
    )


def last(array: np.ndarray) -> np.ndarray:
    """Returns an array as the port takes it: an image's channels at the end."""
    return channels_last(array) if array.ndim == 4 else array


def prepared(raw: list[np.ndarray], module: ModuleType) -> list[np.ndarray]:
    """Returns the inputs that a side makes of raw numbers: the first by its pipeline, others alike on both sides."""
    others = [(each / 127.5 - 1).astype(np.float32) for each in raw[1:]]
    return [np.ascontiguousarray(module.prepare(raw[0]), dtype=np.float32), *others]


def drawn(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns raw numbers from 0 to 255, (N, ...)."""
    return random.integers(0, 256, (EXAMPLES, *shape)).astype(np.float32)


def as_given(arrays: list[Any]) -> Any:
    """Returns one array as it is, several as a tuple."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def optimizer_of_reference(plan: Plan, module: torch.nn.Module, source: ModuleType) -> torch.optim.Optimizer:
    """Returns PyTorch's optimizer of a plan."""
    kind, rate = plan.optimizer["kind"], plan.optimizer["learning_rate"]
    weights = module.parameters()
    own = DEFAULTS[kind] | {name: value for name, value in plan.optimizer.items() if name in DEFAULTS[kind]}
    if kind == "own":
        return source.Optimizer(weights, {"lr": rate})
    if kind in ("sgd", "momentum"):
        return torch.optim.SGD(weights, lr=rate, **own)
    if kind == "rmsprop":
        return torch.optim.RMSprop(weights, lr=rate, alpha=own["rho"], eps=own["epsilon"])
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    decay = {"weight_decay": own["weight_decay"]} if kind == "adamw" else {}
    return make(weights, lr=rate, betas=(own["beta_1"], own["beta_2"]), eps=own["epsilon"], **decay)


def optimizer_of_port(plan: Plan, source: ModuleType) -> keras.optimizers.Optimizer:
    """Returns Keras' optimizer of a plan."""
    kind = plan.optimizer["kind"]
    rate = source.Rate() if plan.schedule else plan.optimizer["learning_rate"]
    own = DEFAULTS[kind] | {name: value for name, value in plan.optimizer.items() if name in DEFAULTS[kind]}
    clip = {"global_clipnorm": plan.optimizer["clip"]} if plan.optimizer.get("clip") else {}
    classes = {
        "own": getattr(source, "Optimizer", None),
        "sgd": torch_equivalents.SGD,
        "momentum": torch_equivalents.SGD,
        "adam": torch_equivalents.Adam,
        "adamw": torch_equivalents.AdamW,
        "rmsprop": torch_equivalents.RMSprop,
    }
    make: Any = classes[kind]
    return make(learning_rate=rate, **own, **clip)
