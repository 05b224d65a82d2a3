"""What is added to the judge is one object and one entry in its list; here each is added on the fly, and used."""

import keras
import numpy as np
import pytest
import torch
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, mlp, mlp_port, stack, vector_pair
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.causes import registry as causes
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise
from birdplane_keras.parity.core import judge, rungs
from birdplane_keras.parity.core.compare import compare_tensors
from birdplane_keras.parity.kinds import layouts
from birdplane_keras.parity.kinds import registry as kinds
from birdplane_keras.parity.kinds.kind import Kind, Setting, of, set_attribute, simple_rules
from birdplane_keras.parity.kinds.repairing import setting
from birdplane_keras.parity.optimizers import registry as optimizers
from birdplane_keras.parity.optimizers.optimizer import OptimizerKind
from birdplane_keras.parity.sides.bench import PairBench


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def first_failure(result):
    return next((check.name for check in result.checks if not check.passed), None)


# --- a kind of layer -------------------------------------------------------------------------------------------------


class Gain(nn.Module):
    """Multiplies each feature by a weight, and all by a strength; its weight lies upside down in the port."""

    def __init__(self, strength=1.0):
        super().__init__()
        self.weight, self.strength = nn.Parameter(torch.rand(FEATURES) + 0.5), strength

    def forward(self, x):
        return x * self.weight * self.strength


class GainInKeras(keras.layers.Layer):
    def __init__(self, strength=1.0):
        super().__init__()
        self.strength = strength

    def build(self, shape):
        self.factors = self.add_weight(shape=(FEATURES,), initializer="ones", name="factors")

    def call(self, x):
        return x * keras.ops.flip(self.factors) * self.strength


def settings_of_gain(layer, module):
    if layer.strength != module.strength:
        yield Setting(
            cause="strength",
            what="strength",
            ours=f"{layer.strength:g}",
            theirs=f"{module.strength:g}",
            fix=f"strength={module.strength:g}",
            edit=set_attribute("strength", layer.strength),
            repair=setting(strength=module.strength),
        )


upside_down = layouts.reordered(np.arange(FEATURES)[::-1], 0)
GAIN = Kind(
    name="Gain",
    is_keras=of(GainInKeras),
    is_torch=of(Gain),
    rules=lambda ours, theirs, order: simple_rules(ours, theirs, {"factors": ("weight", upside_down)}),
    settings=settings_of_gain,
)


def gained(strength=1.0):
    model = stack((FEATURES,), [GainInKeras(strength), dense(FEATURES, CLASSES)])
    module = nn.Sequential(Gain(), nn.Linear(FEATURES, CLASSES))
    return vector_pair(0, module=module, model=model, initialisation=False)


def test_a_kind_of_layer_is_one_object_and_one_entry(monkeypatch):
    assert first_failure(check_parity(gained(), steps=5)) is not None  # nobody knows that it lies upside down
    monkeypatch.setattr(kinds, "KINDS", [*kinds.KINDS, GAIN])
    keras.utils.set_random_seed(0)
    assert check_parity(gained(), steps=5).verdict == "rounding-only"
    (finding,) = check_parity(gained(strength=1.1), steps=5).diagnosis
    assert (finding.cause, [fix.tried for fix in finding.fixes]) == ("strength", [True])


# --- an optimizer ----------------------------------------------------------------------------------------------------

ADAMAX = OptimizerKind(
    name="Adamax",
    is_keras=lambda optimizer: isinstance(optimizer, keras.optimizers.Adamax),
    is_torch=lambda optimizer: isinstance(optimizer, torch.optim.Adamax),
    settings={"learning_rate": ("lr", "learning_rate"), "beta_2": (("betas", 1), "infinity_decay")},
    torch_states=("exp_avg", "exp_inf"),
    states=lambda optimizer: {"exp_avg": (optimizer._m, 1.0), "exp_inf": (optimizer._u, 1.0)},
)


def maximal(beta=0.999):
    return vector_pair(
        0,
        module=mlp(nn.Tanh),
        model=mlp_port("tanh"),
        torch_optimizer=lambda weights: torch.optim.Adamax(weights, lr=0.002, eps=1e-30),
        keras_optimizer=keras.optimizers.Adamax(0.002, beta_2=beta, epsilon=1e-30),
    )


