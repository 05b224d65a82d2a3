"""The contract of runs: each has a state of its own. The scripted bench of the tests obeys it as the real ones do."""

import contextlib

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, sgd, stack, vector_pair
from birdplane_keras.catalogue.recipes import scheduled
from birdplane_keras.parity import check_parity
from birdplane_keras.parity.core.disk import sha256_of
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.torch_plugin import attach
from parity.scripted import ScriptedBench, kinks_at

STEPS = 6


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


# --- benches ---------------------------------------------------------------------------------------------------------


def momentum():
    return vector_pair(
        0, torch_optimizer=sgd(0.02, momentum=0.9), keras_optimizer=keras.optimizers.SGD(0.02, momentum=0.9)
    )


def adam():
    return vector_pair(
        0,
        torch_optimizer=lambda weights: torch.optim.Adam(weights, lr=0.005),
        keras_optimizer=torch_equivalents.Adam(0.005),
    )


def statistics_and_dropout():
    module = nn.Sequential(
        nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES)
    )
    ours = [dense(FEATURES, 16), torch_equivalents.BatchNormalization(), layers.ReLU(), layers.Dropout(0.3)]
    return vector_pair(0, module=module, model=stack((FEATURES,), [*ours, dense(16, CLASSES)]))


def with_callback():
    def rate(epoch, current):
        return current * 0.5

    return vector_pair(0, keras_callbacks=[keras.callbacks.LearningRateScheduler(rate)])


class CountsItsSteps(keras.Model):
    """A model whose training depends on a plain number of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = dense(FEATURES, 16, "relu"), dense(16, CLASSES)
        self.steps_made = 0

    def call(self, x):
        return self.two(self.one(x))

    def train_step(self, data):
        self.steps_made += 1
        x, y = data[:2]
        self.zero_grad()
        loss = self.steps_made * self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        loss.backward()
        self.optimizer.apply([v.value.grad for v in self.trainable_variables], self.trainable_variables)
        return {"loss": loss}


def counting():
    model = CountsItsSteps()
    model(np.zeros((1, FEATURES), np.float32))
    module = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    return vector_pair(0, module=module, model=model)


def attached():
    pair = vector_pair(0)
    attach(pair.keras_model, engine="exact")
    return pair


PAIRS = (momentum, adam, statistics_and_dropout, with_callback, counting, attached)


@contextlib.contextmanager
def real(make):
    bench = PairBench(make(), 0)
    with bench.host.judged():
        bench.start_weights()
        yield bench


@contextlib.contextmanager
def scripted(make):
    yield ScriptedBench(make)


@pytest.fixture(params=[*PAIRS, "scripted"], ids=lambda made: getattr(made, "__name__", made))
def bench(request):
    opened = scripted(kinks_at(2)) if request.param == "scripted" else real(request.param)
    with opened as ready:
        yield ready


# --- the contract ----------------------------------------------------------------------------------------------------


def bits(run):
    return {name: value.tobytes() for name, value in run.weights().items()}


def train(run, plan):
    return [np.asarray(run.step(rows)).tobytes() for rows in plan]


def test_two_runs_of_a_side_are_the_same(bench):
    plan = bench.plan(STEPS)
    for make in (bench.port, bench.reference):
        first, second = make(), make()
        assert train(first, plan) == train(second, plan)
        assert bits(first) == bits(second)


def test_what_another_run_does_changes_nothing_of_a_run(bench):
    plan = bench.plan(STEPS)
    for make in (bench.port, bench.reference):
        alone = make()
        losses = train(alone, plan)
        run, other = make(), make()
        made = []
        for rows in plan:
            made += train(run, [rows])
            train(other, [rows])
            other.predict()
        assert made == losses
        assert bits(run) == bits(alone)
        before, predicted = bits(run), run.predict()["outputs"].tobytes()
        train(make(), plan)
        assert bits(run) == before
        assert run.predict()["outputs"].tobytes() == predicted
        train(make(), plan[:2])
        assert run.predict()["outputs"].tobytes() == predicted


def test_a_run_begins_at_the_start_whatever_was_trained_before(bench):
    plan = bench.plan(STEPS)
    for make, start in zip((bench.port, bench.reference), bench.start_weights(), strict=True):
        train(make(), plan)
        assert bits(make()) == {name: value.tobytes() for name, value in start.items()}


def test_a_state_that_is_given_to_one_run_is_not_given_to_another(bench):
    plan = bench.plan(STEPS)
    reference, one, other = bench.reference(), bench.port(), bench.port()
    train(reference, plan)
    before = bits(other)
    assert one.take_state(reference.weights(), reference.optimizer_state())
    assert bits(other) == before
    assert bits(one) == bits(reference)


def test_a_run_in_float64_keeps_its_statistics_where_they_are_read():
    with real(statistics_and_dropout) as bench:
        (rows,) = bench.plan(1)
        wide, run = bench.double(), bench.reference()
        start = run.weights(trainable=False)
        for one in (wide, run):
            one.step(rows)
        for name, value in run.weights(trainable=False).items():
            assert np.allclose(wide.read(name), value, rtol=1e-5, atol=1e-6)
            assert not np.allclose(value, start[name])


def test_the_gradients_of_a_run_are_those_of_its_own_last_step():
    with real(momentum) as bench:
        plan = bench.plan(2)
        one, other = bench.port(), bench.port()
        one.step(plan[0])
        before = {name: value.tobytes() for name, value in one.gradients()}
        other.step(plan[1])
        assert {name: value.tobytes() for name, value in other.gradients()} != before
        assert {name: value.tobytes() for name, value in one.gradients()} == before


def test_a_fork_goes_its_own_way(bench):
    plan = bench.plan(STEPS)
    alone, reference = bench.reference(), bench.reference()
    train(alone, plan)
    train(reference, plan[:3])
    fork = reference.fork(1)
    train(fork, plan[3:])
    train(reference, plan[3:])
    assert bits(reference) == bits(alone)
    assert bits(fork) != bits(reference)


def test_what_is_read_is_a_copy(bench):
    plan = bench.plan(2)
    for make in (bench.port, bench.reference):
        run = make()
        kept = run.weights()
        values = {name: value.copy() for name, value in kept.items()}
        train(run, plan)
        assert all(np.array_equal(kept[name], value) for name, value in values.items())


# --- what the contract is for ----------------------------------------------------------------------------------------


def restarted(step, changed=0):
    """The rate of warm restarts (SGDR), which from a step on are as long as they should not be."""
    length = 20 if step < 40 else 20 + changed
    return 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step % length) / length))


class Restarts(keras.optimizers.schedules.LearningRateSchedule):
    """`restarted`, in Keras."""

    def __init__(self, rate, changed):
        self.rate, self.changed = rate, changed

    def __call__(self, step):
        return self.rate * restarted(int(step), self.changed)

    def get_config(self):
        return {"rate": self.rate, "changed": self.changed}


def restarted_pair(changed):
    pair = vector_pair(0, keras_optimizer=keras.optimizers.SGD(Restarts(0.05, changed)))
    return scheduled(pair, restarted)


def plain_fit(model, data, plan):
    """Trains by the framework's own `fit`, over the batches of a plan."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(plan)

        def __getitem__(self, step):
            return data[0][plan[step]], data[1][plan[step]]

    model.fit(Batches(), shuffle=False, verbose=0)


