"""The contestants: each trains one epoch of the same network on the same images whenever it is called."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from birdplane_keras import torch_plugin
from birdplane_keras.data.inputs import batch_order
from birdplane_keras.model import build_model
from birdplane_keras.recipe import Recipe
from birdplane_keras.training import build_train_batches
from torch_reference.model import build_model as build_reference
from torch_reference.recipe import Recipe as ReferenceRecipe
from torch_reference.training import LOSSES, build_optimizer

Epoch = Callable[[], object]
BASE = "hand-written PyTorch"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contestant, ready to run.

    Args:
        name: What it is.
        epoch: Trains one epoch.
        seconds_to_prepare: What its first steps took: compiling or tracing; `None` where there is nothing of the kind.
    """

    name: str
    epoch: Epoch
    seconds_to_prepare: float | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained.

    Args:
        recipe: Layers, rate, batch size.
        reference: The same for the reference.
        images: (N, 3072) float32 on the CPU.
        labels: (N,) int64.
        device: Where, as PyTorch names it.
    """

    recipe: Recipe
    reference: ReferenceRecipe
    images: np.ndarray
    labels: np.ndarray
    device: str

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The data on the device."""
        return torch.from_numpy(self.images).to(self.device), torch.from_numpy(self.labels).to(self.device)

    def wait(self) -> None:
        """Waits until the device has done what it was told to."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()


def build_article_loop(task: Task) -> Row:
    """The article's loop: a `DataLoader` over a list of (image, label) pairs."""
    images, labels = torch.from_numpy(task.images), task.labels
    examples = [(image.view(3, 32, 32), int(label)) for image, label in zip(images, labels, strict=True)]
    data_set: Any = examples  # to PyTorch, a list is a data set
    loader: DataLoader = DataLoader(data_set, batch_size=task.recipe.batch_size, shuffle=True)
    model, loss_fn, optimizer = build_pytorch(task)

    def epoch() -> None:
        for imgs, targets in loader:
            batch_size = imgs.shape[0]
            outputs = model(imgs.view(batch_size, -1).to(task.device))
            loss = loss_fn(outputs, targets.to(task.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        task.wait()

    return Row(name="the article's loop", epoch=epoch)


def build_hand_written(task: Task) -> Row:
    """The shortest loop in PyTorch: tensors in memory, rows by index."""
    x, y = task.tensors()
    model, loss_fn, optimizer = build_pytorch(task)
    size = task.recipe.batch_size
    epochs = iter(range(1 << 30))

    def epoch() -> None:
        order = torch.from_numpy(batch_order(len(x), seed=0, epoch=next(epochs))).to(task.device)
        for rows in order.split(size):
            loss = loss_fn(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        task.wait()

    return Row(name=BASE, epoch=epoch)


def build_pytorch(task: Task) -> tuple[torch.nn.Module, torch.nn.Module, torch.optim.Optimizer]:
    """Returns the reference's model, loss and optimizer."""
    model = build_reference(task.reference).to(task.device)
    return model, LOSSES[task.reference.loss](), build_optimizer(model, task.reference)


def build_keras(task: Task, *, jit_compile: bool = False) -> keras.Model:
    """Returns the port, compiled with the stock loss."""
    model = build_model(task.recipe)
    model.compile(
        optimizer=keras.optimizers.SGD(task.recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    return model


def build_fit(task: Task, name: str, data: str, *, engine: str | None = None, jit_compile: bool = False) -> Row:
    """`model.fit()` from one of `DATA`; its first call is made here.

    Args:
        task: What is trained.
        name: The row's.
        data: One of `DATA`.
        engine: The plugin's; `None` for stock Keras.
        jit_compile: As in `compile`.
    """
    with keras.device(task.device):
        model = build_keras(task, jit_compile=jit_compile)
        if engine is not None:
            torch_plugin.attach(model, engine, strict=True)
        tensors = task.tensors()
        x, y = (task.images, task.labels) if data == "arrays" else tensors
        batches = build_train_batches(tensors, task.recipe)
        loader: DataLoader = DataLoader(TensorDataset(*tensors), batch_size=task.recipe.batch_size, shuffle=True)

    def fit(rows: int | None = None) -> None:
        with keras.device(task.device):
            if data == "batches":
                model.fit(batches, shuffle=False, epochs=1, verbose=0)
            elif data == "a DataLoader":
                model.fit(loader, epochs=1, verbose=0, shuffle=False)
            else:
                model.fit(x[:rows], y[:rows], batch_size=task.recipe.batch_size, epochs=1, verbose=0)
        task.wait()

    # Each signature once: whole batches, and what is left.
    started = time.perf_counter()
    fit(None if data in ("batches", "a DataLoader") else task.recipe.batch_size + len(x) % task.recipe.batch_size)
    seconds = time.perf_counter() - started
    return Row(name=name, epoch=fit, seconds_to_prepare=seconds if jit_compile else None)


def build_products(task: Task) -> Row:
    """The floor: the matrix products of a step and nothing else, each into memory that is there already."""
    sizes = [len(task.images[0]), *task.recipe.hidden_layers, 2]
    batch = task.recipe.batch_size
    steps = [batch] * (len(task.images) // batch) + [len(task.images) % batch] * (len(task.images) % batch > 0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=task.device)

    kernels = [draw(*pair) for pair in pairwise(sizes)]
    gradients = [torch.empty_like(kernel) for kernel in kernels]
    layers = {
        rows: [(draw(rows, len(kernel)), draw(rows, kernel.shape[1]), draw(rows, len(kernel))) for kernel in kernels]
        for rows in set(steps)
    }
    outputs = {rows: [torch.empty_like(gradient) for _, gradient, _ in layers[rows]] for rows in layers}

    def epoch() -> None:
        for rows in steps:
            for number, (x, gradient, into) in enumerate(layers[rows]):
                torch.mm(x, kernels[number], out=outputs[rows][number])
                torch.mm(x.t(), gradient, out=gradients[number])
                if number:
                    torch.mm(gradient, kernels[number].t(), out=into)
        task.wait()

    return Row(name="the matrix products alone", epoch=epoch)


DATA = ("arrays", "tensors", "a DataLoader", "batches")  # the last are the project's own
JIT = "stock fit, jit_compile, tensors"


def fits(name: str, engine: str | None) -> dict[str, Callable[[Task], Row]]:
    """Returns a row for each form of data."""
    return {f"{name}, {data}": partial(build_fit, name=f"{name}, {data}", data=data, engine=engine) for data in DATA}


ROWS: dict[str, Callable[[Task], Row]] = {
    "the article's loop": build_article_loop,
    BASE: build_hand_written,
    **fits("stock fit", None),
    JIT: partial(build_fit, name=JIT, data="tensors", jit_compile=True),
    **fits("exact", "exact"),
    **fits("fused", "fused"),
    "the matrix products alone": build_products,
}
