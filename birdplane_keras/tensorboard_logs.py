"""What `birdplane train --tensorboard` writes, for the extra `tensorboard`."""

from pathlib import Path

import keras

from birdplane_keras.extras import require

RUNS = {"": "train", "val_": "validation"}  # what Keras' logs are called -> a folder, as Keras' own callback has them


class TensorBoardLogs(keras.callbacks.Callback):
    """Loss and accuracy after every epoch, as Keras' own `TensorBoard` names them; that one needs TensorFlow.

    Args:
        folder: Takes a folder of events each for `train` and `validation`.
        first_epoch: What earlier logs in the folder say of this epoch and later ones is void.

    Raises:
        RequestError: The extra `tensorboard` is not installed.
    """

    def __init__(self, folder: Path, first_epoch: int = 0) -> None:
        super().__init__()
        require("tensorboard", extra="tensorboard", what="--tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writers = {
            prefix: SummaryWriter(str(folder / name), purge_step=first_epoch) for prefix, name in RUNS.items()
        }

    def on_epoch_end(self, epoch, logs=None):
        for prefix, writer in self._writers.items():
            for name in ("loss", "accuracy"):
                writer.add_scalar(f"epoch_{name}", (logs or {})[prefix + name], epoch)
            writer.flush()

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
