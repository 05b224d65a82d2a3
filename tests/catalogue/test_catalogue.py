"""The judge is judged: it must catch every planted mistake at its rung, name the cause, and raise no false alarm."""

import re

import pytest

from birdplane_keras.catalogue.registry import CLEAN, FAULTS
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.judge import MATCHES
from birdplane_keras.parity.core.rungs import names as rung_names

LEAST_NAMED = 0.9  # of the planted mistakes, by the right cause
TWO_EQUAL_VALUES = re.compile(r"(\S+) in Keras,? (?:and )?\1 in PyTorch|(\S+), expected \2(?!\S)")
NAMED_OTHERWISE = {"one_hot_off_by_one"}  # told as `labels_permuted`, which the numbers cannot tell from it


def test_the_catalogue_is_large_enough_and_its_names_are_its_own():
    assert len(FAULTS) >= 150
    assert len(CLEAN) >= 20
    names = [entry.name for entry in (*FAULTS, *CLEAN)]
    assert len(set(names)) == len(names)
    assert {fault.rung for fault in FAULTS} <= set(rung_names())
    assert len(NAMED_OTHERWISE) <= (1 - LEAST_NAMED) * len(FAULTS)


def first_of_each_cause():
    """One fault of every fourth cause, and the others marked as slow."""
    causes = list(dict.fromkeys(fault.cause for fault in FAULTS))
    plain = {cause: next(fault.name for fault in FAULTS if fault.cause == cause) for cause in causes[::4]}
    return [
        pytest.param(fault, marks=[] if plain.get(fault.cause) == fault.name else [pytest.mark.slow])
        for fault in FAULTS
    ]


@pytest.mark.parametrize("fault", first_of_each_cause(), ids=lambda fault: fault.name)
def test_a_planted_mistake_is_caught_at_its_rung_and_named(fault):
    report = check_parity(fault.make(0))
    failed = [check.name for check in report.checks if not check.passed]
    assert report.verdict == "diverged"
    assert failed[0] == fault.rung
    if fault.name not in NAMED_OTHERWISE:
        assert report.diagnosis[0].cause == fault.cause
        assert report.diagnosis[0].fix
        assert report.diagnosis[0].proved or failed[0] == "trajectory"
    for finding in report.diagnosis:  # such a difference would explain nothing
        assert not TWO_EQUAL_VALUES.search(finding.text), finding.text


def test_two_equal_values_would_be_seen():
    """Negative control of the test above."""
    assert TWO_EQUAL_VALUES.search("learning_rate 0.05, expected 0.05")
    assert TWO_EQUAL_VALUES.search("epsilon is 1e-05 in Keras, 1e-05 in PyTorch")
    assert not TWO_EQUAL_VALUES.search("learning_rate 0.05, expected 0.055")
    assert not TWO_EQUAL_VALUES.search("epsilon is 1e-05 in Keras, 1e-03 in PyTorch")


@pytest.mark.parametrize("clean", CLEAN[::4], ids=lambda clean: clean.name)
def test_a_clean_pair_raises_no_alarm(clean):
    report = check_parity(clean.make(0), steps=20)
    assert report.verdict in MATCHES, str(report)
    assert report.diagnosis == []


@pytest.mark.slow
@pytest.mark.parametrize("clean", CLEAN, ids=lambda clean: clean.name)
def test_a_clean_pair_raises_no_alarm_from_another_start(clean):
    """`scripts/faults.py` takes five seeds and 200 steps, and writes down what it found."""
    report = check_parity(clean.make(1), steps=60, seed=1)
    assert report.verdict in MATCHES, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS[::6], ids=lambda fault: fault.name)
def test_a_planted_mistake_is_caught_from_another_start_too(fault):
    """A sixth of them, as each takes seconds."""
    report = check_parity(fault.make(1), seed=1)
    failed = [check.name for check in report.checks if not check.passed]
    assert (report.verdict, failed[0]) == ("diverged", fault.rung)
