"""`attach`, `detach`, `explain`, and what Keras does with an attached model."""

import copy
import re

import keras
import numpy as np
import pytest
import torch
from keras import layers
from packaging import version

from birdplane_keras import torch_plugin
from birdplane_keras.model import build_model
from birdplane_keras.recipe import build_recipe
from birdplane_keras.torch_plugin.attachment import PLUGIN_ATTRIBUTE
from birdplane_keras.training import compile_model
from plugin.networks import CLASSES, COLUMNS, ROWS, Setup, draw, labels, network
from plugin.training import entries


def make(engine: str | None = "exact", **compile_arguments) -> keras.Model:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    setup = Setup(model=network(layers.Dense(4, activation="relu")), compile=compile_arguments)
    setup.model.compile(**setup.compile)
    return setup.model if engine is None else torch_plugin.attach(setup.model, engine, strict=True)


def fit(model: keras.Model, **arguments) -> keras.callbacks.History:
    keras.utils.set_random_seed(3)
    return model.fit(
        draw(ROWS, COLUMNS), labels(), **({"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False} | arguments)
    )


def close(one: keras.Model, other: keras.Model) -> bool:
    return all(np.allclose(a, b, atol=1e-5) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_attach_refuses_what_is_not_a_keras_model():
    with pytest.raises(TypeError, match=r"expected a keras\.Model, received a Linear"):
        torch_plugin.attach(torch.nn.Linear(2, 2))


def test_attach_refuses_an_unknown_engine():
    with pytest.raises(ValueError, match="expected an engine among exact, fused, compiled, received 'quick'"):
        torch_plugin.attach(make(None), engine="quick")


def test_detach_gives_the_model_its_own_steps_back():
    stock, model = make(None), make()
    fit(model)
    torch_plugin.detach(model)
    assert PLUGIN_ATTRIBUTE not in vars(model)
    assert "make_train_function" not in vars(model)
    assert "not attached" in torch_plugin.explain(model)
    assert all(weight.value.is_contiguous() for weight in model.weights)
    model.set_weights(stock.get_weights())
    fit(model)
    fit(stock)
    assert close(model, stock)


def test_detach_of_a_model_that_is_not_attached_is_no_error():
    model = make(None)
    assert torch_plugin.detach(model) is model


def test_attaching_again_changes_the_engine():
    model = make("exact")
    fit(model)
    torch_plugin.attach(model, "fused")
    fit(model)
    assert "engine fused" in torch_plugin.explain(model)
    assert {entry.step.rewrites["gradient left as factors"] for entry in entries(model, "train")} == {3}


@pytest.mark.parametrize("engine", ["exact", "fused", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_model_with_a_nan_is_traced_and_stays_so(engine):
    model, stock = make(engine), make(None)
    for each in (model, stock):
        weights = each.get_weights()
        weights[0][0, 0] = np.nan
        each.set_weights(weights)
        fit(each)
    assert all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(model.get_weights(), stock.get_weights(), strict=True)
    )


def test_fused_leaves_small_weights_alone(monkeypatch):
    monkeypatch.undo()
    recipe = build_recipe("narrow")
    model = compile_model(build_model(recipe), recipe, "fused")
    model.train_on_batch(draw(8, 3072), labels(2, rows=8))
    assert "fused into the gradient's product for 1 of 4 weights" in torch_plugin.explain(model)


def test_explain_names_engines_rewrites_and_counts():
    model = make()
    fit(model, validation_data=(draw(8, COLUMNS), labels(rows=8)))
    said = torch_plugin.explain(model)
    # How many: on some CPUs the layout that suits the last batch is another, and the traces are made again.
    assert re.search(
        r"train, \(8, 6\) float32, \(8,\) int64: exact, \d+ steps(, \d+ of them audited)?, traced in", said
    )
    assert re.search(r"train, \(4, 6\) float32, \(4,\) int64: exact, \d+ steps", said)
    assert "test, (8, 6) float32" in said
    assert "predict: no batch yet." in said
    assert "3 x addmm" in said
    assert "update: plain SGD, w -= rate * gradient" in said


@pytest.mark.slow
def test_a_model_is_detached_for_a_while():
    model = make()
    fit(model)
    with torch_plugin.detached(model):
        assert not torch_plugin.is_attached(model)
        fit(model)
        assert "not attached" in torch_plugin.explain(model)
    assert torch_plugin.traces(model) == []
    fit(model)
    assert "exact," in torch_plugin.explain(model)
    with torch_plugin.detached(torch_plugin.detach(model)):  # one that is not attached stays so
        pass
    assert not torch_plugin.is_attached(model)


def test_explain_counts_the_steps_of_a_signature():
    model = torch_plugin.attach(make(None), audit="epoch", strict=True)
    keras.utils.set_random_seed(3)
    model.fit(draw(16, COLUMNS), labels(rows=16), batch_size=8, epochs=5, verbose=0, shuffle=False)
    assert "exact, 10 steps, 4 of them audited, traced in" in torch_plugin.explain(model)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (keras.optimizers.Adam, "Adam, in one call"),
        (keras.optimizers.Adagrad, "Adagrad, in its own operations"),
        (keras.optimizers.Lion, "Lion's own apply"),
    ],
)
def test_explain_says_how_the_weights_are_updated(optimizer, words):
    model = make("fused", optimizer=optimizer(1e-2))
    fit(model)
    assert f"update: {words}" in torch_plugin.explain(model)


def test_exact_leaves_gradients_where_backward_leaves_them():
    model = make()
    fit(model)
    assert all(weight.value.grad is not None for weight in model.trainable_weights)


def test_fused_makes_no_gradient_of_a_kernel_unless_asked():
    model = make("fused")
    model.train_on_batch(draw(8, COLUMNS), labels(rows=8))
    assert all(weight.value.grad is None for weight in model.trainable_weights)
    twin = make("exact")
    twin.train_on_batch(draw(8, COLUMNS), labels(rows=8))
    again = make("fused")
    with torch_plugin.gradients_kept(again):
        again.train_on_batch(draw(8, COLUMNS), labels(rows=8))
    for one, other in zip(again.trainable_weights, twin.trainable_weights, strict=True):
        torch.testing.assert_close(one.value.grad, other.value.grad)


@pytest.mark.parametrize("engine", ["exact", "fused"])
def test_train_on_batch_and_its_siblings(engine):
    stock, model = make(None), make(engine)
    x, y, weight = draw(8, COLUMNS), labels(rows=8), np.linspace(0, 1, 8, dtype="float32")
    for each in range(20):
        expected = stock.train_on_batch(x, y, sample_weight=weight if each % 2 else None)
        assert model.train_on_batch(x, y, sample_weight=weight if each % 2 else None) == pytest.approx(
            expected, abs=1e-5
        )
    assert close(model, stock)
    assert model.test_on_batch(x, y) == pytest.approx(stock.test_on_batch(x, y), abs=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(x), stock.predict_on_batch(x), atol=1e-5)


@pytest.mark.slow
def test_several_steps_per_execution_train_as_one_step_each():
    one, several = make("exact"), make("exact", steps_per_execution=4)
    fit(one)
    fit(several)
    assert all((a == b).all() for a, b in zip(one.get_weights(), several.get_weights(), strict=True))
    x = draw(ROWS, COLUMNS)
    assert (one.predict(x, batch_size=8, verbose=0) == several.predict(x, batch_size=8, verbose=0)).all()
    assert several.evaluate(x, labels(), batch_size=8, verbose=0) == one.evaluate(x, labels(), batch_size=8, verbose=0)
    if version.parse(keras.__version__) < version.parse("3.16.dev0"):  # from then on Keras can do it, too
        with pytest.raises(ValueError, match="`steps_per_execution` must be 1"):
            fit(make(None, steps_per_execution=4))


def test_several_steps_per_execution_run_on_the_stock_path_too():
    several = make(None, steps_per_execution=3, run_eagerly=True)
    torch_plugin.attach(several)
    with pytest.warns(torch_plugin.TorchPluginWarning, match="run_eagerly"):
        fit(several)
    assert close(several, (lambda model: (fit(model), model)[1])(make(None)))


@pytest.mark.slow
def test_an_attached_model_is_saved_and_loaded(tmp_path):
    model = make()
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert "not attached" in torch_plugin.explain(loaded)
    torch_plugin.attach(loaded, strict=True)
    x = draw(ROWS, COLUMNS)
    assert (loaded.predict(x, verbose=0) == model.predict(x, verbose=0)).all()
    fit(loaded, epochs=1)
    fit(model, epochs=1)
    assert close(loaded, model)
    model.save_weights(tmp_path / "model.weights.h5")
    fit(model, epochs=1)
    model.load_weights(tmp_path / "model.weights.h5")
    assert close(loaded, model)


def test_a_copy_of_an_attached_model_is_not_attached():
    model = make()
    fit(model)
    for other in (copy.deepcopy(model), keras.models.clone_model(model)):
        assert "not attached" in torch_plugin.explain(other)


def test_model_checkpoint_and_backup(tmp_path):
    stock, model = make(None), make()
    for each, folder in ((stock, tmp_path / "stock"), (model, tmp_path / "attached")):
        best = keras.callbacks.ModelCheckpoint(folder / "best.keras", monitor="loss", save_best_only=True)
        fit(each, epochs=4, callbacks=[best, keras.callbacks.BackupAndRestore(folder / "backup")])
    saved = [keras.models.load_model(tmp_path / name / "best.keras") for name in ("stock", "attached")]
    assert close(*saved)


@pytest.mark.slow
def test_training_goes_on_from_a_backup(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    model = make()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    with pytest.raises(KeyboardInterrupt):
        fit(model, epochs=4, callbacks=[backup, Stop()])
    resumed, whole = make(), make()
    fit(resumed, epochs=4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    fit(whole, epochs=4, shuffle=False)
    assert all((a == b).all() for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True))


def test_an_interrupted_trial_leaves_the_model_as_it_was(monkeypatch):
    model = make()
    model.optimizer.build(model.trainable_weights)
    before = [each.value.clone() for each in model.variables]

    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("birdplane_keras.torch_plugin.making.make_fx", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(model)
    assert all(torch.equal(one, each.value) for one, each in zip(before, model.variables, strict=True))


def test_compiling_again_forgets_the_traces():
    model = make()
    fit(model)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="sparse_categorical_crossentropy")
    fit(model, epochs=1)
    assert [entry.steps for entry in entries(model, "train")] == [5, 1]


def test_attach_before_compile():
    keras.utils.set_random_seed(1)
    model = torch_plugin.attach(network(), strict=True)
    assert model.predict(draw(4, COLUMNS), verbose=0).shape == (4, CLASSES)
    model.compile(**Setup(model=model).compile)
    fit(model)
    assert entries(model, "train")


def test_a_weight_that_is_replaced_is_seen():
    """A trace holds tensors; where Keras would use another one, so must the replay."""
    model = make()
    x = draw(4, COLUMNS)
    model.predict(x, verbose=0)
    kernel = model.layers[0].kernel
    kernel._value = torch.nn.Parameter(torch.zeros_like(kernel._value))
    predicted = model.predict(x, verbose=0)
    assert (predicted == predicted[0]).all()  # nothing of the inputs comes through
