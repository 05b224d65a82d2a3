"""The project's own classifier as a scikit-learn estimator, and what its users do with it, on real images."""

import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.inspection import permutation_importance
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, classification_report
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from birdplane_keras import BirdPlaneClassifier, build_recipe, train
from birdplane_keras.data.inputs import normalize


@pytest.fixture(scope="module")
def fitted(some):
    return BirdPlaneClassifier((64,), epochs=4, random_state=0).fit(*some[:2])


@pytest.mark.slow
def test_the_defaults_end_in_the_weights_of_narrow(port_data, images):
    run = train(build_recipe("narrow", epochs=1, seed=3), *port_data)
    estimator = BirdPlaneClassifier(epochs=1, random_state=3).fit(*images[0])
    for weight, value in zip(estimator.model_.trainable_weights, run.weights.values(), strict=True):
        assert np.array_equal(weight.value.detach().numpy(), value)
    other = BirdPlaneClassifier(epochs=1, random_state=4).fit(*images[0])  # control
    assert not np.array_equal(other.model_.get_weights()[0], estimator.model_.get_weights()[0])


def test_images_and_flattened_images_are_the_same(some, fitted):
    x, y, others, _ = some
    flat = clone(fitted).fit(x.reshape(len(x), -1), y)
    assert np.array_equal(flat.predict_proba(others), fitted.predict_proba(others.reshape(len(others), -1)))
    assert fitted.n_features_in_ == flat.n_features_in_ == 3072


def test_what_fit_has_not_seen_is_refused(some, fitted):
    _, _, others, _ = some
    with pytest.raises(ValueError, match=r"expected integer pixels within 0\.\.255, as in fit"):
        fitted.predict(others.reshape(len(others), -1).astype(np.float64))
    with pytest.raises(ValueError, match=r"as in fit, received shape \(300, 32, 32, 3\), float64"):
        fitted.predict(others / 255)
    features = BirdPlaneClassifier((4,), epochs=1).fit(normalize(others), np.arange(300) % 2)
    with pytest.raises(ValueError, match="expected numbers that are no pixels"):
        features.predict(others)


@pytest.mark.parametrize(
    "labels",
    [np.array(["plane", "bird", "cat"]), np.array([-1, 7, 3]), np.array([0.0, 2.0, 1.0]), np.array([True, False])],
    ids=["text", "integers", "floats", "booleans"],
)
def test_any_number_and_type_of_labels(labels, rng):
    codes = rng.integers(0, len(labels), 300)
    x = rng.normal(size=(300, 5)) + 3 * codes[:, None]
    estimator = BirdPlaneClassifier((16,), learning_rate=0.1, epochs=20, random_state=0, engine="stock").fit(
        x, labels[codes]
    )
    assert estimator.classes_.tolist() == sorted(labels.tolist())
    assert estimator.predict(x).dtype == labels.dtype
    assert estimator.score(x, labels[codes]) > 0.9
    chances, scores = estimator.predict_proba(x), estimator.decision_function(x)
    assert chances.shape == (300, len(labels))
    assert np.allclose(chances.sum(axis=1), 1)
    assert scores.shape == ((300,) if len(labels) == 2 else (300, 3))
    assert np.allclose(np.log(chances), estimator.predict_log_proba(x))


@pytest.mark.slow
def test_random_state_fixes_every_bit_and_none_does_not(some):
    def weights(**changes):
        estimator = BirdPlaneClassifier((16,), epochs=1, **{"random_state": 5, **changes}).fit(*some[:2])
        return estimator.model_.get_weights()[0].tobytes()

    assert weights() == weights()
    assert weights(random_state=np.random.RandomState(1)) == weights(random_state=np.random.RandomState(1))
    assert len({weights(), weights(random_state=6), weights(random_state=None), weights(random_state=None)}) == 4


def test_passes_of_partial_fit_are_those_of_fit(some):
    x, y, others, _ = some
    whole = BirdPlaneClassifier((16,), epochs=3, random_state=1).fit(x, y)
    parts = BirdPlaneClassifier((16,), epochs=99, random_state=1)
    for _ in range(3):
        parts.partial_fit(x, y, classes=[0, 1])
    assert np.array_equal(whole.predict_proba(others), parts.predict_proba(others))
    assert whole.history_ == parts.history_
    assert parts.epochs_ == 3
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        BirdPlaneClassifier().partial_fit(x, y)
    with pytest.raises(ValueError, match="expected labels among the classes"):
        parts.partial_fit(x, y + 1)


def test_a_pickle_predicts_the_same_and_goes_on_the_same(some, fitted):
    x, y, others, _ = some
    loaded = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(loaded.predict_proba(others), fitted.predict_proba(others))
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(loaded.partial_fit(x, y).predict_proba(others), again.partial_fit(x, y).predict_proba(others))
    assert not np.array_equal(loaded.predict_proba(others), fitted.predict_proba(others))


