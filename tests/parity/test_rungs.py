"""The rungs of what is given and of the first steps, on small arrays: each passes what is equal, and no more."""

from types import SimpleNamespace

import numpy as np
import pytest

from birdplane_keras.errors import PairError
from birdplane_keras.parity.core import judge, rungs
from birdplane_keras.parity.core.check import Place, State, failed, left_out, not_reached, passed
from birdplane_keras.parity.core.first_steps import compare_within
from birdplane_keras.parity.core.given import (
    compare_batch_order,
    compare_counterparts,
    compare_data,
    compare_outlines,
    determinism,
    recipe,
)
from birdplane_keras.parity.core.judge import MATCHES, verdict
from birdplane_keras.parity.core.records import Counterpart, Counterparts, Dropped, Fed, Outline, Problem

# --- what is given ---------------------------------------------------------------------------------------------------


def of_recipes(ours, theirs):
    return recipe(SimpleNamespace(bench=SimpleNamespace(recipes=lambda: (ours, theirs))))


def test_recipes_that_differ_in_one_field_name_it():
    stated = {"learning_rate": 0.01, "seed": 0}
    assert of_recipes(stated, dict(stated)).passed
    check = of_recipes(stated | {"learning_rate": 0.011}, stated)
    assert (check.state, check.code, check.place) == (State.FAILED, "field", Place(field="learning_rate"))
    assert "0.011 in Keras, 0.01 in PyTorch" in check.reason


def test_a_field_that_one_recipe_lacks_fails():
    assert not of_recipes({"a": 1}, {"a": 1, "b": None}).passed
    assert not of_recipes({}, {}).passed


def test_a_pair_without_recipes_leaves_the_rung_out():
    check = recipe(SimpleNamespace(bench=SimpleNamespace(recipes=lambda: None)))
    assert (check.state, check.code) == (State.LEFT_OUT, "not_stated")


def epochs(*sizes, shift=0):
    return [[np.arange(size) + shift for size in sizes] for _ in range(2)]


def test_equal_batches_pass():
    assert compare_batch_order(epochs(4, 4, 2), epochs(4, 4, 2)).passed


@pytest.mark.parametrize(
    ("ours", "code", "place"),
    [
        (epochs(4, 4), "count", {"epoch": 0, "step": 2}),  # the last partial batch is dropped
        (epochs(4, 4, 3), "size", {"epoch": 0, "step": 2}),
        (epochs(4, 4, 2, shift=1), "examples", {"epoch": 0, "step": 0}),
        (epochs(4, 4, 2)[:1], "epochs", {"epoch": 1, "step": 0}),
        ([], "epochs", {"epoch": 0, "step": 0}),
    ],
)
def test_other_batches_are_named(ours, code, place):
    check = compare_batch_order(ours, epochs(4, 4, 2))
    assert (check.state, check.code, check.place.content()) == (State.FAILED, code, place)


def test_no_batches_on_both_sides_have_failed():
    assert compare_batch_order([], []).code == "nothing"


def fed(value, label=1):
    return Fed(inputs={"x": np.array([0.5, value], np.float32)}, targets={"y": np.array([0, label])})


def test_inputs_may_differ_by_two_roundings_unless_every_bit_counts():
    near = np.nextafter(np.float32(0.25), np.float32(1))
    assert compare_data(fed(near), fed(0.25), exact=False).passed
    assert not compare_data(fed(near), fed(0.25), exact=True).passed
    assert not compare_data(fed(0.2501), fed(0.25), exact=False).passed
    assert not compare_data(fed(0.25, label=2), fed(0.25), exact=False).passed


OUTLINE = Outline(outputs={"outputs": (8, 3)}, dropouts=[Dropped(rate=0.5, entries=12)])


@pytest.mark.parametrize(
    ("ours", "code"),
    [
        (OUTLINE, ""),
        (Outline(outputs={}, dropouts=OUTLINE.dropouts), "missing_output"),
        (Outline(outputs={**OUTLINE.outputs, "more": (8,)}, dropouts=OUTLINE.dropouts), "missing_output"),
        (Outline(outputs={"outputs": (8, 4)}, dropouts=OUTLINE.dropouts), "output_shape"),
        (Outline(outputs=OUTLINE.outputs, dropouts=[Dropped(rate=0.4, entries=12)]), "dropout_rate"),
        (Outline(outputs=OUTLINE.outputs, dropouts=[]), "dropout_rate"),
        (Outline(outputs=OUTLINE.outputs, dropouts=[Dropped(rate=0.5, entries=3)]), "dropout_mask"),
    ],
)
def test_outlines_are_compared_by_outputs_rates_and_masks(ours, code):
    check = compare_outlines(ours, OUTLINE)
    assert (check.passed, check.code) == (not code, code)


