"""`birdplane train`: the Keras model alone, and the files of it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from birdplane_keras.commands.arguments import (
    add_preset_arguments,
    check_device,
    check_engine,
    name_run,
    prepare_folder,
    write,
)
from birdplane_keras.files import MODEL_FILE
from birdplane_keras.recipe import Recipe, build_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to train, on what, and where the model goes."""
    add_preset_arguments(parser)
    out = f"folder for {MODEL_FILE}, model_card.md, report.html and others (default: runs/train-PRESET)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    resume = "go on where a run in the folder was interrupted, or with more --epochs after its end"
    parser.add_argument("--resume", action="store_true", help=resume)
    logs = "write TensorBoard logs, too, to the folder's tensorboard/ (extra: tensorboard)"
    parser.add_argument("--tensorboard", action="store_true", help=logs)
    parser.set_defaults(command=train_command)
    parser.epilog = "example: birdplane train --preset wide --resume"


def train_command(arguments: argparse.Namespace) -> int:
    """`birdplane train`."""
    recipe = build_recipe(arguments.preset, epochs=arguments.epochs, seed=arguments.seed)
    check_engine(arguments.engine)
    check_device(arguments.device)
    named = name_run(recipe, arguments.engine, arguments.synthetic)
    out = prepare_folder(arguments.out or Path("runs") / f"train-{named}")
    from birdplane_keras.data import load_data
    from birdplane_keras.evaluation import report_text
    from birdplane_keras.files.checkpoint import CHECKPOINT_FILE, load_checkpoint
    from birdplane_keras.files.run_folder import build_train_report, save_run

    source = "synthetic" if arguments.synthetic else "cifar-10"
    settings = {"engine": arguments.engine, "device": arguments.device, "data": source}
    start = load_checkpoint(out / CHECKPOINT_FILE, recipe, settings) if arguments.resume else None
    callbacks = tensorboard_callbacks(out, start.epochs if start else 0) if arguments.tensorboard else []
    train_data, validation_data = load_data(arguments.data_dir, synthetic=arguments.synthetic)
    if arguments.synthetic:
        print("SYNTHETIC DATA: generated pictures, not CIFAR-10")
    if start is not None:
        print(f"Going on after epoch {start.epochs} of {recipe.epochs}.")
    elif arguments.resume:
        print(f"No run to go on with is in {out}.")
    model, first_kernel, trained = train_and_keep(recipe, out, settings, start, callbacks, train_data, validation_data)
    labels = {"train": train_data[1], "validation": validation_data[1]}
    report = build_train_report(
        trained, recipe, labels, engine=arguments.engine, source=source, device=arguments.device
    )
    written: list[Path] = []
    write(lambda: written.extend(save_run(out, report, trained, model, recipe, first_kernel, validation_data)), out)
    print(f"Train accuracy: {report['keras']['train_accuracy']:.4f}")
    print(f"Validation accuracy: {report['keras']['validation_accuracy']:.4f}")
    print(report_text(trained.validation_logits, validation_data[1]))
    print(f"Written: {', '.join(map(str, written))}")
    return 0


def tensorboard_callbacks(out: Path, first_epoch: int) -> list[Any]:
    """Returns what writes TensorBoard logs into a run's folder."""
    from birdplane_keras.tensorboard_logs import TensorBoardLogs

    return [TensorBoardLogs(out / "tensorboard", first_epoch)]


def train_and_keep(
    recipe: Recipe, out: Path, settings: dict[str, Any], start: Any, callbacks: list[Any], *data: Any
) -> tuple[Any, Any, Any]:
    """Trains a model, keeping a checkpoint after every epoch.

    Args:
        recipe: What to train.
        out: The run's folder.
        settings: Engine, device and data.
        start: Where an interrupted run stands; `None` for a new one.
        callbacks: Further ones for `fit`.
        *data: Training and validation images (N, 32, 32, 3) uint8 with their labels.

    Returns:
        the model, its first kernel before training, and the training run.
    """
    import keras

    from birdplane_keras.data.inputs import normalize
    from birdplane_keras.files.checkpoint import CHECKPOINT_FILE, save_checkpoint
    from birdplane_keras.model import build_model
    from birdplane_keras.progress import epoch_bar
    from birdplane_keras.training import train

    checkpoint = out / CHECKPOINT_FILE
    with keras.device(settings["device"]):
        model = build_model(recipe)
        first_kernel = model.get_weights()[0].copy()
    try:
        with epoch_bar("Keras", recipe.epochs, done=start.epochs if start else 0) as bar:
            trained = train(
                recipe,
                *((normalize(images), labels) for images, labels in data),
                model=model,
                engine=settings["engine"],
                device=settings["device"],
                on_epoch_end=lambda epoch, model, metrics: bar(epoch, metrics),
                start=start,
                on_state=lambda state: write(lambda: save_checkpoint(checkpoint, state, recipe, settings), checkpoint),
                callbacks=callbacks,
            )
    except KeyboardInterrupt:
        if checkpoint.exists():
            print(f"the epochs that were finished are in {out}: go on with --resume", file=sys.stderr)
        raise
    return model, first_kernel, trained
