"""A judgement comes back: in bounded time and memory, where outputs are large or layers are many."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.parity import Pair, channels_last, check_parity
from torch_reference.torchvision_on_cpu import import_torchvision

ROOT = Path(__file__).parents[2]
MAPS = """
import json, time
import birdplane_keras, keras, numpy as np, torch
from torch import nn
from birdplane_keras.benchmark.memory import peak_resident
from birdplane_keras.parity import Pair, channels_last, check_parity

torch.manual_seed(0)
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(32, 3, 64, 64)).astype("float32")
y = rng.integers(0, 4, size=(32, 64, 64))
module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
made = [keras.layers.Conv2D(8, 3, padding="same", activation="relu"), keras.layers.Conv2D(4, 1)]
model = keras.Sequential([keras.Input((64, 64, 3)), *made])
shares = torch.tensor([1.0, 3.0, 1.0, 1.0])

def weighted(targets, outputs):
    losses = torch.nn.functional.cross_entropy(outputs.movedim(-1, 1), targets.long(), reduction="none")
    return (losses * shares[targets.long()]).sum() / shares[targets.long()].sum()

model.compile(keras.optimizers.SGD(0.05), weighted)
model.train_on_batch(channels_last(x[:16]), y[:16])  # so that it holds all that it holds in training
loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))
loss(module(torch.from_numpy(x[:16])), torch.from_numpy(y[:16])).backward()
pair = Pair(
    keras_model=model, torch_module=module, torch_loss=loss, data=(x, y), batch_size=16, initialisation=False,
    torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.05),
    to_keras=channels_last, outputs_to_keras=channels_last,
)
held, started = peak_resident(), time.monotonic()
result = check_parity(pair, steps=40)
finding = result.diagnosis[0]
print(json.dumps([finding.cause, finding.text, time.monotonic() - started, peak_resident() - held]))
"""


@pytest.mark.slow
def test_a_wrong_weight_of_a_class_of_pixels_is_named_in_seconds_and_in_modest_memory():
    command = [sys.executable, "-c", MAPS]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert child.returncode == 0, child.stderr
    cause, text, seconds, more = json.loads(child.stdout)
    assert cause == "class_weights"
    assert "{0: 1.0, 1: 3.0, 2: 1.0, 3: 1.0}" in text
    assert "{0: 1.0, 1: 2.0, 2: 1.0, 3: 1.0}" in text
    assert seconds < 20
    assert more < 1e9


class Bottlenecks:
    """ResNet50 in Keras, its layers called as torchvision calls them, with dots as underscores.

    Args:
        first: Whether a block's first convolution has its stride, as in the original paper; torchvision's second has.
    """

    def __init__(self, *, first: bool) -> None:
        self.first = first

    def convolution(self, x, filters, size, stride, name):
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        return layers.Conv2D(filters, size, strides=stride, use_bias=False, name=name)(x)

    def normalised(self, x, name):
        return torch_equivalents.BatchNormalization(epsilon=1e-5, momentum=0.9, name=name)(x)

    def block(self, x, width, stride, name, *, shortcut):
        one, two = (stride, 1) if self.first else (1, stride)
        y = layers.ReLU()(self.normalised(self.convolution(x, width, 1, one, f"{name}_conv1"), f"{name}_bn1"))
        y = layers.ReLU()(self.normalised(self.convolution(y, width, 3, two, f"{name}_conv2"), f"{name}_bn2"))
        y = self.normalised(self.convolution(y, 4 * width, 1, 1, f"{name}_conv3"), f"{name}_bn3")
        if shortcut:
            x = self.convolution(x, 4 * width, 1, stride, f"{name}_downsample_0")
            x = self.normalised(x, f"{name}_downsample_1")
        return layers.ReLU()(layers.Add()([y, x]))

    def model(self, classes):
        inputs = keras.Input((32, 32, 3))
        x = layers.ReLU()(self.normalised(self.convolution(inputs, 64, 7, 2, "conv1"), "bn1"))
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
        for stage, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 1):
            for index in range(blocks):
                stride = 2 if index == 0 and stage > 1 else 1
                x = self.block(x, width, stride, f"layer{stage}_{index}", shortcut=index == 0)
        return keras.Model(inputs, layers.Dense(classes, name="fc")(layers.GlobalAveragePooling2D()(x)))


def resnet(*, first):
    keras.utils.set_random_seed(0)
    model = Bottlenecks(first=first).model(10)
    import_torchvision()
    from torchvision.models import resnet50

    module = resnet50(num_classes=10)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    return Pair(
        keras_model=model,
        torch_module=module,
        torch_loss=nn.CrossEntropyLoss(),
        torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.01),
        data=(rng.normal(size=(32, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, size=32)),
        to_keras=channels_last,
        batch_size=8,
        initialisation=False,
    )


@pytest.mark.slow
def test_the_stride_of_the_first_version_of_resnet50_is_named_within_the_time_for_it():
    result = check_parity(resnet(first=True), steps=5)
    (finding,) = result.diagnosis
    assert finding.cause == "stride"
    assert all(fix.tried for fix in finding.fixes)
    assert "layer2_0_conv1, layer3_0_conv1, layer4_0_conv1" in finding.fixes[0].text
    assert "layer2_0_conv2, layer3_0_conv2, layer4_0_conv2" in finding.fixes[1].text
    assert result.notes == []


@pytest.mark.slow
def test_a_resnet50_that_is_right_is_not_accused():
    assert check_parity(resnet(first=False), steps=5).verdict == "rounding-only"


RECORDED = """
import json, sys, time
import numpy as np, torch
from birdplane_keras.benchmark.memory import peak_resident
from birdplane_keras.parity.programs.recorded import record_calls
from birdplane_keras.parity.sides.bench import PairBench
from parity.test_bounds import resnet

torch.set_num_threads(1)
rows, found = np.arange(8), {}
bench = PairBench(resnet(first=False), 0)
run = bench.port() if sys.argv[1] == "port" else bench.reference()
built = peak_resident()
run.step(rows)
run.step(rows)
own = peak_resident() - built
started = time.perf_counter()
run.step(rows)
seconds = time.perf_counter() - started
started = time.perf_counter()
record_calls(run, rows)
print(json.dumps([own, peak_resident() - built, seconds, time.perf_counter() - started]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("side", ["port", "reference"])
def test_a_recorded_step_takes_less_than_twice_its_memory_and_twenty_times_its_time(side):
    at_once = {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "0"}  # what is freed goes back
    environment = {**os.environ, **at_once, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", RECORDED, side]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert child.returncode == 0, child.stderr
    own, recorded, seconds, watched = json.loads(child.stdout)
    assert own > 0
    assert recorded < 2 * own
    assert watched < 20 * seconds
