"""The parts of the plugin, each alone: journal, trace, rewrites, layout, watch."""

import cProfile
import weakref

import keras
import numpy as np
import pytest
import torch

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import trial
from birdplane_keras.torch_plugin.agreement import distance, require_close, same_bits
from birdplane_keras.torch_plugin.errors import NotTraceableError, UnsteadyError
from birdplane_keras.torch_plugin.journal import Journal
from birdplane_keras.torch_plugin.layout import layout_matters
from birdplane_keras.torch_plugin.partition import add_product_by_parts, linear_by_parts, parts_of
from birdplane_keras.torch_plugin.tracing import trace
from plugin.networks import COLUMNS, draw, network


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(64, 3072, 512), (16, 512, 2), (5, 7, 3), (1, 30, 1)])
def test_a_dense_layer_rounds_as_linear_does_bit_for_bit(rows, inputs, outputs):
    torch.manual_seed(0)
    linear = torch.nn.Linear(inputs, outputs)
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])
    model.set_weights([linear.weight.detach().numpy().T, linear.bias.detach().numpy()])
    torch_plugin.attach(model, strict=True)
    x = torch.randn(rows, inputs)
    with torch.no_grad():
        expected = linear(x)
    assert (model.predict_on_batch(x) == expected.numpy()).all()


def test_the_loss_of_a_batch_is_cross_entropys_bit_for_bit():
    model = network()
    model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    torch_plugin.attach(model, strict=True)
    x, y = torch.randn(64, COLUMNS), torch.randint(0, 3, (64,))
    logits = torch.from_numpy(model.predict_on_batch(x))
    assert model.test_on_batch(x, y) == float(torch.nn.functional.cross_entropy(logits, y))


def test_a_profiler_sees_what_comes_before_and_after_a_trace():
    model = network()
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    torch_plugin.attach(model, strict=True)
    profiler = cProfile.Profile()
    profiler.enable()
    model.fit(draw(8, COLUMNS), np.zeros(8, dtype=int), verbose=0)
    model.get_weights()
    profiler.disable()
    called = {getattr(entry.code, "co_name", "") for entry in profiler.getstats()}
    assert {"fit", "get_weights"} <= called


def test_a_trace_replays_reads_writes_and_draws():
    total, weight = torch.zeros(()), torch.tensor([1.0, 2.0])

    def function(x):
        total.add_(x.sum())
        return [x * weight, torch.rand(2)]

    torch.manual_seed(0)
    made = trace(function, [torch.ones(2)])
    assert total == 2  # the step that proved the trace has been made, once
    assert {id(each) for each in made.state} == {id(total), id(weight)}
    weight.fill_(5.0)
    again = made.replay(torch.ones(2))
    torch.manual_seed(0)
    expected = [torch.rand(2), torch.rand(2)]
    assert again[0].tolist() == [5.0, 5.0]
    assert total == 4
    assert torch.equal(made.outputs[1], expected[0])
    assert torch.equal(again[1], expected[1])


def test_a_refused_trace_leaves_everything_as_it_was():
    total = torch.zeros(())

    def function(x):
        total.add_(1)
        return [x * np.random.rand()]

    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with pytest.raises(NotTraceableError, match="RandomState"):
        trace(function, [torch.ones(2)])
    assert total == 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_step_that_once_does_not_repeat_itself_is_tried_again(monkeypatch, failures):
    """A product that several threads share rounds otherwise once in thousands of runs."""
    runs = []

    def compared(*parts):
        runs.append(parts)
        if len(runs) <= failures:
            raise UnsteadyError("another result")

    monkeypatch.setattr(trial, "require_same", compared)
    total = torch.zeros(())

    def function(x):
        total.add_(1)
        return [x * 2]

    if failures == 1:
        assert trace(function, [torch.ones(2)]).outputs[0].tolist() == [2.0, 2.0]
    else:
        with pytest.raises(UnsteadyError, match="another result"):
            trace(function, [torch.ones(2)])
    assert total == 2 - failures
    assert len(runs) == 2


def test_equal_calls_are_made_once_unless_written_or_returned():
    total = torch.ones(2)

    def function(x):
        twice = (x + 1).exp() * (x + 1).exp()
        written, other = x * 3, x * 3
        written.add_(1)
        before = total.exp()
        total.add_(1)
        return [twice, written - other, total.exp() - before, x * 5, x * 5]

    made = trace(function, [torch.ones(2)])
    assert made.rewrites["equal calls merged"] == 2  # x + 1, and its exponential
    x = torch.tensor([0.5, 2.0])
    twice, written, grown, one, other = made.replay(x)
    assert torch.equal(twice, (x + 1).exp() * (x + 1).exp())
    assert torch.equal(written, torch.ones(2))
    assert torch.equal(grown, torch.full((2,), 3.0).exp() - torch.full((2,), 2.0).exp())
    one.add_(1)
    assert torch.equal(other, x * 5)


