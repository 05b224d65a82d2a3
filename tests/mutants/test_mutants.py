"""Pairs and mistakes are drawn by seed, written, judged, and counted."""

import numpy as np
import pytest

from birdplane_keras.cli import mutants
from birdplane_keras.mutants import judging
from birdplane_keras.mutants.drawing import FAMILIES, draw_plan
from birdplane_keras.mutants.edits import draw_edit, edits_of
from birdplane_keras.mutants.judging import judge_clean, judge_seed
from birdplane_keras.mutants.telling import describe, is_sound, render
from birdplane_keras.mutants.writing import PORT, REFERENCE, write

SEED = 5


def test_a_seed_draws_the_same_pair_and_the_same_mistake_each_time():
    plans = [draw_plan([SEED, 3]) for _ in range(2)]
    assert plans[0] == plans[1]
    assert draw_plan([SEED, 4]) != plans[0]
    edits = [draw_edit(plans[0], np.random.default_rng(1))[1] for _ in range(2)]
    assert edits[0] == edits[1]


def test_every_family_and_every_section_is_drawn():
    plans = [draw_plan([SEED, n]) for n in range(60)]
    assert len({plan.inputs for plan in plans}) == len({inputs for _, inputs in FAMILIES.values()})
    assert {len(plan.outputs) for plan in plans} == {1, 2}
    assert {bool(plan.schedule) for plan in plans} == {bool(plan.update) for plan in plans} == {True, False}
    sections = {draw_edit(plan, np.random.default_rng(n))[1].section for n, plan in enumerate(plans)}
    assert sections == {"network", "loss", "update", "optimizer", "schedule", "pipeline"}


def test_an_edit_changes_the_port_in_the_line_that_it_says():
    plan = draw_plan([SEED, 0])
    for port, edit in edits_of(plan, "network"):
        before, after = (write(each, PORT) for each in (plan, port))
        changed = {a for a in after.text.split("\n") if a not in before.text.split("\n")}
        numbers = [n for name in (edit.name, *edit.near) for n in after.lines.get(("network", name), ())]
        lines = {after.text.split("\n")[number - 1] for number in numbers}
        assert changed <= lines or edit.kind == "dropped", edit


def test_both_sides_write_what_compiles():
    for number in range(20):
        for side in (REFERENCE, PORT):
            compile(write(draw_plan([SEED, number]), side).text, "drawn", "exec")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_drawn_pair_is_right_and_a_mistake_in_it_is_told(number):
    found = judge_seed(SEED, number)
    assert found["alarm"] == ""
    (outcome,) = found["outcomes"]
    assert [outcome[column] for column in ("caught", "wrong")] == [True, False], outcome["told"]


@pytest.mark.slow
def test_a_share_of_the_hunt_for_mutants():
    found = [judge_seed(SEED, number) for number in range(2, 22)]
    assert is_sound(found), "\n".join(text for each in found for text in describe(each, everything=False))
    outcomes = [outcome for each in found for outcome in each["outcomes"]]
    assert sum(outcome["placed"] for outcome in outcomes) >= 0.9 * len(outcomes)
    assert sum(outcome["explained"] for outcome in outcomes) >= 0.8 * len(outcomes)
    assert sum(outcome["wrong"] for outcome in outcomes) <= 1


@pytest.mark.slow
def test_two_mistakes_at_once_are_told_together():
    found = [judge_seed(SEED, number, 2) for number in range(8)]
    assert sum(all(outcome["placed"] for outcome in each["outcomes"]) for each in found) >= 7


def test_a_judge_that_sees_nothing_is_found_out(monkeypatch, tmp_path):
    """Control: what is missed, and who is accused, is counted."""

    class Blind:
        verdict = "rounding-only"

    monkeypatch.setattr(judging, "check_parity", lambda pair, steps: Blind())
    found = [judge_seed(SEED, 0)]
    assert found[0]["outcomes"][0]["state"] == "missed"
    assert not is_sound(found)

    class Nervous:
        verdict = "diverged"

        def __str__(self):
            return "something"

    monkeypatch.setattr(judging, "check_parity", lambda pair, steps: Nervous())
    assert judge_clean(draw_plan([SEED, 0]), tmp_path) == "something"


def test_the_table_counts_by_section():
    outcome = {"edit": "e", "section": "loss", "state": "caught", "caught": True, "placed": True, "explained": False}
    found = [{"number": 0, "mistakes": 1, "alarm": "", "outcomes": [outcome | {"wrong": False, "told": ""}]}]
    table = render(found, seed=3, date="2026-01-02")
    assert "| loss | 1 | 1 (100%) | 1 (100%) | 0 (0%) | 0 (0%) |" in table
    assert "1 pairs drawn with seed 3: 0 false alarms" in table
    assert list(describe(found[0], everything=False)) == []
    assert "not explained" in next(describe(found[0], everything=True))


@pytest.mark.slow
def test_the_command_judges_a_pair(capsys):
    assert mutants(["--mutants", "1", "--seed", "5"]) == 0
    assert "| **all** |" in capsys.readouterr().out


@pytest.mark.parametrize(("flag", "value"), [("--mutants", "0"), ("--mistakes", "4"), ("--jobs", "0")])
def test_an_unusable_request_is_one_line(flag, value, capsys):
    assert mutants([flag, value]) == 2
    assert capsys.readouterr().err.startswith(f"mutants.py: error: expected {flag} of at ")
