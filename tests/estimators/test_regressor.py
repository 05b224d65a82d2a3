"""The regressor, against the closed form on linear data."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from birdplane_keras import KerasDenseRegressor


def linear(**settings):
    base = {"optimizer": "sgd", "learning_rate": 0.3, "alpha": 0.0, "epochs": 100, "tol": None, "random_state": 0}
    return KerasDenseRegressor((), **{**base, **settings})


@pytest.mark.parametrize("targets", [slice(None), 0], ids=["two targets", "one target"])
def test_without_hidden_layers_it_is_linear_regression(targets, line):
    x, y = line[0], line[1][:, targets]
    ours, exact = linear().fit(x, y), LinearRegression().fit(x, y)
    assert np.allclose(ours.coefs_[0].T.squeeze(), exact.coef_, atol=1e-4)
    assert np.allclose(ours.intercepts_[0].squeeze(), exact.intercept_, atol=1e-4)
    assert ours.predict(x).shape == y.shape
    assert ours.predict(x).dtype == np.float64
    assert exact.score(x, y) - 1e-6 < ours.score(x, y) < exact.score(x, y) + 1e-6
    assert linear(epochs=1).fit(x, y).score(x, y) < 0.9  # control


def test_a_penalty_of_all_rows_is_ridge_regression(line):
    x, y = line[0] - line[0].mean(axis=0), line[1][:, 0]
    alpha = 100.0  # loss: mean((y - xw)^2) + alpha |w|^2 / (2 N)
    ridge = np.linalg.solve(x.T @ x + alpha / 2 * np.eye(3), x.T @ (y - y.mean()))
    assert np.allclose(linear(alpha=alpha).fit(x, y).coefs_[0][:, 0], ridge, atol=1e-4)
    assert not np.allclose(linear().fit(x, y).coefs_[0][:, 0], ridge, atol=1e-4)  # control


def test_a_curve_is_learned_and_early_stopping_watches_r_squared(rng):
    x = rng.uniform(-2, 2, (300, 1))
    y = np.sin(2 * x[:, 0])
    settings = {"learning_rate": 0.02, "batch_size": 32, "random_state": 0, "engine": "stock"}
    fitted = KerasDenseRegressor(32, epochs=60, early_stopping=True, tol=0.02, **settings).fit(x, y)
    assert fitted.score(x, y) > 0.9 > LinearRegression().fit(x, y).score(x, y)
    assert fitted.n_iter_ == len(fitted.validation_scores_) < 60
    assert max(fitted.validation_scores_) == fitted.best_validation_score_ > 0.9
    assert set(fitted.history_) == {"loss", "val_loss"}


def test_weights_of_rows_count(line):
    x, y = line[0], line[1][:, 0]
    twice = np.r_[y, y + 5]
    heavy = linear().fit(np.r_[x, x], twice, np.r_[np.full(200, 1.99), np.full(200, 0.01)])
    assert abs(heavy.intercepts_[0][0] - LinearRegression().fit(x, y).intercept_) < 0.03
    assert linear().fit(np.r_[x, x], twice).intercepts_[0][0] > 2  # control


def test_it_goes_on_in_parts_and_from_a_pickle(line):
    x, y = line
    whole = linear(epochs=4).fit(x, y)
    parts = linear()
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(x, y)))
    assert np.array_equal(whole.predict(x), parts.predict(x))
    with pytest.raises(ValueError, match="expected 2 targets, as in the first fit, received 1"):
        parts.partial_fit(x, y[:, 0])
    with pytest.raises(ValueError, match="expected early_stopping=False in partial_fit"):
        linear(early_stopping=True).partial_fit(x, y)
    with pytest.raises(ValueError, match="expected y within"):
        linear().fit(x, y * 1e300)


def test_frames_and_scikit_learns_tools_take_it(line):
    x, y = pd.DataFrame(line[0], columns=list("abc")), pd.DataFrame(line[1], columns=["s", "t"])
    fitted = linear(epochs=2).fit(x, y)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    assert fitted.predict(x).shape == (200, 2)
    far = TransformedTargetRegressor(clone(fitted).set_params(epochs=60), transformer=StandardScaler())
    assert cross_val_score(far, line[0], line[1][:, 0] * 1e4 + 1e6, cv=2).min() > 0.9
