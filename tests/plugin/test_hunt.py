"""The hunt: drawn trainings agree with stock Keras; where they do not, it finds that."""

import dataclasses

import pytest

from birdplane_keras.cli import hunt
from birdplane_keras.hunt.changes import CHANGES
from birdplane_keras.hunt.drawing import draw, simplest
from birdplane_keras.hunt.running import Outcome, judge
from birdplane_keras.hunt.telling import reproduction
from birdplane_keras.hunt.trainings import Training
from birdplane_keras.torch_plugin.guards import Guards

BAD = (Outcome.WRONG, Outcome.CRASHED)


@pytest.mark.parametrize("count", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_drawn_trainings_agree_with_stock_keras(count):
    found = [judge(training) for training in draw(count, seed=20)]
    assert len(found) == count
    assert [each for each in found if each.outcome in BAD] == []
    assert sum(each.on_engine for each in found) >= 0.6 * count or count < 10


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_agrees_with_stock_keras(change):
    finding = judge(Training(change=change, architecture="dropout", metrics="mae", source="batches"))
    assert finding.outcome not in BAD, finding


@pytest.mark.slow
def test_a_row_that_half_precision_counts_otherwise_is_no_difference():
    """Two classes of a row are equally likely, and a rounding decides which one the accuracy sees."""
    tie = Training(architecture="convolution", loss="crossentropy", metrics="mae and mse", optimizer="decayed",
                   source="batches", policy="mixed_bfloat16", reader="metric", audit="step", seed=2)  # fmt: skip
    finding = judge(tie)
    assert (finding.outcome, finding.words) == (Outcome.ROUNDING, ())


@pytest.mark.slow
def test_the_hunt_finds_guards_that_see_nothing(monkeypatch):
    monkeypatch.setattr(Guards, "hold", lambda self: True)
    training = Training(change="the place", optimizer="momentum", metrics="mae", seed=1)
    assert judge(training).outcome is Outcome.WRONG
    least = simplest(training, lambda one: judge(one).outcome in BAD)
    assert dataclasses.replace(least, step=1) == Training(change="the place", step=1)
    assert "judge(Training(change='the place'" in reproduction(least, judge(least))


def test_the_same_seed_draws_the_same_trainings():
    assert list(draw(5, seed=3)) == list(draw(5, seed=3)) != list(draw(5, seed=4))


def test_the_command_prints_a_table(capsys):
    assert hunt(["--cases", "1", "--seed", "2"]) == 0
    assert "1 trainings drawn with seed 2" in capsys.readouterr().out


def test_a_wrong_request_is_told_in_one_line(capsys):
    assert hunt(["--cases", "0"]) == 2
    assert capsys.readouterr().err == "hunt.py: error: expected --cases of at least 1, received 0\n"
