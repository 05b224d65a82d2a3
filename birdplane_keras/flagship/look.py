"""What both sides say about one image, untrained and trained: the article's sections 2 to 4."""

from typing import Any

import numpy as np

from birdplane_keras.flagship.trained import TrainedSides
from birdplane_keras.labels import CLASS_NAMES


def look_at(trained: TrainedSides, split: str, index: int) -> dict[str, Any]:
    """Asks both sides about one image.

    Args:
        trained: Both sides.
        split: `train` or `validation`.
        index: Of the image in the split, from 0.

    Returns:
        `split`, `index`, `label` (the class's name), and `answers`: for each of `untrained` and `trained` and each side
        `probabilities` (2,), `predicted` (the class's name) and `loss`.
    """
    answers: dict[str, dict[str, Any]] = {"untrained": {}, "trained": {}}
    label = 0
    for side, program in trained.sides.items():
        data = program.data()
        x, y = data[f"x_{split}"], data[f"y_{split}"]
        label = int(y[index])
        for state, predictors in (("untrained", trained.untrained), ("trained", trained.trained)):
            probabilities, loss = program.answer(predictors[side](x[index : index + 1])[0], label)
            answers[state][side] = {
                "probabilities": probabilities.tolist(),
                "predicted": CLASS_NAMES[int(np.argmax(probabilities))],
                "loss": loss,
            }
    return {"split": split, "index": index, "label": CLASS_NAMES[label], "answers": answers}
