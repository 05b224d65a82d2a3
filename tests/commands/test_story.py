"""The story of the LeNet that the documentation tells: what it quotes is what the judge says."""

import importlib
import re
from pathlib import Path

import pytest

from birdplane_keras.pairs import load_pair
from birdplane_keras.parity import check_parity

ROOT = Path(__file__).parents[2]
STORY_PAGE = (ROOT / "docs" / "start" / "lenet.md").read_text()


@pytest.fixture
def lenet(monkeypatch, images):
    """Makes the story's pairs from the images that the session has loaded already."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("examples.lenet")
    monkeypatch.setattr(module, "load_data", lambda: images)
    return lambda function: load_pair(f"examples.lenet:{function}")


STORY = [
    ("make_pair", "data", "not_normalised"),
    ("make_pair_normalised", "initialisation", "default_initialisation"),
    ("make_pair_initialised", "first_update", "adam_epsilon"),
]


STORY_TOLD = STORY_PAGE.split("```")


def without_numbers(text):
    """Another machine rounds otherwise."""
    return re.sub(r"\d[\d.e-]*", "#", text)


@pytest.mark.parametrize(("function", "rung", "cause"), STORY, ids=[entry[0] for entry in STORY])
def test_the_lenet_is_told_what_to_change(lenet, function, rung, cause):
    report = check_parity(lenet(function))
    failed = next(check for check in report.checks if not check.passed)
    assert (report.verdict, failed.name, report.diagnosis[0].cause) == ("diverged", rung, cause)
    told = str(report)
    (block,) = [block for block in STORY_TOLD if f"First broken rung: {rung} " in block]
    for line in block.strip().splitlines()[1:]:
        assert without_numbers(line.partition(" …")[0]) in without_numbers(told), line
    assert f"Cause: {cause}. {report.diagnosis[0].text}." in block


@pytest.mark.parametrize("steps", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_the_lenet_that_followed_the_advice_differs_by_rounding(lenet, steps):
    assert check_parity(lenet("make_fixed_pair"), steps=steps).verdict == "rounding-only"


def test_the_readme_quotes_what_the_judge_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    told = without_numbers(str(check_parity(load_pair("examples.leaky:make_pair"))))
    (block,) = re.findall(r"```\n(diverged: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.strip().splitlines():
        for piece in re.split(r"\s*…[,\s]*", line):
            assert without_numbers(piece) in told, piece


def test_the_lines_of_source_in_the_readme_are_the_examples():
    lines = (ROOT / "examples" / "leaky.py").read_text().splitlines()
    quoted = re.findall(r"at leaky\.py:(\d+): (.*)", (ROOT / "README.md").read_text())
    assert len(quoted) == 2
    assert all(lines[int(number) - 1].strip() == line for number, line in quoted)
