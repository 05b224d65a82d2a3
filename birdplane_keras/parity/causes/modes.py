"""Normalisation that uses its moving statistics in training."""

from collections.abc import Iterator

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Hypothesis, advise
from birdplane_keras.parity.kinds.batch_norm import MODULES
from birdplane_keras.parity.private_keras import layers_of
from birdplane_keras.parity.sides.torch_run import TorchRun


def suppose_modes(case: Case) -> Iterator[Hypothesis]:
    """Yields the port in inference mode, and a reference that is partly so where the port is not."""
    modules = [module for module in case.pair.torch_module.modules() if isinstance(module, MODULES)]
    if not modules:
        return
    frozen = [layer.name for layer in layers_of(case.pair.keras_model) if is_frozen_normalisation(layer)]
    told = f" ({', '.join(frozen[:3])})" if frozen else ""
    yield Hypothesis(
        cause="batchnorm_mode",
        text=f"the port's BatchNormalization uses its moving statistics in training{told}",
        advice=advise(
            "call the layer with training=True, or leave trainable=True: a frozen Keras layer is in inference mode"
        ),
        change=lambda run: set_modes(run, training=False),
    )
    yield Hypothesis(
        cause="batchnorm_mode",
        text="the port's BatchNormalization uses the batch's statistics in training, the reference's is in evaluation "
        "mode",
        advice=advise(
            "trainable=False for the layers whose modules are in evaluation mode: Keras then infers with them"
        ),
        change=lambda run: set_modes(run, training=True),
    )


def is_frozen_normalisation(layer: object) -> bool:
    """Whether a layer is a BatchNormalization that is not trained."""
    return type(layer).__name__ == "BatchNormalization" and not getattr(layer, "trainable", True)


def set_modes(run: TorchRun, *, training: bool) -> None:
    """Puts every normalisation of a run into one mode."""
    run.modes = [(m, training if isinstance(m, MODULES) else mode) for m, mode in run.modes]