def test_a_prediction_does_not_depend_on_what_is_asked_beside_it(some, fitted):
    _, _, others, _ = some
    whole = fitted.predict_proba(others)
    assert all(np.array_equal(fitted.predict_proba(others[i : i + 1])[0], whole[i]) for i in range(0, 300, 17))


@pytest.mark.slow
def test_weights_of_rows_and_classes_count(rng):
    x = rng.normal(size=(400, 3))
    y = (rng.random(400) < 0.5).astype(int)  # nothing to be learned: the weights decide
    base = {"learning_rate": 0.5, "epochs": 10, "random_state": 0}
    birds = {
        name: BirdPlaneClassifier((8,), **base, **settings).fit(x, y, weights).predict(x).mean()
        for name, settings, weights in (
            ("rows", {}, np.where(y == 1, 5.0, 0.2)),
            ("classes", {"class_weight": {0: 0.2, 1: 5.0}}, None),
            ("other rows", {}, np.where(y == 1, 0.2, 5.0)),
        )
    }
    assert birds["rows"] == birds["classes"] > 0.9
    assert birds["other rows"] < 0.1
    with pytest.raises(ValueError, match="class_weight 'balanced' needs all rows"):
        BirdPlaneClassifier(class_weight="balanced").partial_fit(x, y, classes=[0, 1])


def test_held_out_rows_callbacks_and_history(some):
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=100, patience=1)  # nothing improves so much
    estimator = BirdPlaneClassifier(
        (16,), epochs=9, random_state=0, validation_fraction=0.2, callbacks=[stopping], engine="stock"
    ).fit(*some[:2])
    assert estimator.epochs_ == 2
    assert set(estimator.history_) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 2 for values in estimator.history_.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "expected epochs to be an integer of at least 1, received 0"),
        ({"batch_size": 2.5}, "expected batch_size to be an integer"),
        ({"hidden_layers": (0,)}, "expected hidden_layers of at least 1 unit each"),
        ({"learning_rate": -1}, "expected learning_rate above 0"),
        ({"validation_fraction": 1.0}, "expected validation_fraction from 0 to below 1"),
        ({"engine": "warp"}, "expected engine to be auto, stock, exact or fused"),
    ],
)
def test_settings_are_checked_when_fit_is_called(settings, message, some):
    with pytest.raises(ValueError, match=message):
        BirdPlaneClassifier(**settings).fit(*some[:2])


@pytest.mark.slow
def test_a_grid_search_is_reproducible(some):
    x, y, _, _ = some

    def search(jobs):
        estimator = BirdPlaneClassifier((32,), epochs=3, random_state=0)
        return GridSearchCV(estimator, {"learning_rate": [0.001, 0.01]}, cv=3, n_jobs=jobs).fit(x, y)

    first, second = search(2), search(2)
    assert first.best_score_ == second.best_score_
    assert first.cv_results_["mean_test_score"].tolist() == second.cv_results_["mean_test_score"].tolist()
    assert first.best_params_ == {"learning_rate": 0.01}
    assert 0.6 < first.best_score_ < 0.9


@pytest.mark.slow
def test_it_works_in_pipelines_cross_validation_and_calibration(some):
    x, y, others, others_y = some
    small = BirdPlaneClassifier((16,), epochs=2, random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), small), x.reshape(len(x), -1), y, cv=3)
    assert scores.min() > 0.55
    for shape in (x.shape[1:], (-1,)):  # images, and the same flattened
        calibrated = CalibratedClassifierCV(small, cv=3).fit(x.reshape(len(x), *shape), y)
        assert calibrated.score(others.reshape(len(others), *shape), others_y) > 0.6


def test_permutation_importance_finds_the_column_that_matters(rng):
    x = rng.normal(size=(300, 4))
    y = (x[:, 2] > 0).astype(int)
    estimator = BirdPlaneClassifier((8,), learning_rate=0.2, epochs=20, random_state=0, engine="stock").fit(x, y)
    importance = permutation_importance(estimator, x, y, random_state=0).importances_mean
    assert importance.argmax() == 2
    assert importance[2] > 0.2 > np.abs(np.delete(importance, 2)).max()


def test_scikit_learns_reports_and_displays_take_it(some, fitted):
    _, _, x, y = some
    report = classification_report(y, fitted.predict(x), output_dict=True)
    assert report["accuracy"] == fitted.score(x, y) > 0.6
    assert ConfusionMatrixDisplay.from_estimator(fitted, x, y).confusion_matrix.sum() == 300
    assert 0.6 < RocCurveDisplay.from_estimator(fitted, x, y).roc_auc < 1
    assert len(CalibrationDisplay.from_estimator(fitted, x, y).prob_true) > 2
