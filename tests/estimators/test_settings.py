"""Wrong parameters say what was expected, and what was received."""

import keras
import numpy as np
import pytest

from birdplane_keras import KerasDenseClassifier, KerasDenseRegressor
from birdplane_keras.estimators.settings import check_settings

ADAM = keras.optimizers.Adam()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layers": 0}, "expected hidden_layers of at least 1 unit each, received 0"),
        ({"hidden_layers": (8, 2.5)}, r"expected hidden_layers of at least 1 unit each, received \(8, 2.5\)"),
        ({"activation": "warp"}, "expected activation to be identity, logistic, .* received 'warp'"),
        ({"optimizer": "lbfgs"}, "expected optimizer to be sgd, adam, adamw, rmsprop, or a Keras optimizer, rec"),
        ({"optimizer": 3}, "expected optimizer to be a name or a Keras optimizer, received 3"),
        ({"optimizer": ADAM, "learning_rate": 0.1}, "expected learning_rate=None beside an optimizer object"),
        ({"learning_rate": "falling"}, "expected learning_rate to be a number, a schedule, constant, invscaling"),
        ({"learning_rate": True}, "expected learning_rate above 0, received True"),
        ({"learning_rate_init": 0.1}, "expected learning_rate_init=None where learning_rate is no name"),
        ({"learning_rate": "constant", "learning_rate_init": 0}, "expected learning_rate_init above 0, received 0"),
        ({"learning_rate": "adaptive", "tol": None}, "expected tol of at least 0 with learning_rate='adaptive'"),
        ({"momentum": 0.9}, "expected momentum=0 with another optimizer than 'sgd', received 0.9"),
        ({"nesterov": True}, "expected nesterov=False with another optimizer than 'sgd', received True"),
        ({"optimizer": "sgd", "nesterov": True}, "expected nesterov=False where momentum is 0"),
        ({"optimizer": "sgd", "momentum": 1.5}, "expected momentum from 0 to 1, received 1.5"),
        ({"alpha": -1}, "expected alpha of at least 0, received -1"),
        ({"power_t": None}, "expected power_t of at least 0, received None"),
        ({"batch_size": True}, "expected batch_size to be an integer of at least 1, received True"),
        ({"n_iter_no_change": 0}, "expected n_iter_no_change to be an integer of at least 1, received 0"),
        ({"tol": -1e-4}, "expected tol of at least 0, or None, received -0.0001"),
        ({"early_stopping": 1}, "expected early_stopping to be True or False, received 1"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "expected validation_fraction above 0 with early_st"),
        ({"standardise": "minmax"}, "expected standardise to be 'auto', 'pixels', .* received 'minmax'"),
        ({"verbose": "loud"}, "expected verbose to be 0, 1, 2 or 'auto', received 'loud'"),
        ({"engine": "compiled"}, "expected engine to be auto, stock, exact or fused, received 'compiled'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_parameter_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KerasDenseClassifier(**settings).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match=message):
        KerasDenseRegressor(**settings).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": ADAM},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 10)},
        {"learning_rate": np.float32(0.1), "alpha": 0, "early_stopping": np.bool_(True)},
        {"hidden_layers": np.array([3, 4]), "activation": keras.activations.gelu, "tol": None},
    ],
)
def test_what_may_be_set_is_accepted(settings):
    check_settings(KerasDenseClassifier(**settings))


def test_early_stopping_needs_rows_to_hold_out():
    x, y = np.arange(4.0)[:, None], np.arange(4.0)
    with pytest.raises(ValueError, match="expected 2 held out rows or more for early_stopping, received 1 of 4"):
        KerasDenseRegressor(early_stopping=True).fit(x, y)
