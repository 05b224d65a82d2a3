"""A cause is proved: the port's own operations stand in the reference, whatever nobody planned for."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional

from birdplane_keras.catalogue.networks import CLASSES, image_pair, stack, vector_pair
from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.parity.programs.growing import Growing, Shrinking, with_rows
from birdplane_keras.parity.programs.layouts import Layout, layout_between, layouts
from birdplane_keras.parity.programs.numbered import At, calls_of, put
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.programs.replaying import rounded_as
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.steps import read_rung
from parity.judging import judged
from parity.middles import WIDTH, Own, Theirs, between

# What no hypothesis was written for: in the port, in the reference, what is told of either.
UNPLANNED = {
    "a power": (lambda x: ops.abs(x) ** 1.5, lambda x: x.abs() ** 2, "exponent=1.5", "exponent=2"),
    "a term too many": (lambda x: ops.tanh(x) + 0.1, torch.tanh, "add(tanh, other=0.1)", None),
    "a term too few": (ops.tanh, lambda x: torch.tanh(x) * x, None, "mul(tanh, addmm)"),
    "another axis": (lambda x: ops.softmax(x, 0), lambda x: x.softmax(1), "dim=0", "dim=1"),
    "the order of a concatenation": (
        lambda x: ops.concatenate([ops.tanh(x), ops.sin(x)], 1),
        lambda x: torch.cat([x.sin(), x.tanh()], 1),
        "cat(tanh, sin",
        None,
    ),
    "numbers in another order": (lambda x: ops.flip(ops.tanh(x), 1), torch.tanh, "flip", None),
    "a mask that is not added": (
        lambda x: ops.softmax(x, -1),
        lambda x: torch.where(torch.arange(WIDTH) < 8, x, torch.tensor(-1e9)).softmax(-1),
        "_softmax",
        "where(",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if n % 2 else []) for n, name in enumerate(UNPLANNED)]
)
def test_what_nobody_planned_for_is_proved_and_both_sides_are_told(name):
    ours, theirs, told, meant = UNPLANNED[name]
    result = judged(between(ours, theirs, 2 * WIDTH if "concatenation" in name else WIDTH))
    (finding,) = result.diagnosis
    assert finding.proved, str(result)
    assert "at forward, loss, gradients, first_update, optimizer_state" in finding.evidence
    for side, words in (("port", told), ("reference", meant)):
        assert words is None or any(words in line for line in finding.parting[side]), finding.parting


def test_what_the_port_has_and_the_reference_has_not_is_told_of_the_port_alone():
    added = judged(between(lambda x: 3 * x, lambda x: x)).diagnosis[0]
    assert added.cause == "added_operation"
    assert added.parting["reference"] == []
    lacking = judged(between(lambda x: x, lambda x: 3 * x)).diagnosis[0]
    assert (lacking.cause, lacking.proved) == ("layer_missing", True)
    assert "mul(addmm, other=3)" in lacking.parting["reference"][0]


def test_a_gradient_that_is_cut_off_is_proved_where_it_is_cut():
    cut = between(lambda x: x + ops.stop_gradient(ops.sin(x)), lambda x: x + x.sin())
    (finding,) = judged(cut).diagnosis
    assert finding.proved
    assert any(line.startswith("detach(sin)") for line in finding.parting["port"])


def test_an_activation_that_rounds_to_half_precision_is_proved_to_come_much_nearer():
    (finding,) = judged(between(lambda x: ops.cast(ops.cast(x, "float16"), "float32"), lambda x: x)).diagnosis
    assert finding.proved
    assert any("float16" in line for line in [finding.text, *finding.parting["port"]])


def test_a_number_of_a_half_type_is_that_of_the_port_only_where_it_is_next_to_it():
    kept = torch.tensor([1.0, 1.0, 0.5, 0.0], dtype=torch.float16)
    have = torch.tensor([1.0 + 2**-10, 1.0 + 2**-8, 0.5, 0.0], dtype=torch.float16, requires_grad=True)
    made = rounded_as(have, kept)
    assert made.tolist() == [1.0, 1.0 + 2**-8, 0.5, 0.0]
    made.sum().backward()
    assert have.grad.tolist() == [1, 1, 1, 1]
    assert rounded_as(have, kept.float()) is have


def test_what_is_cut_off_within_a_place_is_told_there():
    found = judged(between(lambda x: ops.tanh(ops.stop_gradient(x)) * 2.0, torch.tanh)).diagnosis
    assert all(finding.proved for finding in found)
    assert any("detach" in str(finding.parting["port"]) for finding in found), [str(each.parting) for each in found]


@pytest.mark.slow
def test_an_update_of_ones_own_is_proved_as_a_whole():
    class Signed(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, learning_rate * (gradient + 0.1 * ops.sign(gradient)))

    pair = vector_pair(0)
    pair.keras_model.compile(loss=pair.keras_model.loss, optimizer=Signed(0.01))
    (finding,) = judged(pair).diagnosis
    assert (finding.rung, finding.proved) == ("first_update", True)
    assert "sign" in str(finding.parting["port"])


def test_a_function_whose_gradient_is_its_own_is_no_proof():
    """Control: the port's operations, made again, have other gradients than its `autograd.Function`."""

    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    (finding,) = judged(between(Straight.apply, torch.sin)).diagnosis
    assert (finding.cause, finding.rung, finding.proved) == ("unknown", "gradients", False)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.rung in ("forward", "loss", "gradients")][::5])
