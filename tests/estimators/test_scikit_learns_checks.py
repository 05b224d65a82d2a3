"""scikit-learn's own checks of an estimator, for all three."""

import pytest
from sklearn.utils.estimator_checks import check_estimators_pickle, parametrize_with_checks

from birdplane_keras import BirdPlaneClassifier, KerasDenseClassifier, KerasDenseRegressor

# It is scikit-learn's: it expects the same of its own SGDClassifier and Perceptron.
REASON = (
    "a step of SGD sees a batch: a weight of 2 is not the row twice (scikit-learn #16298, as for its SGDClassifier)"
)
EXPECTED_FAILURES = {"check_sample_weight_equivalence_on_dense_data": REASON}
SMALL = {"batch_size": 16, "tol": None, "epochs": 20, "random_state": 0}


@pytest.mark.slow
@parametrize_with_checks(
    [
        BirdPlaneClassifier((16,), learning_rate=0.1, **SMALL),
        KerasDenseClassifier(16, learning_rate=0.01, **SMALL),
        KerasDenseRegressor(16, learning_rate=0.01, **SMALL),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


class Forgetful(KerasDenseRegressor):
    """Comes without its weights from a pickle."""

    def __setstate__(self, state):
        super().__setstate__(state)
        self.model_.set_weights([0 * weight for weight in self.model_.get_weights()])


def test_one_of_scikit_learns_checks_fails_an_estimator_that_forgets():
    check_estimators_pickle("KerasDenseRegressor", KerasDenseRegressor(4, **SMALL))
    with pytest.raises(AssertionError):
        check_estimators_pickle("Forgetful", Forgetful(4, **SMALL))
