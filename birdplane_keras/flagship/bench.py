"""The two programs on the judge's bench, as any other pair."""

from functools import cached_property

import numpy as np

from birdplane_keras.flagship.sides import KerasSide, TorchSide
from birdplane_keras.parity.core.records import Tensors
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.bench import EPOCHS_SHOWN, PairBench

FEW = 256  # validation images that the rungs before training predict


class ProgramsBench(PairBench):
    """Both programs, taken apart into what a `Pair` holds.

    Args:
        port: The Keras side, which holds the reference's weights already.
        reference: The PyTorch side.
        batch_size: Of both; the order of the batches is each side's own.
        seed: Draws the nudges.
    """

    def __init__(self, port: KerasSide, reference: TorchSide, *, batch_size: int, seed: int) -> None:
        self._port, self._reference = port, reference
        ours, theirs = self.data()
        logits, loss, optimizer = reference.parts()
        model = port.compiled()
        super().__init__(
            Pair(
                keras_model=model,
                torch_module=logits,
                torch_loss=loss,
                torch_optimizer=optimizer,
                data=(theirs["x_train"], theirs["y_train"]),
                keras_data=(ours["x_train"], ours["y_train"]),
                inputs_by_epoch=reference.inputs if reference.augmented() else None,
                keras_inputs_by_epoch=port.inputs if reference.augmented() else None,
                validation_data=(theirs["x_validation"][:FEW], theirs["y_validation"][:FEW]),
                batch_size=batch_size,
                batches=reference.batches,
                keras_batches=port.batches,
                weights="as_given",
                keras_loss=lambda: model.loss.latest.value,
            ),
            seed,
        )

    def data(self) -> tuple[Tensors, Tensors]:
        """Every normalised pixel and every label, of both splits, as the two programs have them.

        Where epochs change the images, what the first two of them show, too.
        """
        return self._both

    def weights_as_built(self) -> tuple[Tensors, Tensors]:
        """The weights that each program draws by itself."""
        ours, theirs = self._port.as_built(), self._reference.initial_weights()
        return {name: ours[name] for name in theirs if name in ours}, theirs

    @cached_property
    def _both(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        ours, theirs = self._port.data(), self._reference.data()
        if self._reference.augmented():
            for epoch in range(EPOCHS_SHOWN):
                name = f"x_train in epoch {epoch}"
                ours[name], theirs[name] = self._port.inputs(epoch), self._reference.inputs(epoch)
        return ours, theirs
