"""The numbers of a trained classifier, through scikit-learn. No framework, no plotting."""

from typing import Any

import numpy as np
from sklearn import metrics

from birdplane_keras.labels import CLASS_NAMES

LABELS = list(range(len(CLASS_NAMES)))


def evaluate_logits(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Scores logits against labels.

    Args:
        logits: (N, 2) float32; the predicted class is the larger one.
        labels: (N,) int64.

    Returns:
        `accuracy`; `confusion_matrix`, rows true and columns predicted, airplane first; and
        `classification_report` as scikit-learn's dictionary.
    """
    predicted = logits.argmax(axis=1)
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=LABELS).tolist(),
        "classification_report": metrics.classification_report(
            labels, predicted, labels=LABELS, target_names=list(CLASS_NAMES), output_dict=True, zero_division=0
        ),
    }


def report_text(logits: np.ndarray, labels: np.ndarray) -> str:
    """Returns scikit-learn's classification report as text, four digits."""
    return metrics.classification_report(
        labels, logits.argmax(axis=1), labels=LABELS, target_names=list(CLASS_NAMES), digits=4, zero_division=0
    )


def area_under_roc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the area under the ROC curve of the second class, from logits (N, 2) and labels (N,)."""
    return float(metrics.roc_auc_score(labels, logits[:, 1].astype(np.float64) - logits[:, 0]))
