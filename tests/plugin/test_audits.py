"""An audit sees what the guards do not, before the traced step counts."""

import numpy as np
import pytest

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin import TorchPluginWarning, audit_schedule
from birdplane_keras.torch_plugin.guards import Guards
from plugin.networks import CLASSES, COLUMNS, draw, network

FIT = {"batch_size": 8, "verbose": 0, "shuffle": False}
SCALE = 1.0


def scaled(y_true, y_pred):
    difference = y_true - y_pred
    return (difference * difference).mean(-1) * SCALE


def trained(monkeypatch, *, blind, **attach):
    """Trains one epoch, changes a number that the loss reads, and trains another one, with guards that see nothing."""
    if blind:
        monkeypatch.setattr(Guards, "hold", lambda self: True)
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    model = network()
    model.compile(optimizer="sgd", loss=scaled)
    torch_plugin.attach(model, **attach)
    x, y = draw(16, COLUMNS), draw(16, CLASSES, seed=1)
    model.fit(x, y, **FIT)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    return model, lambda: model.fit(x, y, **FIT).history["loss"][0], model.evaluate(x, y, batch_size=16, verbose=0)


def test_an_audit_sees_what_the_guards_do_not(monkeypatch):
    _, fit, _ = trained(monkeypatch, blind=True, audit="epoch")
    with pytest.warns(TorchPluginWarning, match=r"an audit of the train step found that .* stock Keras .*made again"):
        loss = fit()
    assert loss > 2.0  # of the new loss, not of the old one
    assert fit() == pytest.approx(loss, rel=0.5)


def test_without_audits_the_blind_guards_let_it_pass(monkeypatch):
    """Control: it was the audit that saw it."""
    _, fit, after = trained(monkeypatch, blind=True, audit="never")
    assert fit() < after / 2


def test_the_guards_see_it_without_an_audit(monkeypatch):
    _, fit, after = trained(monkeypatch, blind=False, audit="never")
    assert fit() == pytest.approx(after, rel=0.5)


def test_a_step_whose_audits_fail_twice_runs_on_the_stock_path(monkeypatch):
    model, fit, _ = trained(monkeypatch, blind=True, audit="step")
    with pytest.warns(TorchPluginWarning, match="made again"):
        fit()
    monkeypatch.setitem(globals(), "SCALE", 25.0)
    with pytest.warns(TorchPluginWarning, match="it runs on Keras' stock path from now on"):
        fit()
    assert "2 audits found that it differed" in torch_plugin.explain(model)


def test_an_audited_step_leaves_what_an_unaudited_one_leaves():
    left = []
    for audit in ("step", "never"):
        np.random.seed(0)
        model = network()
        model.set_weights([np.random.standard_normal(each.shape) for each in model.get_weights()])
        model.compile(optimizer="adam", loss="mse", metrics=["mae"])
        torch_plugin.attach(model, audit=audit, strict=True)
        history = model.fit(draw(24, COLUMNS), draw(24, CLASSES, seed=1), epochs=2, **FIT).history
        gradients = [each.value.grad.numpy() for each in model.trainable_weights]
        left.append([*model.get_weights(), *gradients, *history.values()])
    for one, other in zip(*left, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audit": "often"}, "expected audit among auto, epoch, step, never"),
        ({"traces": 0}, "expected one trace or more"),
    ],
)
def test_a_wrong_setting_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        torch_plugin.attach(network(), **arguments)


def test_a_metric_that_reads_what_cannot_be_put_back_is_not_audited():
    """An audit would move the iterator on by one number more."""
    left = []
    for audit in ("step", None):
        numbers = iter(range(1, 1000))

        def drawn(y_true, y_pred, numbers=numbers):
            return (y_pred * 0).mean(-1) + next(numbers)

        model = network()
        model.compile(optimizer="sgd", loss="mse", metrics=[drawn])
        if audit is not None:
            torch_plugin.attach(model, audit=audit)
            with pytest.warns(TorchPluginWarning, match="range_iterator"):
                model.train_on_batch(draw(8, COLUMNS), draw(8, CLASSES))
            assert "no audits" not in torch_plugin.explain(model)
        else:
            model.train_on_batch(draw(8, COLUMNS), draw(8, CLASSES))
        for _ in range(3):
            model.train_on_batch(draw(8, COLUMNS), draw(8, CLASSES))
        left.append((next(numbers), "no audits" in torch_plugin.explain(model)))
    assert [each[1] for each in left] == [True, False]
    assert left[0][0] == left[1][0]


@pytest.mark.parametrize("kind", ["train", "test", "predict"])
def test_single_batches_are_audited_now_and_then(kind):
    """Nothing says there what an epoch is."""
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model)
    batch = [draw(8, COLUMNS), draw(8, CLASSES)][: 1 if kind == "predict" else 2]
    for _ in range(audit_schedule.STEPS_PER_AUDIT + 2):  # the first one is traced
        getattr(model, f"{kind}_on_batch")(*batch)
    assert [entry.audits for entry in torch_plugin.traces(model)] == [1]


@pytest.mark.parametrize(("audit", "audits"), [("auto", 1), ("epoch", 5), ("never", 0)])
def test_short_epochs_are_audited_once_a_hundred_steps_were_made(audit, audits):
    model = network()
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model, audit=audit)
    x, y = draw(100, COLUMNS), draw(100, CLASSES)
    model.fit(x, y, epochs=6, batch_size=4, verbose=0)  # 25 steps each
    assert [entry.audits for entry in torch_plugin.traces(model)] == [audits]


@pytest.mark.parametrize(
    ("seconds", "gap"),
    [(2.0, 100), (9.0, round(8 / audit_schedule.SHARE_OF_TIME)), (1000.0, audit_schedule.MOST_STEPS_PER_AUDIT)],
)
def test_audits_that_take_long_come_more_rarely_but_come(seconds, gap):
    schedule = audit_schedule.AuditSchedule("auto")
    schedule.takes("test", seconds, step_seconds=1.0)
    asked = []
    for step in range(1000):
        schedule.begin("test", "train")
        asked += [step] if schedule.asks_for("test") else []
    assert asked == list(range(gap, 1000, gap + 1))[: len(asked)]
    assert asked
    assert schedule._gaps.keys() == {"test"}  # of one kind
