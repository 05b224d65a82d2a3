"""What is kept for later: large arrays in a file, large tensors asleep."""

import contextlib
import gc
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import torch
from torch import nn

from birdplane_keras.errors import BirdplaneError
from birdplane_keras.parity import check_forward
from birdplane_keras.parity.core.shelf import LARGE, STORE, Kept, Shelf
from birdplane_keras.parity.sides import memory
from birdplane_keras.parity.sides.asleep import RestingRun
from birdplane_keras.parity.sides.kept import Asleep, KeptTensor, keep

MANY = LARGE // 4  # numbers in float32 that are large


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "bool"])
@pytest.mark.parametrize("size", [0, 3, LARGE])
def test_an_array_is_kept_as_it_was(dtype, size):
    array = np.arange(size).astype(dtype).reshape(1, size)
    kept, before = Kept(array), array.copy()
    array += 1 if dtype != "bool" else True
    assert kept.read().dtype == before.dtype
    assert kept.read().shape == before.shape
    assert kept.read().tobytes() == before.tobytes()


def test_space_that_nobody_needs_is_used_again():
    first = Kept(np.ones(MANY + 7, np.float32))
    gc.collect()
    end = STORE._end
    del first
    again = [Kept(np.full(MANY + 7, number, np.float32)) for number in range(2)]
    assert STORE._end <= end + again[0].read().nbytes
    assert [kept.read()[5] for kept in again] == [0, 1]


def test_a_shelf_reads_one_array_at_a_time():
    asked = []
    shelf = Shelf.of("ab", lambda name: asked.append(name) or np.zeros(1))
    assert list(shelf) == ["a", "b"]
    assert "c" not in shelf
    assert not asked
    assert shelf["b"].shape == (1,)
    assert asked == ["b"]
    with pytest.raises(KeyError):
        shelf["c"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_that_did_not_change_are_kept_once(dtype):
    tensors = [torch.arange(LARGE).to(dtype), torch.arange(3)]
    before = keep(tensors)
    tensors[0] = tensors[0].clone()
    assert keep(tensors, before)[0] is before[0]
    tensors[0][7] += 1
    after = keep(tensors, before)
    assert after[0] is not before[0]
    assert torch.equal(after[0].read(), tensors[0])
    assert KeptTensor(tensors[0].T).read().dtype == dtype


def test_a_tensor_sleeps_and_wakes_as_it_was_whatever_its_layout():
    module = nn.Linear(512, 1024)
    module.weight.data = module.weight.data.T.contiguous().T
    before, stride, asleep = module.weight.detach().clone(), module.weight.stride(), Asleep()
    asleep.put(module.parameters())
    assert module.weight.numel() == 0
    assert module.bias.numel() == 1024  # a small one
    with asleep.awake([module.weight]):
        assert torch.equal(module.weight, before)
    assert module.weight.numel() == 0
    asleep.wake()
    assert torch.equal(module.weight, before)
    assert module.weight.stride() == stride


@pytest.mark.parametrize("see", [lambda w: w[:3], lambda w: w.detach(), lambda w: w.detach().numpy()])
def test_memory_that_others_see_too_stays(see):
    weight = nn.Parameter(torch.zeros(MANY))
    seen, asleep = see(weight), Asleep()
    asleep.put([weight])
    asleep.wake()
    with torch.no_grad():
        weight[0] = 5
    assert seen[0] == 5


@pytest.mark.parametrize(("size", "called"), [(8, []), (4096, [(-3, 2**16), (-3, 2**25), (-1, 2**26)])])
def test_each_array_of_a_large_model_has_memory_of_its_own_while_it_is_judged(monkeypatch, size, called):
    calls = []
    monkeypatch.setattr(memory, "of_glibc", lambda name: lambda *numbers: calls.append(numbers))
    module = nn.Linear(size, size)
    with contextlib.suppress(ValueError), memory.memory_given_back(module):
        assert calls == called[:1]
        raise ValueError
    assert calls == called


def test_memory_is_not_given_back_where_there_is_no_glibc(monkeypatch):
    monkeypatch.setattr(memory, "of_glibc", lambda name: None)
    with memory.memory_given_back(nn.Linear(4096, 4096)):
        memory.give_back_memory(large=True)
    with memory.memory_given_back("no module"):
        pass


class Accumulating(keras.Model):
    """A model whose own step goes on with the gradients that the last one left."""

    def train_step(self, data):
        raise NotImplementedError  # nobody makes a step here


def test_a_port_whose_own_step_may_go_on_with_its_gradients_keeps_them():
    inputs = keras.Input((4,))
    for model, fits in ((keras.Model, True), (Accumulating, False)):
        host = SimpleNamespace(plugin=None, model=model(inputs, keras.layers.Dense(3)(inputs)))
        assert RestingRun.fits(host) is fits
    assert not RestingRun.fits(SimpleNamespace(plugin=object(), model=keras.Sequential()))


def test_a_lazy_reference_is_refused_as_such():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(BirdplaneError, match="lazy"):
        check_forward(torch_module=nn.LazyLinear(3), keras_model=model, inputs=np.zeros((2, 4), np.float32))
