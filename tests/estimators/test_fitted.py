"""What a fitted estimator shows, and what its steps run on."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from birdplane_keras import KerasDenseClassifier, KerasDenseRegressor, torch_plugin
from birdplane_keras.estimators.engines import STEPS_THAT_PAY, choose_engine


def by_hand(fitted, x):
    """The outputs of Dense layers with tanh between them."""
    *hidden, (kernel, bias) = zip(fitted.coefs_, fitted.intercepts_, strict=True)
    for one, shift in hidden:
        x = np.tanh(x @ one + shift)
    return x @ kernel + bias


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_attributes_are_those_of_scikit_learns_networks(classes):
    x, y = classes
    settings = {"activation": "tanh", "random_state": 0}
    ours = KerasDenseClassifier((7, 4), epochs=3, tol=None, **settings).fit(x, y)
    theirs = MLPClassifier((7, 4), max_iter=3, **settings).fit(x, y)
    for name in ("coefs_", "intercepts_"):
        assert [part.shape for part in getattr(ours, name)] == [part.shape for part in getattr(theirs, name)]
    for name in ("n_layers_", "n_outputs_", "n_iter_", "t_", "validation_scores_", "best_validation_score_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 3
    assert ours.best_loss_ == min(ours.loss_curve_)


def test_coefs_and_intercepts_make_the_predictions(classes):
    x, y = classes
    fitted = KerasDenseClassifier((7, 4), activation="tanh", epochs=9, tol=None, random_state=0).fit(x, y)
    logits = by_hand(fitted, x)
    assert np.allclose(logits, fitted.decision_function(x), atol=1e-5)
    assert np.array_equal(fitted.classes_[logits.argmax(axis=1)], fitted.predict(x))
    fitted.coefs_[0][:] = 0  # copies: nothing changes
    assert np.allclose(logits, fitted.decision_function(x), atol=1e-5)
    fitted.model_.set_weights([0 * weight for weight in fitted.model_.get_weights()])  # control
    assert not np.allclose(logits, fitted.decision_function(x), atol=1e-5)
    regressor = KerasDenseRegressor(7, activation="tanh", epochs=2, tol=None).fit(x, y)
    assert np.allclose(by_hand(regressor, x)[:, 0], regressor.predict(x), atol=1e-5)


def test_auto_is_stock_until_tracing_pays():
    assert choose_engine("auto", STEPS_THAT_PAY - 1) == "stock"
    assert choose_engine("auto", STEPS_THAT_PAY) == "exact"
    assert choose_engine("fused", 1) == "fused"


def test_auto_counts_the_steps_of_all_calls(classes, monkeypatch):
    monkeypatch.setattr("birdplane_keras.estimators.engines.STEPS_THAT_PAY", 9)
    x, y = classes
    fitted = KerasDenseClassifier(4, batch_size=80, random_state=0, alpha=0.0)
    for engine in ("stock", "stock", "exact", "exact"):  # 3 steps each
        assert fitted.partial_fit(x, y, classes=[0, 1, 2]).engine_ == engine
        assert torch_plugin.is_attached(fitted.model_) == (engine == "exact")
    stock = KerasDenseClassifier(4, batch_size=80, random_state=0, alpha=0.0, epochs=4, tol=None, engine="stock")
    assert np.allclose(stock.fit(x, y).predict_proba(x), fitted.predict_proba(x), atol=1e-5)
    assert stock.engine_ == "stock"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_penalty_and_a_falling_rate_are_traced(optimizer, classes):
    x, y = classes
    settings = {"optimizer": optimizer, "alpha": 0.1, "epochs": 8, "tol": 10.0, "n_iter_no_change": 2}
    exact, stock = (
        KerasDenseClassifier(8, learning_rate="adaptive", random_state=0, batch_size=40, engine=engine, **settings).fit(
            x, y
        )
        for engine in ("exact", "stock")
    )
    train = [entry for entry in torch_plugin.traces(exact.model_) if entry.kind == "train"]
    assert train
    assert all(entry.step is not None for entry in train), torch_plugin.explain(exact.model_)
    assert np.allclose(exact.loss_curve_, stock.loss_curve_, rtol=1e-4)
    assert np.allclose(exact.predict_proba(x), stock.predict_proba(x), atol=1e-4)