def counterparts(*trained, **more):
    matched = [Counterpart(name=f"{i}.weight", size=6, trained=both) for i, both in enumerate(trained)]
    return Counterparts(matched=matched, **more)


def test_weights_that_do_not_fit_are_told_by_a_code():
    problem = Problem(code="shape", tensor="0.weight", side="torch", text="0.weight: does not fit")
    assert compare_counterparts(counterparts((True, True), (False, False))).passed
    assert compare_counterparts(counterparts((True, False))).code == "frozen"
    assert compare_counterparts(counterparts((True, True), problems=[problem])).code == "shape"
    assert compare_counterparts(counterparts((True, True), untied=[["0.weight", "1.weight"]])).code == "untied"
    assert compare_counterparts(counterparts()).code == "nothing"


# --- the first steps -------------------------------------------------------------------------------------------------


def test_a_check_tells_how_many_times_the_noise_it_is():
    check = compare_within("forward", {"x": np.float32([1.5])}, {"x": np.float32([1.0])}, {"x": 0.25})
    assert (check.passed, check.times_noise, check.tolerance) == (True, 2.0, 2.0)  # 8 x the noise is allowed
    assert check.ulps == 0.5 / 2**-23


# --- the whole ladder ------------------------------------------------------------------------------------------------


def test_the_verdict_needs_every_rung():
    checks = {name: passed(name, "same") for name in rungs.names()}
    rounded = compare_within("forward", {"x": np.float32([1.1])}, {"x": np.float32([1.0])}, {"x": 0.2})

    def of(**changes):
        return verdict(list((checks | changes).values()))

    assert of() == "bit-exact"
    assert of(forward=rounded) == "rounding-only"
    assert of(forward=rounded, recipe=failed("recipe", "field", "")) == "diverged"
    assert of(accuracy=not_reached("accuracy", "loss")) == "diverged"
    assert of(initialisation=left_out("initialisation", "trained", "")) == "bit-exact"
    fewer = [check for name, check in checks.items() if name != "initialisation"]
    assert verdict(fewer) == "diverged"  # a rung was lost
    assert verdict([]) == "diverged"
    assert verdict([left_out(name, "", "all of them") for name in checks]) == "diverged"
    assert set(MATCHES) == {"bit-exact", "rounding-only"}


def test_a_rung_that_breaks_ends_the_ladder_and_the_verdict(monkeypatch):
    """Whatever the rungs above it would say: they are not asked."""

    def take(name):
        return lambda climb: failed(name, "beyond", "") if name == "loss" else passed(name, "same")

    scripted = [rungs.Rung(name=name, take=take(name)) for name in rungs.names()]
    monkeypatch.setattr(judge, "LADDER", scripted)
    checks, _ = judge.judge(None, steps=1)
    after = rungs.names().index("loss") + 1
    assert {check.state for check in checks[:after]} == {State.PASSED, State.FAILED}
    assert {check.state for check in checks[after:]} == {State.NOT_REACHED}
    assert verdict(checks) == "diverged"
    assert verdict([*checks[:after], *(passed(name, "same") for name in rungs.names()[after:])]) == "diverged"


def test_every_rung_has_one_implementation_and_a_name_of_its_own():
    names = rungs.names()
    assert len(set(names)) == len(names) == len({rung.take for rung in rungs.LADDER})
    assert all(rung.take.__name__ == rung.name for rung in rungs.LADDER)


class Repeating:
    """A bench whose two equal runs differ at some tries.

    Args:
        differs: Whether they do, for each try.
    """

    def __init__(self, *differs: bool) -> None:
        self.differs = list(differs)

    def repeats(self):
        loss = {"loss of step 0": np.float32([1.0])}
        theirs = {"loss of step 0": np.float32([1.5])} if self.differs.pop(0) else loss
        return (loss, loss), (loss, theirs)


@pytest.mark.parametrize(
    ("differs", "why"),
    [((True, True), "it draws random numbers"), ((True, False), "by 5.0e-01, and not in a second try")],
)
def test_a_reference_that_differs_from_itself_is_refused_and_the_reason_told(differs, why):
    with pytest.raises(PairError, match=f"differs from itself at loss of step 0: {why}"):
        determinism(SimpleNamespace(bench=Repeating(*differs)))


def test_a_reference_that_repeats_itself_passes():
    assert determinism(SimpleNamespace(bench=Repeating(False))).passed