def test_a_fault_of_the_catalogue_is_proved(fault):
    assert judged(fault.make(0)).diagnosis[0].proved


def test_what_stands_for_a_result_has_gradients_of_its_own():
    bench = PairBench(vector_pair(0), 0)
    with bench.host.judged():
        rows = bench.plan(1)[0]
        run = bench.reference()
        calls = calls_of(run)
        calls.seen = []
        list(read_rung(run, rows, "loss"))
        first = next(each for each in calls.seen if each.name == "relu")
        plain, changed = bench.reference(), bench.reference()
        put(changed, first.at, lambda calls, result: result * 2, [])
        before, after = ({}, {})
        for run, kept in ((plain, before), (changed, after)):
            run.step(rows, lambda outputs, run=run, kept=kept: kept.update(run.gradients()))
        assert before.keys() == after.keys()
        assert not np.allclose(before["0.weight"], after["0.weight"])


def test_a_place_is_met_again_in_evaluation():
    bench = PairBench(vector_pair(0), 0)
    with bench.host.judged():
        run = bench.reference()
        put(run, At(call=0, leaf=0), lambda calls, result: result * 0, [])
        alike = run.predict()["outputs"]
        assert np.ptp(alike, axis=0).max() == 0


@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ((4, 3, 5, 6), lambda x: x.permute(0, 2, 3, 1)),
        ((4, 6, 2, 3), lambda x: x.permute(0, 2, 1, 3).reshape(8, 6, 3)),
        ((8, 6, 3), lambda x: x.reshape(4, 2, 6, 3).permute(0, 2, 1, 3)),
        ((4, 1, 6), lambda x: x[:, 0]),
        ((4, 5), lambda x: x),
    ],
)
def test_the_same_numbers_are_found_in_another_layout(shape, turn):
    x = torch.randn(shape)
    layout = layout_between(x, turn(x))
    assert layout is not None
    assert torch.equal(layout.turn(x, turn(x).shape), turn(x))


def test_numbers_in_another_order_are_in_no_layout():
    x = torch.randn(4, 6)
    assert layout_between(x, x[:, torch.randperm(6)]) is None
    assert layout_between(x, x[:3]) is None
    assert list(layouts((2, 3), (4,))) == []
    assert Layout(axes=(0, 1), of_its_own=True) in list(layouts((2, 3), (2, 3)))


def test_what_depends_on_the_number_of_examples_is_seen():
    def calls(rows):
        recording = Recording({})
        with recording:
            x = torch.ones(rows, 3)
            x.reshape(3 * rows) * (1 / rows)
        return recording.made

    made = with_rows(calls(8), calls(4), 8, 4)
    view = next(each for each in made if "view" in str(each.made.function))
    assert view.args[1] == [Growing(fixed=0, each=3)]
    assert view.shapes == [(Growing(fixed=0, each=1), 3)]
    mul = next(each for each in made if "mul" in str(each.made.function))
    assert Shrinking(whole=1.0) in (*mul.args, *mul.numbers)


def test_pictures_are_laid_out_as_the_reference_has_them():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), Theirs(torch.sin), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    ours = [layers.Conv2D(4, 3), Own(ops.cos), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    (finding,) = judged(image_pair(0, module=module, model=stack((8, 8, 3), ours), initialisation=False)).diagnosis
    assert finding.proved
    assert "cos(" in finding.parting["port"][0]
    assert "sin(" in finding.parting["reference"][0]


def test_a_line_and_the_line_that_called_it_are_told():
    def helper(x):
        return ops.cos(x)

    (finding,) = judged(between(lambda x: helper(x), functional.softsign)).diagnosis
    assert "(called at test_proving.py:" in finding.parting["port"][0]
