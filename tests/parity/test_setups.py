"""Ordinary set-ups, as people have them: none is accused, and one mistake in any of them is."""

import keras
import pytest
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, mlp, sgd, stack, vector_pair
from birdplane_keras.errors import PairError
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.judge import MATCHES
from parity.setups_training import SETUPS, TOLD  # with those of `setups`


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def alternating(first):
    """All set-ups, every second of them marked as slow."""
    return [pytest.param(n, marks=[] if i % 2 == first else [pytest.mark.slow]) for i, n in enumerate(SETUPS)]


@pytest.mark.parametrize("name", alternating(0))
def test_a_port_that_is_right_is_not_accused(name):
    pair = SETUPS[name](wrong=False)
    result = check_parity(pair, steps=40)
    assert result.verdict in MATCHES, str(result)
    assert all(weight.grad is None for weight in pair.torch_module.parameters())


@pytest.mark.parametrize("name", alternating(1))
def test_a_port_with_one_mistake_is(name):
    result = check_parity(SETUPS[name](wrong=True), steps=40)
    assert result.verdict == "diverged"
    if TOLD[name] is not None:
        assert result.diagnosis[0].cause == TOLD[name], str(result)


def test_batches_may_be_lists_of_row_numbers():
    pair = vector_pair(0, batches=lambda epoch: ([4 * i, 4 * i + 1, 4 * i + 2] for i in range(5)))
    assert check_parity(pair, steps=10).verdict in MATCHES


class Halved(keras.layers.Layer):
    """Multiplies by a number that has the name of a rate of Dropout, and is none."""

    def __init__(self):
        super().__init__()
        self.rate = 0.5

    def call(self, x):
        return x * self.rate


class HalvedInTorch(nn.Module):
    def forward(self, x):
        return x * 0.5


def test_a_number_that_is_called_a_rate_is_not_switched_off():
    model = stack((FEATURES,), [dense(FEATURES, 16, "tanh"), Halved(), dense(16, CLASSES)])
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), HalvedInTorch(), nn.Linear(16, CLASSES))
    assert check_parity(vector_pair(0, module=module, model=model), steps=10).verdict in MATCHES


@pytest.mark.parametrize("limit", [0.3, 0.4])
def test_a_clip_that_closes_over_the_module_clips_the_copy(limit):
    module = mlp()
    pair = vector_pair(
        0,
        module=module,
        torch_clip=lambda _: nn.utils.clip_grad_value_(module.parameters(), 0.003),
        keras_optimizer=keras.optimizers.SGD(0.1, clipvalue=0.003 if limit == 0.3 else 0.004),
        torch_optimizer=sgd(0.1),
    )
    assert (check_parity(pair, steps=10).verdict in MATCHES) == (limit == 0.3)


def test_a_penalty_that_was_made_before_is_refused_in_one_line():
    """Whatever is trained, it is of the person's own weights: the copies that the judge trains have no part in it."""
    module = mlp()
    size = sum(weight.abs().sum() for weight in module.parameters())
    pair = vector_pair(0, module=module, torch_loss=lambda o, t: nn.functional.cross_entropy(o, t) + 1e-3 * size)
    with pytest.raises(PairError, match=r"reaches 0\.weight by a tensor that was made from it before") as raised:
        check_parity(pair, steps=5)
    assert "\n" not in str(raised.value)
    assert all(weight.grad is None for weight in module.parameters())
