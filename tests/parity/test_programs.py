"""A step is recorded as a program; two programs are aligned by their values, and told where they part."""

import gc
import importlib
import sys
import textwrap
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.catalogue.registry import CLEAN, FAULTS
from birdplane_keras.parity.causes.apart import copies
from birdplane_keras.parity.core.renderings import render_markdown, render_text
from birdplane_keras.parity.programs.alignment import Known, measure, part
from birdplane_keras.parity.programs.dispatched import value_of
from birdplane_keras.parity.programs.frames import name_of
from birdplane_keras.parity.programs.program import Program
from birdplane_keras.parity.programs.recorded import record
from birdplane_keras.parity.programs.recording import Recording
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.reporting.page.render import render_page
from parity.judging import judged


def recorded(function):
    recording = Recording({})
    with recording:
        function()
    return recording.program()


def names(program):
    return [operation.name for operation in program]


def value_after(program, name):
    (operation,) = [operation for operation in program if operation.name == name]
    return float(operation.value.statistics[0])


def test_writes_in_place_and_through_views_are_followed():
    def step():
        x = torch.zeros(4)
        x[:2].add_(3)
        (x * 2).sum()

    program = recorded(step)
    assert value_after(program, "mul") == 12
    (mul,) = [operation for operation in program if operation.name == "mul"]
    assert program[mul.sources[0].made].name == "add_"


def test_an_update_of_many_tensors_is_an_operation_for_each():
    weights, gradients = [torch.ones(2), torch.ones(3)], [torch.full((2,), 2.0), torch.full((3,), 5.0)]
    program = recorded(lambda: torch._foreach_add_(weights, gradients, alpha=-0.5))
    assert [(each.name, each.value.shape, float(each.value.largest)) for each in program] == [
        ("add_", (2,), 0.0),
        ("add_", (3,), 1.5),
    ]
    assert [[a.name, a.value] for a in program[0].arguments] == [["alpha", -0.5]]


def test_moving_statistics_that_no_schema_tells_of_are_written():
    norm = nn.BatchNorm1d(3)
    program = recorded(lambda: norm(torch.randn(8, 3)))
    assert names(program).count("native_batch_norm") == 5  # the result, two saved statistics, two moving ones


def test_no_tensor_is_held():
    alive = []

    def step():
        x = torch.randn(100)
        alive.append(weakref.ref(x.untyped_storage()))
        (x * 2).sum()

    recording = Recording({})
    with recording:
        step()
        gc.collect()
        assert alive[0]() is None
    assert names(recording.program()) == ["randn", "mul", "sum"]


def test_the_backward_pass_has_the_lines_of_the_forward_pass():
    weight = torch.ones(3, requires_grad=True)
    program = recorded(lambda: weight.exp().sum().backward())
    (backward,) = [each for each in program if each.phase == "backward" and each.name == "mul"]
    assert backward.line is not None
    assert "weight.exp()" in backward.line.text


def test_numbers_are_known_in_any_order_and_only_up_to_rounding():
    x = torch.randn(4, 5)
    program = recorded(lambda: x * 2)
    known = Known(program, np.zeros((len(program), 5)))
    doubled = (x * 2).numpy()
    assert known.holds(value_of(doubled.T))
    assert known.holds(value_of(doubled.reshape(2, 10) * np.float32(1 + 1e-7)))
    assert not known.holds(value_of(doubled * np.float32(1 + 1e-4)))
    assert not known.holds(value_of(doubled[:3]))
    assert not known.holds(value_of(np.where(doubled == doubled.max(), np.nan, doubled)))


# Name of a fault -> what is told of the port, and of the reference.
TOLD = {
    "tanh_for_relu": ("tanh(add)", "relu(addmm)"),
    "exact_gelu": ("approximate=none", "approximate=tanh"),
    "leaky_slope": ("negative_slope=0.3", "negative_slope=0.01"),
    "activation_missing": ("mm(", "relu(addmm) -> [32, 16], in ReLU 3"),
    "dilation_missing": ("dilation=[1, 1]", "dilation=[2, 2]"),
    "average_without_the_padding": ("count_include_pad=False", "count_include_pad=True"),
    "same_pooling_at_stride_two": ("replication_pad2d", "max_pool2d_with_indices"),
    "layer_norm_epsilon": ("eps=0.001", "eps=1e-05"),
    "batch_norm_left_in_evaluation": ("training=False", "training=True"),
    "summed_loss": ("reduction=0", "reduction=1"),
    "label_smoothing_added": ("mul([32, 4], other=0.9)", "nll_loss_forward"),
    "second_loss_left_out": (None, "mse_loss"),
    "padding_trained": ("padding_idx=-1", "padding_idx=0"),
    "learning_rate_of_another_value": ("-0.011)", "alpha=-0.01)"),
    "weight_decay_missing": ("-0.05)", "add(mm, [16, 8], alpha=0.01)"),
    "clipping_missing": ("-0.05)", "norm(mm)"),
    "adamw_of_another_decay": ("mul_([8, 16], other=0.99998)", "mul_([16, 8], other=0.99995)"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if i % 2 else []) for i, n in enumerate(sorted(TOLD))]
)
def test_both_sides_of_a_mistake_are_told(name):
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    finding = judged(fault.make(0)).diagnosis[0]
    for side, told in zip(("port", "reference"), TOLD[fault.name], strict=True):
        lines = finding.parting[side]
        assert (not lines) if told is None else any(told in line for line in lines), finding.parting


