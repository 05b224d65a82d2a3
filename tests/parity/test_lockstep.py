"""Both sides side by side: one step from one state, amplified rounding, and the exact step of a break."""

import sys

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import sgd, vector_pair
from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.parity.core.compare import Check
from birdplane_keras.parity.core.judge import STEPS_PER_KINK, Findings, training_rungs
from birdplane_keras.parity.core.trajectory import find_exact_break, makes_the_same_step, train_in_lockstep
from birdplane_keras.parity.sides.bench import PairBench

NUDGE = 1e-7  # of the scripted copies
ROUNDING = 1e-9  # of the scripted port, at each step
WRONG = 1e-2


class ScriptedRun:
    """A run whose two weights are 1 and 1 plus a deviation, which a function of (step, deviation) moves."""

    def __init__(self, move, deviation=0.0, steps=0):
        self.move, self.deviation, self.steps, self.moved = move, deviation, steps, False

    def step(self, rows):
        assert rows[0] == self.steps
        if not (self.moved and self.move in NOWHERE_ELSE):
            self.deviation = self.move(self.steps, self.deviation)
        self.steps += 1
        return 0.5

    def names(self):
        return ["still", "moving"]

    def read(self, name):
        return np.array([1.0 + (self.deviation if name == "moving" else 0.0)])

    def read_some(self, name, places):
        return self.read(name)[places]

    def weights(self, *, trainable=None):
        return {name: self.read(name) for name in self.names()}

    def predict(self):
        return {"outputs": np.array([[0.0, 1.0], [1.0 + self.deviation, 0.0]])}


NOWHERE_ELSE = []  # movements that happen in the very state that the reference is in, and in none near by


def stay(step, deviation):
    return deviation


class ScriptedBench:
    """As much of a bench as a training run needs; a copy deviates by its nudge, and as `copies` says."""

    def __init__(self, port, copies=stay, can_synchronise=True):
        self.moves, self.copies, self.can_synchronise = port, copies, can_synchronise

    def plan(self, steps):
        return [np.array([step]) for step in range(steps)]

    def port(self):
        return ScriptedRun(self.moves)

    def reference(self, *, nudge=None):
        return ScriptedRun(stay) if nudge is None else ScriptedRun(self.copies, NUDGE)

    def fork(self, run, *, nudge):
        return ScriptedRun(self.copies, run.deviation + NUDGE, run.steps)

    def synchronise(self, port, reference, *, moved=None):
        if self.can_synchronise:
            port.deviation = reference.deviation
            port.moved = moved is not None
        return self.can_synchronise

    def to_loss(self, loss):
        return float(loss)


def kinks_at(*steps):
    """A port that rounds, and whose rounding, if there is any, is amplified at some steps."""
    return lambda step, deviation: deviation + ROUNDING + (WRONG if step in steps and deviation else 0.0)


def wrong_at(*steps):
    """A port that does something else at some steps, whatever its state is."""
    return lambda step, deviation: deviation + ROUNDING + (WRONG if step in steps else 0.0)


def climb_training(bench, steps):
    findings = Findings(noise={"loss": {"loss": NUDGE}})
    return list(training_rungs(bench, findings, steps=steps)), findings


def same_step(pair, step):
    bench = PairBench(pair, 0)
    with bench.keras.judged():
        bench.start_weights()
        return makes_the_same_step(bench, bench.plan(step + 1), step, [], loss_noise=1e-7)


PAIRS = {
    "sgd": lambda rate: vector_pair(0, keras_optimizer=keras.optimizers.SGD(0.05 * rate)),
    "momentum": lambda rate: vector_pair(
        0,
        torch_optimizer=sgd(0.02, momentum=0.9),
        keras_optimizer=keras.optimizers.SGD(0.02 * rate, momentum=0.9),
    ),
    "adam": lambda rate: vector_pair(
        0,
        torch_optimizer=lambda weights: torch.optim.Adam(weights, lr=0.005),
        keras_optimizer=torch_equivalents.Adam(0.005 * rate),
    ),
}


@pytest.mark.parametrize("step", [0, 1, 12])
@pytest.mark.parametrize("name", PAIRS)
def test_a_clean_pair_makes_the_same_step_from_one_state(name, step):
    keras.utils.set_random_seed(0)
    assert same_step(PAIRS[name](1.0), step)


@pytest.mark.parametrize("step", [0, 1, 12])
@pytest.mark.parametrize("name", PAIRS)
def test_a_port_with_another_rate_makes_another_step(name, step):
    keras.utils.set_random_seed(0)
    assert not same_step(PAIRS[name](1.001), step)


def test_the_step_at_which_a_schedule_parts_is_not_the_same():
    late = next(fault for fault in FAULTS if fault.name == "schedule_late")
    assert same_step(late.make(0), 8)
    assert not same_step(late.make(0), 10)


def test_a_scripted_port_that_only_rounds_passes():
    checks, findings = climb_training(ScriptedBench(kinks_at()), 40)
    assert all(check.passed for check in checks)
    assert findings.notes == []