def states_compared(result):
    check = next(check for check in result.checks if check.name == "optimizer_state")
    return {row["name"].rpartition(": ")[2] for row in check.tensors if ": " in row["name"]}


def test_an_optimizer_is_one_object_and_one_entry(monkeypatch):
    assert states_compared(check_parity(maximal(), steps=5)) == set()
    monkeypatch.setattr(optimizers, "OPTIMIZERS", [*optimizers.OPTIMIZERS, ADAMAX])
    keras.utils.set_random_seed(0)
    result = check_parity(maximal(), steps=5)
    assert result.verdict == "rounding-only"
    assert states_compared(result) == {"exp_avg", "exp_inf"}
    (finding,) = check_parity(maximal(beta=0.9), steps=5).diagnosis
    assert finding.cause == "infinity_decay"
    assert "0.9 in Keras, 0.999 in PyTorch" in finding.text


# --- a hypothesis ----------------------------------------------------------------------------------------------------


class Third(keras.layers.Layer):
    def call(self, x):
        return x / 3


def suppose_thirds(case):
    yield Hypothesis(
        cause="a_third",
        text="the port returns a third of the reference's scores",
        advice=advise("multiply them by 3"),
        change=lambda run: setattr(run, "change_outputs", lambda outputs: outputs / 3),
    )


def thirds():
    return vector_pair(0, model=stack((FEATURES,), [*mlp_port().layers, Third()]))


def test_a_hypothesis_is_one_function_and_one_entry(monkeypatch):
    assert check_parity(thirds(), steps=5).diagnosis[0].cause == "added_operation"
    source = causes.Source(rungs=("forward",), suppose=suppose_thirds)
    monkeypatch.setattr(causes, "HYPOTHESES", [*causes.HYPOTHESES, source])
    (finding,) = check_parity(thirds(), steps=5).diagnosis
    assert (finding.cause, finding.fix) == ("a_third", "multiply them by 3 (not tried)")


def suppose_nothing(case):
    yield from suppose_thirds(case)
    raise AttributeError("no such layer")


def test_a_source_that_fails_on_a_pair_takes_no_verdict_with_it(monkeypatch):
    broken = causes.Source(rungs=("forward",), suppose=suppose_nothing)
    monkeypatch.setattr(causes, "HYPOTHESES", [broken, *causes.HYPOTHESES])
    result = check_parity(vector_pair(0, model=mlp_port("tanh")), steps=5)
    assert result.diagnosis[0].cause == "activation"
    (note,) = [note for note in result.notes if "could not be asked" in note]
    assert note == "suppose_nothing could not be asked for causes: AttributeError: no such layer"


# --- a rung ----------------------------------------------------------------------------------------------------------


def widest_layers(climb):
    """`widest`: the number of units of the widest layer."""
    ours, theirs = climb.bench.widest()
    return compare_tensors("widest", {"units": ours}, {"units": theirs}, reason="whole numbers")


def units(bench):
    ours = max(weight.shape[-1] for weight in bench.pair.keras_model.weights)
    return np.array(ours), np.array(max(weight.shape[0] for weight in bench.pair.torch_module.parameters()))


def test_a_rung_is_one_entry_and_one_method_of_the_bench(monkeypatch):
    rung = rungs.Rung(name="widest", take=widest_layers)
    place = rungs.names().index("parameter_counts")
    ladder = [*rungs.LADDER[:place], rung, *rungs.LADDER[place:]]
    monkeypatch.setattr(rungs, "LADDER", ladder)
    monkeypatch.setattr(judge, "LADDER", ladder)
    monkeypatch.setattr(PairBench, "widest", units, raising=False)
    result = check_parity(vector_pair(0), steps=5)
    assert result.verdict == "rounding-only"
    assert [check.name for check in result.checks][place] == "widest"
    wider = vector_pair(0, model=mlp_port(width=24))
    assert first_failure(check_parity(wider, steps=5)) == "widest"
