"""What `X` may be, and that the same pixels are the same in every form."""

import numpy as np
import pandas as pd
import pytest

from birdplane_keras import BirdPlaneClassifier, KerasDenseClassifier
from birdplane_keras.estimators.rows import fit_scaling, look_at, standardise

FORMS = {
    "rows": lambda x: x.reshape(len(x), -1),
    "int64": lambda x: x.reshape(len(x), -1).astype(np.int64),
    "images of int32": lambda x: x.astype(np.int32),
    "frame": lambda x: pd.DataFrame(x.reshape(len(x), -1)),
    "frame of int64": lambda x: pd.DataFrame(x.reshape(len(x), -1).astype(np.int64)),
    "frame of nullable integers": lambda x: pd.DataFrame(x.reshape(len(x), -1)).astype("Int64"),
    "lists": lambda x: x.reshape(len(x), -1).tolist(),
}


def read(form, images):
    """Gives the images in a form; a frame's columns have names that are text, as scikit-learn wants them."""
    rows = FORMS[form](images) if form else images
    return rows.rename(columns=str) if isinstance(rows, pd.DataFrame) else rows


def probabilities(estimator, form, x, y, others):
    return estimator.fit(read(form, x), y).predict_proba(read(form, others))


@pytest.fixture(scope="module")
def few(some):
    x, y, others, others_y = some
    return x[:400], y[:400], others[:100], others_y[:100]


def small(**settings):
    return BirdPlaneClassifier((16,), **{"epochs": 6, "random_state": 0, "engine": "stock", **settings})


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=pytest.mark.slow if "nullable" in form else ()) for form in FORMS]
)
def test_pixels_are_the_same_in_every_form(form, few):
    x, y, others, others_y = few
    images = probabilities(small(), None, x, y, others)
    assert np.array_equal(probabilities(small(), form, x, y, others), images)
    assert ((images[:, 1] > 0.5) == others_y).mean() > 0.6


def test_a_frame_of_pixels_that_is_not_standardised_scores_worse(few):
    """Negative control: the fault that there was, silent."""
    x, y, others, others_y = few
    raw = probabilities(small(standardise=None), "frame of int64", x, y, others)
    good = probabilities(small(), "frame of int64", x, y, others)
    assert not np.array_equal(raw, good)
    assert ((raw[:, 1] > 0.5) == others_y).mean() < ((good[:, 1] > 0.5) == others_y).mean()


def test_auto_standardises_uint8_and_integer_images_by_the_training_pixels(few):
    x, y, others, _ = (part[:, :8, :8, 0] if part.ndim > 1 else part for part in few)
    dense = KerasDenseClassifier(8, epochs=2, tol=None, random_state=0)
    images = dense.fit(x, y).predict_proba(others)
    assert dense.n_features_in_ == 64
    assert (dense._scaling.mean[0], dense._scaling.deviation[0]) == (x.mean(), x.std())
    for form in ("rows", "images of int32", "frame"):
        assert np.array_equal(probabilities(dense, form, x, y, others), images)
    with pytest.warns(UserWarning, match="received integers within 0..255 as int64"):
        raw = probabilities(dense, "int64", x, y, others)
    assert not np.array_equal(raw, images)  # control
    for form in ("int64", "frame of int64"):
        asked = KerasDenseClassifier(8, epochs=2, tol=None, random_state=0, standardise="pixels")
        assert np.array_equal(probabilities(asked, form, x, y, others), images)


def test_features_are_standardised_each_by_the_rows_that_train(rng):
    rows = rng.normal(size=(50, 3)) * [1, 100, 0] + [0, 1e6, 7]
    kept = np.arange(40)
    scaling = fit_scaling("features", look_at(rows), rows, kept)
    read = standardise(scaling, rows)
    assert read.dtype == np.float32
    assert np.allclose(read[kept].mean(axis=0), 0, atol=1e-6)
    assert np.allclose(read[kept].std(axis=0), [1, 1, 0], atol=1e-6)
    assert np.array_equal(standardise(fit_scaling(None, look_at(rows), rows, kept), rows), rows.astype(np.float32))


def test_numbers_are_read_as_they_are_and_never_written_to(rng):
    rows = rng.normal(size=(60, 3)).astype(np.float32)
    rows.flags.writeable = False
    assert np.array_equal(standardise(fit_scaling("auto", look_at(rows), rows, np.arange(60)), rows), rows)
    counts = rng.integers(0, 5, (60, 3))
    assert fit_scaling("auto", look_at(counts), counts, np.arange(60)).kind == "numbers"
    assert fit_scaling("cifar10", look_at(counts), counts, np.arange(60)).kind == "numbers"


def test_what_fit_has_not_seen_is_refused(few):
    x, y, others, _ = few
    dense = KerasDenseClassifier(4, epochs=1, tol=None).fit(x[:, :4, :6], y)
    with pytest.raises(ValueError, match=r"expected images \(4, 6, 3\), as in fit, received images \(6, 4, 3\)"):
        dense.predict(others[:, :6, :4])
    with pytest.raises(ValueError, match=r"expected integer pixels within 0..255, as in fit, received .* float64"):
        dense.predict(others[:, :4, :6] / 255)
    floats = KerasDenseClassifier(4, epochs=1, tol=None).fit(x[:, :4, :6] / 255, y)
    assert floats.predict(others[:, :4, :6] / 255).shape == (100,)
    with pytest.raises(ValueError, match=r"expected numbers that are no pixels, as in fit, received .* uint8"):
        floats.predict(others[:, :4, :6])
    with pytest.raises(ValueError, match=r"images \(N, 32, 32, 3\) .* received images \(4, 6, 3\), uint8"):
        small().fit(x[:, :4, :6], y)
    with pytest.raises(ValueError, match="expected numbers within ±3"):
        KerasDenseClassifier(4).fit(np.full((4, 2), 1e300), [0, 1, 0, 1])
