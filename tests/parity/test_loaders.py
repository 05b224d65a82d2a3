"""Data as people have them: loaders, datasets and generators in place of arrays."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from birdplane_keras.errors import PairError
from birdplane_keras.parity import Pair, check_forward, check_parity
from birdplane_keras.parity.core.check import first_failure
from birdplane_keras.parity.core.judge import MATCHES

X = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 20)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def dataset():
    return TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))


class Batches(keras.utils.PyDataset):
    """The same in batches of eight; `shift` makes its inputs others."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return X[rows] + np.float32(self.shift), Y[rows]


def generated():
    return ((X[start : start + 8], Y[start : start + 8]) for start in range(0, 20, 8))


def dictionaries():
    return ({"input": torch.as_tensor(x), "labels": torch.as_tensor(y)} for x, y in generated())


LOADERS = {
    "DataLoader": lambda: DataLoader(dataset(), batch_size=8, shuffle=True),
    "Dataset": dataset,
    "PyDataset": Batches,
    "generator": generated,
    "dictionaries": dictionaries,
}


def pair(data, **changes):
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    given = {
        "keras_model": model,
        "torch_module": module,
        "torch_loss": nn.CrossEntropyLoss(),
        "torch_optimizer": torch.optim.SGD(module.parameters(), lr=0.1),
        "data": data,
        "batch_size": 8,
        "initialisation": False,
    }
    return Pair(**given | changes)


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_stands_for_arrays(name):
    changes = {"to_keras": lambda given: given["input"]} if name == "dictionaries" else {}
    result = check_parity(pair(LOADERS[name](), **changes), steps=7)
    assert result.verdict in MATCHES, str(result)
    assert result.steps_made == 7


def test_batches_keep_their_sizes_and_their_order():
    seen = []

    class Noting(nn.Sequential):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    module = Noting(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    given = pair(generated(), torch_module=module, torch_optimizer=torch.optim.SGD(module.parameters(), lr=0.1))
    assert check_parity(given, steps=3).verdict in MATCHES
    assert {8, 4} <= {*seen}


def test_a_port_has_a_loader_of_its_own():
    assert (
        check_parity(pair((X, Y), keras_data=Batches(), batches=rows, keras_batches=rows), steps=3).verdict in MATCHES
    )
    wrong = check_parity(pair(generated(), keras_data=Batches(shift=0.5)), steps=3)
    assert first_failure(wrong.checks).name == "data"


def rows(epoch):
    return [np.arange(0, 8), np.arange(8, 16), np.arange(16, 20)]


def test_forward_takes_the_first_batch_of_a_loader():
    given = pair((X, Y))
    loader = DataLoader(dataset(), batch_size=5)
    result = check_forward(torch_module=given.torch_module, keras_model=given.keras_model, inputs=loader)
    assert result.verdict in MATCHES


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (iter(()), "received a tuple_iterator without any"),
        (iter([(X[:4], Y[:4]), (X[:4, :5], Y[:4])]), "pad them alike"),
    ],
)
def test_what_is_no_data_is_said(data, told):
    with pytest.raises(PairError, match=told):
        check_parity(pair(data), steps=2)


def test_batches_beside_a_loader_are_refused():
    with pytest.raises(PairError, match="which has batches of its own"):
        check_parity(pair(generated(), batches=rows), steps=2)
