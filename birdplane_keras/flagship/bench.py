"""The two programs on the judge's bench, as any other pair: their own loops, and what they are made of, taken apart."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from birdplane_keras.flagship.loops import LoopRun
from birdplane_keras.flagship.port import Port
from birdplane_keras.flagship.reference import Reference
from birdplane_keras.parity.core.bench import PortRun, ReferenceRun, Run
from birdplane_keras.parity.core.records import Fed, Scores, Tensors
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.bench import EPOCHS_SHOWN, PairBench
from birdplane_keras.progress import epoch_bar

MOST_CHECKPOINTS = 100  # of a training run, at the ends of epochs


class ProgramsBench(PairBench):
    """Both programs, and the pair that they are made of.

    Args:
        port: Holds the reference's weights already.
        reference: The original.
        batch_size: Of both; the order of the batches is each side's own.
        seed: Draws the nudges.
    """

    exact_data = True

    def __init__(self, port: Port, reference: Reference, *, batch_size: int, seed: int) -> None:
        self._port, self._reference = port, reference
        self._on_epoch_end: Any = lambda epoch, metrics: None
        ours, theirs = port.data(), reference.data()
        logits, loss, optimizer = reference.parts()
        model = port.compiled()
        augmented = reference.augmented()
        super().__init__(
            Pair(
                keras_model=model,
                torch_module=logits,
                torch_loss=loss,
                torch_optimizer=optimizer,
                data=(theirs["x_train"], theirs["y_train"]),
                keras_data=(ours["x_train"], ours["y_train"]),
                inputs_by_epoch=reference.inputs if augmented else None,
                keras_inputs_by_epoch=port.inputs if augmented else None,
                validation_data=(theirs["x_validation"], theirs["y_validation"]),
                batch_size=batch_size,
                batches=reference.batches,
                keras_batches=port.batches,
                weights="as_given",
                keras_loss=lambda: model.loss.latest.value,
            ),
            seed,
        )

    def recipes(self) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        """The hyperparameters that both programs state."""
        return self._port.recipe(), self._reference.recipe()

    def data(self) -> tuple[Fed, Fed]:
        """Every normalised pixel and every label, of both splits, as the two programs have them.

        Where epochs change the images, what the first two of them show, too.
        """
        return self._both

    @cached_property
    def _both(self) -> tuple[Fed, Fed]:
        epochs = range(EPOCHS_SHOWN if self._reference.augmented() else 0)
        fed = []
        for side in (self._port, self._reference):
            tensors = side.data()
            inputs, targets = ({n: v for n, v in tensors.items() if n in names} for names in (INPUTS, TARGETS))
            fed.append(Fed(inputs=inputs, targets=targets, by_epoch=[{"x_train": side.inputs(e)} for e in epochs]))
        return fed[0], fed[1]

    def weights_as_built(self) -> tuple[Tensors, Tensors]:
        """The weights that each program draws by itself."""
        ours, theirs = self._port.as_built(), self._reference.as_built()
        return {name: ours[name] for name in theirs if name in ours}, theirs

    def checkpoints(self, steps: int) -> Sequence[int]:
        """After which steps all weights are compared: at the ends of epochs, of a hundred at the most."""
        batches = len(self._reference.batches(0))
        epochs = max(1, steps // batches)
        ends = np.linspace(0, epochs, min(epochs, MOST_CHECKPOINTS) + 1).round().astype(int)[1:]
        return sorted({*(int(end) * batches - 1 for end in ends), steps - 1})

    def programs(self) -> tuple[PortRun, ReferenceRun]:
        """Both programs from their start, by their own loops."""
        steps = int(self._reference.own.epochs) * len(self._reference.batches(0))
        return LoopRun(self._port, steps), LoopRun(self._reference, steps, self._on_epoch_end)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within it, a bar shows how far the reference's loop is."""
        with epoch_bar("Keras and PyTorch", self._reference.own.epochs) as bar:
            self._on_epoch_end = bar
            yield

    def accuracies(self, port: Run, reference: Run) -> tuple[Scores, Scores] | None:
        """What both programs report of the validation images after the last epoch, and the recount."""
        ours, theirs = (self._scores(run) for run in (port, reference))
        return None if ours is None or theirs is None else (ours, theirs)

    def _scores(self, run: Run) -> Scores | None:
        if not isinstance(run, LoopRun) or run.record is None:
            return None
        labels = run.program.data()["y_validation"]
        reported = run.record.history["validation_accuracy"][-1] * len(labels)
        whole = float(np.rint(reported)) if abs(reported - np.rint(reported)) < WHOLE else float("nan")
        return Scores(reported=whole, recounted=float((run.record.validation_logits.argmax(axis=1) == labels).sum()))


INPUTS, TARGETS = ("x_train", "x_validation"), ("y_train", "y_validation")
WHOLE = 0.01  # how far a float32 accuracy times the images may be from a whole number