def test_a_pair_that_breaks_late_tells_what_a_plain_fit_over_the_same_steps_gives():
    pair = restarted_pair(changed=7)
    result = check_parity(pair, steps=60)
    failure = result.content()["first_failure"]
    assert (failure["rung"], failure["step"]) == ("trajectory", 40)
    assert 40 < result.steps_made <= 60

    bench = PairBench(pair, 0)
    plan = [rows % len(pair.data[0]) for rows in bench.plan(60)[: result.steps_made]]
    model, module = pair.keras_model, pair.torch_module
    with bench.host.judged():
        bench.start_weights()
        bench.host.forget()
    bench.host.view.set_weights(bench.reference().weights())  # as the judge had transferred them
    plain_fit(model, pair.data, plan)
    ours = bench.host.view.weights()
    assert result.hashes["keras_final_weights"] == sha256_of(ours.values())

    for rows in plan:
        inputs, targets = (torch.as_tensor(part[rows]) for part in pair.data)
        pair.torch_optimizer.zero_grad()
        pair.torch_loss(module(inputs), targets).backward()
        pair.torch_optimizer.step()
        pair.torch_scheduler.step()
    theirs = {name: value.numpy() for name, value in module.state_dict().items()}
    assert result.hashes["torch_final_weights"] == sha256_of(theirs.values())

    scores = model.predict(pair.data[0], verbose=0), module(torch.as_tensor(pair.data[0])).detach().numpy()
    assert result.churn == int((scores[0].argmax(1) != scores[1].argmax(1)).sum())


def test_the_same_schedules_do_not_break():
    assert check_parity(restarted_pair(changed=0), steps=60).verdict == "rounding-only"
