"""Threads: a fresh model is asked by many at once, while another one, which nobody attached, is trained."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from plugin.networks import COLUMNS, draw

THREADS = 8


def bystander() -> keras.Model:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((COLUMNS,)), layers.Dense(8), layers.Dropout(0.4, seed=3), layers.Dense(2)])
    model.compile(optimizer="sgd", loss="mse")
    return model


def train(model: keras.Model) -> list[bytes]:
    x, y = draw(32, COLUMNS), draw(32, 2, seed=1)
    for _ in range(4):
        for start in range(0, 32, 8):
            model.train_on_batch(x[start : start + 8], y[start : start + 8])
    return [weight.tobytes() for weight in model.get_weights()]


@pytest.mark.parametrize(("rounds", "calls"), [(1, 20), pytest.param(20, 200, marks=pytest.mark.slow)])
def test_many_threads_ask_a_fresh_model(rounds, calls):
    alone = train(bystander())
    for seed in range(rounds):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [keras.Input((COLUMNS,)), layers.Dense(8, activation="tanh"), layers.BatchNormalization(), layers.Dense(3)]
        )
        given = [draw(4, COLUMNS, seed=number) for number in range(THREADS)]
        expected = [model(torch.from_numpy(x), training=False).detach().numpy() for x in given]
        torch_plugin.attach(model, strict=True)
        other, trained = bystander(), []
        beside = threading.Thread(target=lambda other=other, trained=trained: trained.append(train(other)))

        def ask(number, model=model, given=given, expected=expected):
            return all(
                np.allclose(model.predict_on_batch(given[number]), expected[number], atol=1e-5) for _ in range(calls)
            )

        with warnings.catch_warnings():
            warnings.simplefilter("error", torch_plugin.TorchPluginWarning)
            beside.start()
            with ThreadPoolExecutor(THREADS) as pool:
                right = list(pool.map(ask, range(THREADS)))
            beside.join()
        assert all(right)
        assert [entry.step is not None for entry in torch_plugin.traces(model)] == [True]
        assert trained == [alone]
