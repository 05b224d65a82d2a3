"""Both sides side by side: one step from one state, amplified rounding, and the exact step of a break."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import sgd, vector_pair
from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.parity.core import training
from birdplane_keras.parity.core.breaks import STEPS_PER_KINK, find_break, makes_the_same_step
from birdplane_keras.parity.core.check import Place
from birdplane_keras.parity.core.trajectory import Lockstep
from birdplane_keras.parity.sides.bench import PairBench
from parity.scripted import NUDGE, ROUNDING, WRONG, ScriptedBench, climb_with, kinks_at, wrong_at


def climb_training(bench, steps):
    """Takes the rungs `trajectory` to `predictions`; returns their checks and the notes."""
    climb = climb_with(bench, steps)
    first = training.trajectory(climb)
    rest = [training.final_weights(climb), training.predictions(climb)] if first.passed else []
    return [first, *rest], climb.notes


def same_step(pair, step):
    bench = PairBench(pair, 0)
    with bench.host.judged():
        bench.start_weights()
        return makes_the_same_step(bench, bench.plan(step + 1), step, loss_noise=1e-7, floor={})


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
    checks, notes = climb_training(ScriptedBench(kinks_at()), 40)
    assert all(check.passed for check in checks)
    assert notes == []


def test_amplified_rounding_is_excused_once_and_noted():
    checks, notes = climb_training(ScriptedBench(kinks_at(12)), 40)
    assert all(check.passed for check in checks)
    assert "[12]" in notes[0]
    assert "[12]" in checks[0].reason


@pytest.mark.parametrize("steps", [40, 250])
def test_amplified_rounding_is_excused_a_limited_number_of_times(steps):
    allowed = steps // STEPS_PER_KINK + 1
    places = [5 + 7 * index for index in range(allowed + 1)]
    checks, _ = climb_training(ScriptedBench(kinks_at(*places[:-1])), steps)
    assert all(check.passed for check in checks)
    checks, notes = climb_training(ScriptedBench(kinks_at(*places)), steps)
    assert not checks[0].passed
    assert checks[0].place.step == places[-1]
    assert notes == []


def test_another_step_is_not_excused():
    checks, _ = climb_training(ScriptedBench(wrong_at(12)), 40)
    assert not checks[0].passed
    assert checks[0].place == Place(tensor="moving", step=12, epoch=0, batch=12)


def test_a_port_whose_state_cannot_be_set_is_not_excused():
    checks, _ = climb_training(ScriptedBench(kinks_at(12), can_synchronise=False), 40)
    assert not checks[0].passed


def test_a_state_that_is_itself_at_a_kink_is_excused_and_a_fault_there_is_not():
    port = wrong_at(12)
    checks, _ = climb_training(ScriptedBench(port), 40)
    assert (checks[0].place.tensor, checks[0].place.step) == ("moving", 12)
    checks, notes = climb_training(ScriptedBench(port, nowhere_else=True), 40)
    assert all(check.passed for check in checks)
    assert "grown by steps [12]" in notes[0]


def test_a_port_that_leaves_slowly_is_not_excused():
    """Every single step is within rounding of one step; all together they are not."""
    checks, _ = climb_training(ScriptedBench(lambda step, deviation: deviation + 2 * NUDGE), 200)
    assert not checks[0].passed


def test_a_port_that_is_not_finite_at_the_end_fails():
    checks, _ = climb_training(ScriptedBench(lambda step, deviation: np.nan if step == 30 else deviation), 40)
    assert not checks[0].passed
    assert checks[0].place.step == 30


def trained_to(bench, steps, checkpoints):
    """Returns the runs, trained to their end or to where something was beyond."""
    together = Lockstep(bench, bench.plan(steps), checkpoints=checkpoints, loss_noise=NUDGE)
    together.advance(lambda run: run.beyond() is not None)
    return together


@pytest.mark.parametrize("step", [0, 1, 17, 38, 39])
def test_the_exact_break_is_found_between_checkpoints(step):
    bench = ScriptedBench(wrong_at(step))
    found = find_break(bench, trained_to(bench, 40, [39]))
    assert (found.tensor, found.step, found.agreed) == ("moving", step, -1)


def test_the_exact_break_is_looked_for_after_the_last_agreement():
    bench = ScriptedBench(wrong_at(17))
    found = find_break(bench, trained_to(bench, 40, [9, 19, 39]))
    assert (found.step, found.agreed) == (17, 9)
    checks, _ = climb_training(ScriptedBench(wrong_at(57)), 200)
    assert "all agreed after step 49" in checks[0].reason


def test_training_stops_at_the_checkpoint_that_shows_a_break():
    """What is told of the sides is read from both after the same steps: churn, weights, predictions."""
    climb = climb_with(ScriptedBench(wrong_at(57)), 200)
    assert not training.trajectory(climb).passed
    made = climb.training.together
    assert made.made == made.port.steps == made.reference.steps == 60
    assert climb.training.weights[0]["moving"] == pytest.approx(1 + WRONG)


def test_a_drift_that_the_copies_had_earlier_is_allowed_when_the_break_is_looked_for():
    """The copies came far by step 5, so what the port does at step 34 is within bounds, and at step 35 is not."""

    def port(step, deviation):
        return {34: 1e-4, 35: 5 * WRONG}.get(step, deviation)

    def copies(step, deviation):
        return 1e-3 if step == 5 else NUDGE

    checks, _ = climb_training(ScriptedBench(port, copies), 40)
    assert (checks[0].place.tensor, checks[0].place.step) == ("moving", 35)


def test_a_drift_that_the_copies_had_between_two_checkpoints_is_allowed():
    """Checkpoints are every tenth step; the copies come far at the fifth of each ten, the port at the tenth."""

    def port(step, deviation):
        return 1e-4 if step % 10 == 9 else ROUNDING

    def copies(step, deviation):
        return 1e-3 if step % 10 == 5 else NUDGE

    checks, _ = climb_training(ScriptedBench(port, copies), 200)
    assert checks[0].passed
    assert checks[1].passed


@pytest.mark.parametrize("step", [3, 4, 5, 6, 199])
def test_a_failed_trajectory_says_where(step):
    """No verdict without a place."""
    checks, _ = climb_training(ScriptedBench(wrong_at(step)), 200)
    assert not checks[0].passed
    assert checks[0].place.step == step


def test_the_runs_of_a_lockstep_have_met_the_same_batches():
    bench = ScriptedBench(wrong_at(3))
    together = Lockstep(bench, bench.plan(8), checkpoints=[3, 7])
    assert not together.advance(lambda run: False)
    assert {run.steps for run in together.runs} == {8}
    assert [round(d["moving"] / WRONG) for d in together.distances] == [1, 1]
    assert [d["still"] for d in together.distances] == [0, 0]


def test_a_distance_that_is_not_a_number_is_beyond():
    bench = ScriptedBench(lambda step, deviation: np.nan)
    assert trained_to(bench, 2, [1]).beyond() == "moving"


def test_where_no_bit_differs_no_copy_is_made():
    bench = ScriptedBench(lambda step, deviation: deviation)
    climb = climb_with(bench, 40)
    assert training.trajectory(climb).passed
    assert climb.training.together.copies == []
    assert training.final_weights(climb).passed
    rounding = climb_with(ScriptedBench(kinks_at()), 40)
    assert training.trajectory(rounding).passed
    assert len(rounding.training.together.copies) == 2
