"""The contestants for an ordinary network: each trains, evaluates or predicts the same rows whenever it is called."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.benchmark.networks import Network
from birdplane_keras.benchmark.rows import BASE

COMPILED_BASE = "the same, torch.compile"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to run a network.

    Args:
        name: What it is.
        train: Trains one epoch.
        evaluate: From rows of a batch to the loss of all rows.
        predict: From rows of a batch to the predictions of all rows.
    """

    name: str
    train: Callable[[], object]
    evaluate: Callable[[int], object]
    predict: Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class NetworkTask:
    """What is run.

    Args:
        network: The network.
        layout: Of the images in Keras.
        steps: In an epoch.
        device: Where, as PyTorch names it.
    """

    network: Network
    layout: str
    steps: int
    device: str

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return self.steps * self.network.batch_size

    def wait(self) -> None:
        """Waits until the device has done what it was told to."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()


def build_loop(task: NetworkTask, name: str, *, is_compiled: bool) -> Contestant:
    """The shortest loops in PyTorch: tensors in memory, rows by index; with the step's forward pass compiled or not."""
    network = task.network
    x, y = (torch.from_numpy(each).to(task.device) for each in network.draw(task.rows))
    module = network.module().to(task.device)
    optimizer = network.torch_optimizer(module.parameters())

    def compute_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return network.torch_loss(module(inputs), targets)

    forward: Any = torch.compile(module) if is_compiled else module
    loss_of: Any = torch.compile(compute_loss) if is_compiled else compute_loss

    def train() -> None:
        module.train()
        for rows in torch.randperm(len(x), device=x.device).split(network.batch_size):
            loss = loss_of(x[rows], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        task.wait()

    def evaluate(batch_size: int) -> float:
        module.eval()
        total = torch.zeros((), device=x.device)
        with torch.no_grad():
            for inputs, targets in zip(x.split(batch_size), y.split(batch_size), strict=True):
                total += loss_of(inputs, targets) * len(inputs)
        return float(total) / len(x)

    def predict(batch_size: int) -> Any:
        module.eval()
        with torch.no_grad():
            rows = x if batch_size > 1 else x[: task.steps]
            return torch.cat([forward(inputs) for inputs in rows.split(batch_size)]).cpu().numpy()

    return Contestant(name=name, train=train, evaluate=evaluate, predict=predict)


def build_keras(
    task: NetworkTask, name: str, *, engine: str | None = None, jit_compile: bool = False, data: str = "tensors"
) -> Contestant:
    """Keras' `fit`, `evaluate` and `predict`, from tensors or arrays in memory."""
    network = task.network
    inputs, targets = (network.as_laid_out(each, task.layout) for each in network.draw(task.rows))
    x: Any = torch.from_numpy(inputs).to(task.device) if data == "tensors" else inputs
    y: Any = torch.from_numpy(targets).to(task.device) if data == "tensors" else targets
    with keras.device(task.device):
        model = network.compiled_model(task.layout, jit_compile=jit_compile)
        if engine is not None:
            torch_plugin.attach(model, engine, strict=True)

    def within(call: Callable[[], object]) -> object:
        with keras.device(task.device):
            result = call()
        task.wait()
        return result

    def predict(batch_size: int) -> object:
        rows = x if batch_size > 1 else x[: task.steps]
        return within(lambda: model.predict(rows, batch_size=batch_size, verbose=0))

    return Contestant(
        name=name,
        train=lambda: within(lambda: model.fit(x, y, batch_size=network.batch_size, verbose=0)),
        evaluate=lambda batch_size: within(lambda: model.evaluate(x, y, batch_size=batch_size, verbose=0)),
        predict=predict,
    )


CONTESTANTS: dict[str, Callable[[NetworkTask], Contestant]] = {
    BASE: lambda task: build_loop(task, BASE, is_compiled=False),
    COMPILED_BASE: lambda task: build_loop(task, COMPILED_BASE, is_compiled=True),
    "stock fit": lambda task: build_keras(task, "stock fit"),
    "stock fit, jit_compile": lambda task: build_keras(task, "stock fit, jit_compile", jit_compile=True),
    **{engine: functools.partial(build_keras, name=engine, engine=engine) for engine in torch_plugin.ENGINES},
}