def test_the_journal_takes_back_writes_that_no_schema_tells_of():
    """PyTorch's batch normalization writes its statistics and does not say so."""
    module = torch.nn.BatchNorm1d(3)
    journal = Journal()
    with journal:
        module(torch.randn(8, 3))
    assert any(each is module.running_mean for each in journal.written())
    assert module.running_mean.any()
    journal.roll_back()
    assert not module.running_mean.any()
    assert module.num_batches_tracked == 0


def test_the_journal_takes_back_writes_through_views():
    table = torch.zeros(2, 2)
    with (journal := Journal()):
        table[0].view(2).add_(1)
    assert table.sum() == 2
    journal.roll_back()
    assert table.sum() == 0


def test_same_bits_tells_zeros_apart_and_nans_alike():
    assert same_bits(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64))
    assert distance(torch.tensor([1.0]), torch.tensor([float("inf")])) == float("inf")


def test_a_rewritten_replay_that_is_off_by_more_than_rounding_is_refused():
    step = torch.finfo(torch.float32).eps
    require_close([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.0 + 1e-5])], step)
    with pytest.raises(NotTraceableError, match="more than rounding"):
        require_close([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.01])], step)


def test_a_kernel_whose_layout_matters_is_found():
    """The answer depends on the machine; that the products agree where it says no does not."""
    kernel = torch.randn(512, 2)
    x, bias = torch.randn(16, 512), torch.randn(2)
    agree = torch.equal(torch.addmm(bias, x, kernel), torch.addmm(bias, x, kernel.t().contiguous().t()))
    assert agree or layout_matters(kernel, 16)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(64, 48, 6), (5, 7, 4), (1, 3, 2)])
def test_products_by_parts_are_the_products(rows, inputs, outputs):
    torch.manual_seed(0)
    kernel, bias = torch.randn(outputs, inputs).t(), torch.randn(outputs)
    x, gradient = torch.randn(rows, inputs), torch.randn(rows, outputs)
    result = linear_by_parts(bias, x, kernel, 2)
    assert result.is_contiguous()
    torch.testing.assert_close(result, x @ kernel + bias)
    expected = kernel - 0.1 * x.t() @ gradient
    add_product_by_parts(kernel, x.t(), gradient, -0.1, 2)
    torch.testing.assert_close(kernel, expected)


def test_a_kernel_is_split_only_where_it_can_be(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert parts_of(torch.zeros(6, 3).t()) == 2
    assert parts_of(torch.zeros(5, 3).t()) == 1  # an odd number of outputs
    assert parts_of(torch.zeros(3, 6)) == 1  # laid out as Keras does
    assert parts_of(torch.zeros(6, 3, dtype=torch.bfloat16).t()) == 1


SCALE = 2.0


def scaled_error(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1) * SCALE


def test_a_global_number_that_a_loss_reads_is_watched(monkeypatch):
    model = network()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=scaled_error)
    torch_plugin.attach(model, strict=True)
    x, y = draw(8, COLUMNS), draw(8, 3, seed=1)
    first = model.train_on_batch(x, y)
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    assert model.train_on_batch(x, y) == pytest.approx(2 * first)


def test_a_number_in_a_closure_is_watched():
    scale = 2.0

    def loss(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1) * scale

    model = network()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss)
    torch_plugin.attach(model, strict=True)
    x, y = draw(8, COLUMNS), draw(8, 3, seed=1)
    first = model.train_on_batch(x, y)
    scale = 4.0
    assert model.train_on_batch(x, y) == pytest.approx(2 * first)


def test_a_trial_lets_go_of_what_the_step_lets_go_of():
    """Else a trial would hold all that a step makes at once. What is held is known as made."""
    with Journal() as journal:
        held = torch.ones(3) * 2
        gone = weakref.ref(held + 1)
        again = held + 2
    assert gone() is None
    assert journal.has_made(held)
    assert journal.has_made(again)
    assert not journal.has_made(torch.ones(3))
    assert len(journal.outside) <= 1  # at most the ones
    journal.roll_back()
    assert {id(held), id(again)} <= journal.survivors()
