"""How training ends, goes on, and what drives it."""

import pickle
import warnings

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from birdplane_keras import KerasDenseClassifier


def dense(**settings):
    base = {"epochs": 5, "tol": None, "batch_size": 32, "random_state": 0, "engine": "stock"}
    return KerasDenseClassifier(8, **{**base, **settings})


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


class Keeping(keras.callbacks.Callback):
    """Keeps the weights of each epoch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        self.kept.append(self.model.get_weights())


def test_early_stopping_ends_and_keeps_the_best_weights(classes):
    keeping = Keeping()
    stopped = dense(epochs=300, early_stopping=True, n_iter_no_change=4, learning_rate=0.02, callbacks=[keeping]).fit(
        *classes
    )
    scores = stopped.validation_scores_
    assert stopped.n_iter_ == len(scores) == len(keeping.kept) < 300
    assert stopped.best_validation_score_ == max(scores) > max(scores[-4:]) - 1e-9
    assert same(stopped.model_.get_weights(), keeping.kept[int(np.argmax(scores))])
    assert not same(stopped.model_.get_weights(), keeping.kept[-1])
    assert len(stopped.history_["val_accuracy"]) == len(scores)
    assert np.allclose(stopped.history_["val_accuracy"], scores)
    whole = dense(epochs=stopped.n_iter_, validation_fraction=0.1, learning_rate=0.02).fit(*classes)  # control
    assert whole.validation_scores_ is None
    assert same(whole.model_.get_weights(), keeping.kept[-1])


def test_a_score_that_stays_as_it_is_is_no_better(rng):
    y = np.arange(120) % 2
    x = y[:, None] * 9 + rng.normal(size=(120, 2))  # all right from an early epoch on
    stopped = dense(epochs=60, early_stopping=True, tol=None, n_iter_no_change=3, learning_rate=0.05).fit(x, y)
    assert stopped.n_iter_ < 60
    assert stopped.validation_scores_[-4:] == [1.0] * 4


def test_training_ends_once_the_loss_stays(classes):
    ended = dense(epochs=50, tol=10.0, n_iter_no_change=3).fit(*classes)  # nothing improves so much but the first
    assert ended.n_iter_ == len(ended.loss_curve_) == 4
    assert ended.best_loss_ == min(ended.loss_curve_)
    assert dense(epochs=7, n_iter_no_change=1).fit(*classes).n_iter_ == 7  # control: tol=None
    with pytest.warns(ConvergenceWarning, match="to end training within epochs=2, received no end"):
        dense(epochs=2, tol=1e-4).fit(*classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        dense(epochs=2).fit(*classes)


def test_alpha_shrinks_the_weights_and_is_in_the_loss(classes):
    def size(alpha):
        fitted = dense(alpha=alpha, epochs=15, learning_rate=0.01).fit(*classes)
        return sum((kernel**2).sum() for kernel in fitted.coefs_)

    assert size(100.0) < 0.5 * size(1.0) < 0.5 * size(0.0)
    still = {"optimizer": "sgd", "learning_rate": 1e-30, "epochs": 1}
    plain, penalised = (dense(alpha=alpha, **still).fit(*classes) for alpha in (0.0, 3.0))
    squares = sum((kernel.astype(np.float64) ** 2).sum() for kernel in plain.coefs_)
    assert np.isclose(penalised.loss_curve_[0] - plain.loss_curve_[0], 0.5 * 3 * squares / 32, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", keras.optimizers.Nadam(0.01)], ids=["adam", "sgd", "object"])
def test_warm_start_goes_on_as_if_it_had_not_stopped(optimizer, classes):
    settings = {"optimizer": optimizer, "momentum": 0.9 if optimizer == "sgd" else 0.0}
    whole = dense(epochs=6, **settings).fit(*classes)
    parts = dense(epochs=3, warm_start=True, **settings).fit(*classes)
    half = parts.model_.get_weights()
    parts = pickle.loads(pickle.dumps(parts))  # a pickle remembers the moments, too
    parts.fit(*classes)
    assert same(parts.model_.get_weights(), whole.model_.get_weights())
    assert (parts.n_iter_, parts.epochs_, len(parts.loss_curve_)) == (3, 6, 6)
    assert parts.t_ == whole.t_ == 6 * 240
    again = parts.set_params(warm_start=False).fit(*classes)  # control
    assert same(again.model_.get_weights(), half)


def test_a_warm_start_takes_new_settings_and_refuses_another_network(classes):
    x, y = classes
    warm = dense(warm_start=True).fit(x, y)
    before = warm.model_.get_weights()
    warm.set_params(learning_rate=1e-30, alpha=0.0).fit(x, y)
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(before, warm.model_.get_weights(), strict=True))
    with pytest.raises(ValueError, match="expected hidden_layers and activation as in the first fit"):
        clone(warm).fit(x, y).set_params(hidden_layers=9).fit(x, y)
    with pytest.raises(ValueError, match="expected standardise as in the first fit, 'auto', received None"):
        clone(warm).fit(x, y).set_params(standardise=None).fit(x, y)
    with pytest.raises(ValueError, match="expected labels among the classes"):
        warm.fit(x, y + 1)


def test_each_optimizer_goes_its_own_way_and_an_object_is_cloned(classes):
    ways = {}
    for name in ("sgd", "adam", "adamw", "rmsprop"):
        ways[name] = dense(optimizer=name, learning_rate=0.01).fit(*classes).model_.get_weights()
    ways["momentum"] = dense(optimizer="sgd", learning_rate=0.01, momentum=0.9).fit(*classes).model_.get_weights()
    nesterov = dense(optimizer="sgd", learning_rate=0.01, momentum=0.9, nesterov=True)
    ways["nesterov"] = nesterov.fit(*classes).model_.get_weights()
    assert len({weights[0].tobytes() for weights in ways.values()}) == 6
    adam = keras.optimizers.Adam(0.01)
    asked = clone(dense(optimizer=adam)).fit(*classes)
    assert same(asked.model_.get_weights(), ways["adam"])
    assert not adam.built
    assert asked.model_.optimizer is not asked.optimizer


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_rate_falls_as_its_name_says(classes):
    def rate(**settings):
        fitted = dense(optimizer="sgd", epochs=4, **settings).fit(*classes)
        return float(keras.ops.convert_to_numpy(fitted.model_.optimizer.learning_rate)), fitted

    named = {"learning_rate_init": 0.5, "tol": 10.0, "n_iter_no_change": 1}
    assert rate(learning_rate="constant", learning_rate_init=0.5)[0] == 0.5
    assert np.isclose(rate(learning_rate="invscaling", learning_rate_init=0.5)[0], 0.5 / (4 * 240 + 1) ** 0.5)
    lowered, fitted = rate(learning_rate="adaptive", **named)
    assert np.isclose(lowered, 0.5 / 5**3)
    assert fitted.n_iter_ == 4
    assert rate(learning_rate="constant", **named)[1].n_iter_ == 2  # control
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 8, 0.5)
    assert np.isclose(rate(learning_rate=schedule)[0], 0.5 * 0.5**4)


@pytest.mark.parametrize(("theirs", "ours"), [("identity", "linear"), ("logistic", "sigmoid"), ("relu", "relu")])
def test_activations_have_scikit_learns_names_and_keras(theirs, ours, classes):
    named, plain, function = (
        dense(activation=name, epochs=1).fit(*classes).model_.get_weights()
        for name in (theirs, ours, getattr(keras.activations, ours))
    )
    assert same(named, plain)
    assert same(named, function)


def test_training_that_ends_in_no_finite_weights_says_so(classes):
    x, y = classes
    with pytest.raises(ValueError, match="expected finite weights after training"):
        dense(optimizer="sgd", learning_rate=1e30, activation="linear").fit(x, y)
