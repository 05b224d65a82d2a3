"""Stacks of Dense layers behind scikit-learn's interface: a classifier, a regressor, and that of the article."""

from birdplane_keras.estimators.bird_plane import BirdPlaneClassifier
from birdplane_keras.estimators.classifier import KerasDenseClassifier
from birdplane_keras.estimators.regressor import KerasDenseRegressor

__all__ = ["BirdPlaneClassifier", "KerasDenseClassifier", "KerasDenseRegressor"]
