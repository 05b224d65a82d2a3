"""Trains a set-up with and without the plugin, and holds everything that is left side by side."""

import warnings
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.layers import TorchModuleWrapper

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.attachment import PLUGIN_ATTRIBUTE
from plugin.networks import ROWS, Setup


@dataclass(kw_only=True)
class Trained:
    """What is left of a training.

    Args:
        model: The model.
        tensors: Name -> value: weights, moving statistics, optimizer state, metrics, predictions.
        history: Name -> a number per epoch.
        steps: Made in all.
    """

    model: keras.Model
    tensors: dict[str, np.ndarray]
    history: dict[str, list[float]]
    steps: int


def train(setup: Setup, engine: str | None, **attach: Any) -> Trained:
    """Compiles, attaches unless `engine` is `None`, fits, evaluates and predicts."""
    model = setup.model
    model.compile(**setup.compile)
    if engine is not None:
        torch_plugin.attach(model, engine, **attach)
    fit = {"batch_size": 8, "epochs": 4, "verbose": 0} | setup.fit
    counting = Counting()
    histories = []
    for again in (False, True) if setup.between else (False,):
        if again:
            fit |= setup.between(model) or {}
        callbacks = [*fit.get("callbacks", []), counting]
        keras.utils.set_random_seed(3)  # the same shuffles
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The model does not have any trainable", UserWarning)
            histories.append(model.fit(setup.x, setup.y, **(fit | {"callbacks": callbacks})).history)
    whole = fit["batch_size"] and ROWS  # one batch: tracing is what takes time here
    evaluated = model.evaluate(setup.x, setup.y, batch_size=whole, verbose=0, return_dict=True)
    predicted = model.predict(setup.x, batch_size=whole, verbose=0)
    variables = {f"{number} {each.path}": each for number, each in enumerate(model.variables)}
    variables |= {f"optimizer {number}": each for number, each in enumerate(model.optimizer.variables)}
    variables |= {f"metric {number} {each.path}": each for number, each in enumerate(model.metrics_variables)}
    tensors = {name: keras.ops.convert_to_numpy(each) for name, each in variables.items()}
    buffers = [
        each for layer in model.layers if isinstance(layer, TorchModuleWrapper) for each in layer.module.buffers()
    ]
    tensors |= {f"buffer {number}": each.numpy().copy() for number, each in enumerate(buffers)}
    tensors |= {f"predicted {number}": each for number, each in enumerate(keras.tree.flatten(predicted))}
    tensors |= {f"evaluated {name}": np.asarray(value) for name, value in evaluated.items()}
    history = {name: [value for each in histories for value in each[name]] for name in histories[0]}
    return Trained(model=model, tensors=tensors, history=history, steps=counting.steps)


class Counting(keras.callbacks.Callback):
    """Counts the training steps."""

    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def entries(model: keras.Model, kind: str | None = None) -> list:
    """Returns the plugin's account of the model's traces."""
    attachment = vars(model)[PLUGIN_ATTRIBUTE]
    found = list(attachment.entries)
    return [entry for entry in found if kind in (None, entry.kind)]


def rounds_alike(model: keras.Model) -> bool:
    """Tells whether no rewrite or update that changes the rounding was made, and no kernel laid out otherwise."""
    layouts = any(not weight.value.is_contiguous() for weight in model.weights)
    return not layouts and not any(entry.step.rounds for entry in entries(model))


def assert_same_training(ours: Trained, theirs: Trained, *, tolerance: float) -> None:
    """Compares every tensor and number; a tolerance of 0 asks for equal bits, another one is relative."""
    assert ours.steps == theirs.steps >= 20
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert ours.history.keys() == theirs.history.keys()
    named = [(name, ours.tensors[name], theirs.tensors[name]) for name in ours.tensors]
    named += [
        (f"history {name}", np.array(ours.history[name]), np.array(theirs.history[name])) for name in ours.history
    ]
    for name, one, other in named:
        assert one.shape == other.shape, name
        if tolerance == 0:
            assert one.tobytes() == other.tobytes(), f"{name}: {np.abs(one - other).max()}"
        else:
            scale = max(1.0, float(np.abs(other).max(initial=0)))
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale, err_msg=name)