def test_amplified_rounding_is_excused_once_and_noted():
    checks, findings = climb_training(ScriptedBench(kinks_at(12)), 40)
    assert all(check.passed for check in checks)
    assert "[12]" in findings.notes[0]
    assert "[12]" in checks[0].reason


@pytest.mark.parametrize("steps", [40, 250])
def test_amplified_rounding_is_excused_a_limited_number_of_times(steps):
    allowed = steps // STEPS_PER_KINK + 1
    places = [5 + 7 * index for index in range(allowed + 1)]
    checks, _ = climb_training(ScriptedBench(kinks_at(*places[:-1])), steps)
    assert all(check.passed for check in checks)
    checks, findings = climb_training(ScriptedBench(kinks_at(*places)), steps)
    assert not checks[0].passed
    assert checks[0].where["step"] == places[-1]
    assert findings.notes == []


def test_another_step_is_not_excused():
    checks, _ = climb_training(ScriptedBench(wrong_at(12)), 40)
    assert not checks[0].passed
    assert checks[0].where == {"tensor": "moving", "step": 12}


def test_a_port_whose_state_cannot_be_set_is_not_excused():
    checks, _ = climb_training(ScriptedBench(kinks_at(12), can_synchronise=False), 40)
    assert not checks[0].passed


def test_a_state_that_is_itself_at_a_kink_is_excused_and_a_fault_there_is_not(monkeypatch):
    port = wrong_at(12)
    checks, _ = climb_training(ScriptedBench(port), 40)
    assert checks[0].where == {"tensor": "moving", "step": 12}
    monkeypatch.setattr(sys.modules[__name__], "NOWHERE_ELSE", [port])
    checks, findings = climb_training(ScriptedBench(port), 40)
    assert all(check.passed for check in checks)
    assert "grown by steps [12]" in findings.notes[0]


def test_a_port_that_leaves_slowly_is_not_excused():
    """Every single step is within rounding of one step; all together they are not."""
    checks, _ = climb_training(ScriptedBench(lambda step, deviation: deviation + 2 * NUDGE), 200)
    assert not checks[0].passed


def test_a_port_that_is_not_finite_at_the_end_fails():
    checks, _ = climb_training(ScriptedBench(lambda step, deviation: np.nan if step == 30 else deviation), 40)
    assert not checks[0].passed
    assert checks[0].where["step"] == 30


@pytest.mark.parametrize("step", [0, 1, 17, 38, 39])
def test_the_exact_break_is_found_between_checkpoints(step):
    bench = ScriptedBench(wrong_at(step))
    check = Check(name="trajectory", passed=True, reason="")
    found, _ = find_exact_break(bench, bench.plan(40), check, agreed=-1, last=39, loss_noise=NUDGE)
    assert not found.passed
    assert (found.where["tensor"], found.where["step"]) == ("moving", step)


def test_the_exact_break_is_looked_for_after_the_last_agreement():
    bench = ScriptedBench(wrong_at(17))
    check = Check(name="trajectory", passed=True, reason="")
    found, _ = find_exact_break(bench, bench.plan(40), check, agreed=9, last=19, loss_noise=NUDGE)
    assert found.where["step"] == 17
    assert "all agreed after step 9" in found.reason


def test_a_drift_that_the_copies_had_earlier_is_allowed_when_the_break_is_looked_for():
    """The copies came far by step 5, so what the port does at step 34 is within bounds, and at step 35 is not."""

    def port(step, deviation):
        return {34: 1e-4, 35: 5 * WRONG}.get(step, deviation)

    def copies(step, deviation):
        return 1e-3 if step == 5 else NUDGE

    checks, _ = climb_training(ScriptedBench(port, copies), 40)
    assert checks[0].where == {"tensor": "moving", "step": 35}


def test_a_drift_that_the_copies_had_between_two_checkpoints_is_allowed():
    """Checkpoints are every tenth step; the copies come far at the fifth of each ten, the port at the tenth."""

    def port(step, deviation):
        return 1e-4 if step % 10 == 9 else ROUNDING

    def copies(step, deviation):
        return 1e-3 if step % 10 == 5 else NUDGE

    checks, _ = climb_training(ScriptedBench(port, copies), 200)
    assert checks[0].passed
    assert checks[1].passed


def test_a_failed_trajectory_says_where():
    """The same with a real break: no verdict without a place."""
    for step in (3, 4, 5, 6, 199):
        checks, _ = climb_training(ScriptedBench(wrong_at(step)), 200)
        assert not checks[0].passed
        assert checks[0].where["step"] == step


def test_the_runs_of_a_lockstep_have_met_the_same_batches():
    bench = ScriptedBench(wrong_at(3))
    together = train_in_lockstep(bench, bench.plan(8), [3, 7])
    assert {run.steps for run in together.runs.values()} == {8}
    assert [round(d["moving"] / WRONG) for d in together.distances] == [1, 1]
    assert [d["still"] for d in together.distances] == [0, 0]
    assert together.first_beyond(0) == "moving"


def test_a_distance_that_is_not_a_number_is_beyond():
    bench = ScriptedBench(lambda step, deviation: np.nan)
    assert train_in_lockstep(bench, bench.plan(2), [1]).first_beyond(0) == "moving"
