"""A program's own loop, held after every step, is the loop that nobody holds."""

import dataclasses

import numpy as np
import pytest

from birdplane_keras.flagship.loops import LoopRun
from birdplane_keras.flagship.port import Port
from birdplane_keras.flagship.reference import Reference
from birdplane_keras.recipe import build_recipe

STEPS = 157  # 10,000 images in batches of 64


@pytest.fixture(scope="module")
def programs(data_dir):
    recipe = build_recipe("small", epochs=1)
    options = {"data_dir": data_dir, "device": "cpu", "synthetic": False}
    reference = Reference(recipe, **options)
    return {"torch": reference, "keras": Port(recipe, reference=reference.build(), engine="exact", **options)}


@pytest.fixture(scope="module")
def alone(programs):
    """What each program leaves when it is run by itself."""
    return {
        side: program.train(program.new_model(), lambda step, loss: None, lambda epoch, metrics: None)
        for side, program in programs.items()
    }


def bits(tensors):
    return {name: value.tobytes() for name, value in tensors.items()}


@pytest.mark.slow
def test_loops_that_are_held_step_by_step_end_in_the_same_bits(programs, alone):
    """Four of them at once, in turns: two of each program."""
    runs = {side: [LoopRun(program, STEPS) for _ in range(2)] for side, program in programs.items()}
    losses = [[run.step(np.arange(0)).tobytes() for pair in runs.values() for run in pair] for _ in range(STEPS)]
    for column, side in enumerate(("torch", "torch", "keras", "keras")):
        run, made = runs[side][column % 2], alone[side]
        assert b"".join(row[column] for row in losses) == made.step_losses.tobytes()
        assert bits(run.weights()) == bits(made.weights)
        assert run.predict()["outputs"].tobytes() == made.validation_logits.tobytes()
        assert dataclasses.asdict(run.record)["history"] == made.history


@pytest.mark.parametrize("side", ["torch", "keras"])
def test_a_loop_that_is_ended_early_leaves_no_record_and_can_still_be_asked(programs, side):
    ended = []
    run = LoopRun(programs[side], STEPS, lambda epoch, metrics: ended.append(epoch))
    before = bits(run.weights())
    for _ in range(3):
        run.step(np.arange(0))
    run.close()
    assert bits(run.weights()) != before
    assert run.predict()["outputs"].shape == (2000, 2)
    assert (run.record, ended) == (None, [])
    with pytest.raises(RuntimeError, match="has ended"):
        run.step(np.arange(0))


def test_a_loop_that_has_ended_makes_no_more_steps(programs):
    run = LoopRun(programs["torch"], STEPS)
    for _ in range(STEPS):
        run.step(np.arange(0))
    run.predict()
    with pytest.raises(RuntimeError, match="has ended"):
        run.step(np.arange(0))
