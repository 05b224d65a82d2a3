"""The judge, the estimators and the plugin work in a program that takes warnings for errors."""

import os
import subprocess
import sys
import warnings

import pytest

from birdplane_keras.keras_warnings import OF_NUMPY_2, own_warnings_ignored

PROGRAM = """
import birdplane_keras, keras, torch
import numpy as np
from birdplane_keras import BirdPlaneClassifier, torch_plugin
from birdplane_keras.parity import Pair, check_parity
keras.utils.set_random_seed(0)
x, y = np.random.default_rng(0).normal(size=(32, 8)).astype("float32"), np.arange(32) % 2
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
module = torch.nn.Linear(8, 2)
sgd = torch.optim.SGD(module.parameters(), lr=0.01)
pair = Pair(keras_model=model, torch_module=module, torch_loss=torch.nn.CrossEntropyLoss(), torch_optimizer=sgd,
            data=(x, y), batch_size=8, initialisation=False)
report = check_parity(pair, steps=5)
report.plot()
torch_plugin.attach(model, strict=True)
model.fit(x, y, epochs=2, verbose=0)
print(report.verdict, BirdPlaneClassifier(epochs=2).fit(x, y).predict(x).shape)
"""


@pytest.mark.slow
def test_warnings_as_errors_stop_nothing():
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[0] in ("rounding-only", "bit-exact")


def test_only_keras_own_warning_is_ignored():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with own_warnings_ignored():
            warnings.warn(f"{OF_NUMPY_2}, and so on", DeprecationWarning, stacklevel=1)
            with pytest.raises(DeprecationWarning):
                warnings.warn("another one", DeprecationWarning, stacklevel=1)
