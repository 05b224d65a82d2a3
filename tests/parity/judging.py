"""What the tests of advice share."""

from keras import layers
from torch import nn

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, dense, stack, vector_pair
from birdplane_keras.parity import check_parity


def judged(pair, steps=10):
    result = check_parity(pair, steps=steps)
    assert result.verdict == "diverged"
    return result


def norms(*epsilons):
    """A stack of LayerNorms of 1e-5 in PyTorch, and of other epsilons in Keras."""
    theirs = [part for _ in epsilons for part in (nn.Linear(FEATURES, FEATURES), nn.LayerNorm(FEATURES), nn.Tanh())]
    ours = []
    for epsilon in epsilons:
        ours += [dense(FEATURES, FEATURES), layers.LayerNormalization(epsilon=epsilon), layers.Activation("tanh")]
    module = nn.Sequential(*theirs, nn.Linear(FEATURES, CLASSES))
    return vector_pair(0, module=module, model=stack((FEATURES,), [*ours, dense(FEATURES, CLASSES)]))