def test_every_fault_that_is_told_is_in_the_catalogue():
    assert TOLD.keys() <= {fault.name for fault in FAULTS}


@pytest.mark.parametrize("clean", CLEAN[::6], ids=lambda clean: clean.name)
def test_programs_that_agree_part_nowhere(clean):
    """Control: whatever the two frameworks call it, the same numbers come of it."""
    bench = PairBench(clean.make(0), 0)
    with bench.host.judged():
        bench.start_weights()
        rows = bench.plan(1)[0]
        port, reference = record(bench.port(), rows), record(bench.reference(), rows)
        noise = measure(reference, copies(bench, lambda run: record(run, rows)))
        assert noise.any()
        run = bench.reference()
        outputs = []
        loss = run.step(rows, lambda made: outputs.extend(run.to_port(made).values()))
        ends = [value_of(value) for value in [*outputs, loss]]
        assert part(port, reference, noise, (ends, ends)) is None


def test_nothing_is_told_where_nothing_was_recorded():
    empty = Program()
    assert part(empty, empty, np.zeros((0, 5)), ([value_of(np.ones(3))], [])) is None


REFERENCE = """
    from torch import nn

    class Gate(nn.Module):
        def forward(self, x):
            return x * x.sigmoid()
"""
PORT = """
    import keras

    class Gate(keras.layers.Layer):
        def call(self, x):
            return x * keras.ops.tanh(x)
"""


def test_a_line_of_each_sides_own_source_is_told(tmp_path, monkeypatch):
    for name, text in (("gate_of_torch", REFERENCE), ("gate_of_keras", PORT)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    theirs, ours = importlib.import_module("gate_of_torch"), importlib.import_module("gate_of_keras")
    keras.utils.set_random_seed(0)
    module = nn.Sequential(nn.Linear(FEATURES, 16), theirs.Gate(), nn.Linear(16, CLASSES))
    model = stack((FEATURES,), [dense(FEATURES, 16), ours.Gate(), dense(16, CLASSES)])
    result = judged(vector_pair(0, module=module, model=model))
    parting = result.diagnosis[0].parting
    assert any("gate_of_keras.py:6: return x * keras.ops.tanh(x)" in line for line in parting["port"])
    assert any("gate_of_torch.py:6: return x * x.sigmoid()" in line for line in parting["reference"])
    assert any("in Gate 1" in line for line in parting["reference"])
    content = result.content()
    for text in (render_text(content), render_markdown(content), str(result)):
        assert "gate_of_keras.py:6" in text
        assert "gate_of_torch.py:6" in text


def test_code_that_does_not_bear_watching_takes_no_verdict_with_it(monkeypatch):
    def fail(*_):
        raise RuntimeError("not while it is watched")

    monkeypatch.setattr("birdplane_keras.parity.causes.port_step.record_calls", fail)
    keras.utils.set_random_seed(0)
    (fault,) = [fault for fault in FAULTS if fault.name == "leaky_slope"]
    result = judged(fault.make(0))
    assert result.diagnosis[0].cause == "activation"
    assert result.diagnosis[0].parting is None
    assert "where the programs part could not be seen: RuntimeError: not while it is watched" in result.notes


def test_the_page_draws_where_the_programs_part():
    """As lists that a keyboard reaches, in words that a screen reader reads; what users named is escaped."""
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.LeakyReLU(0.2), nn.Linear(16, CLASSES))
    scaled = layers.Activation(lambda x: keras.ops.leaky_relu(x, 0.1) * 1.5, name="scaled<b>")
    model = stack((FEATURES,), [dense(FEATURES, 16), scaled, dense(16, CLASSES)])
    result = judged(vector_pair(0, module=module, model=model, initialisation=False), steps=5)
    page = render_page(result.content())
    assert page.startswith("<!doctype html>")
    assert '<ol class="torch" aria-label="In the reference" tabindex="0">' in page
    assert '<ol class="keras" aria-label="In the port" tabindex="0">' in page
    assert "leaky_relu(negative_slope=0.1)" in page
    assert "; on both sides" in page
    assert "; on this side only" in page
    assert "scaled&lt;b&gt;" in page
    assert "scaled<b>" not in page


def test_a_line_in_a_notebook_is_named_by_its_cell(monkeypatch):
    cells = {"/tmp/ipykernel_1/2.py": ("Cell", "In[5]")}
    shell = SimpleNamespace(compile=SimpleNamespace(format_code_name=cells.get))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert name_of("/tmp/ipykernel_1/2.py") == "In[5]"
    assert name_of("/somewhere/port.py") == "port.py"
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # imported, and not at work
    assert name_of("/tmp/ipykernel_1/2.py") == "2.py"
