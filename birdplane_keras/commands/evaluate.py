"""`birdplane evaluate`: a trained model on the images, through scikit-learn's reports and displays."""

import argparse
from pathlib import Path

from birdplane_keras.commands.arguments import (
    add_data_arguments,
    add_model_argument,
    check_engine,
    find_model,
    prepare_folder,
    write,
)
from birdplane_keras.errors import RequestError
from birdplane_keras.labels import SPLIT_SIZES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which model to score, and on what."""
    add_model_argument(parser)
    splits = f"one of {', '.join(SPLIT_SIZES)} (default: validation)"
    parser.add_argument("--split", default="validation", metavar="NAME", help=splits)
    out = "folder for evaluation.json and pictures (default: evaluation-SPLIT beside the model)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    add_data_arguments(parser)
    parser.set_defaults(command=evaluate_command)
    parser.epilog = "example: birdplane evaluate --model runs/train-wide --split train"


def evaluate_command(arguments: argparse.Namespace) -> int:
    """`birdplane evaluate`."""
    if arguments.split not in SPLIT_SIZES:
        raise RequestError(f"expected a split among {', '.join(SPLIT_SIZES)}, received {arguments.split!r}")
    check_engine(arguments.engine)
    model = find_model(arguments.model)
    from birdplane_keras.data import load_data
    from birdplane_keras.evaluation import area_under_roc, evaluate_logits, report_text
    from birdplane_keras.parity.core.disk import write_json
    from birdplane_keras.prediction import ImageClassifier
    from birdplane_keras.reporting.scores import SCORES, render_scores

    classifier = ImageClassifier(model, arguments.engine)
    out = prepare_folder(arguments.out or model.parent / f"evaluation-{arguments.split}")
    splits = dict(zip(SPLIT_SIZES, load_data(arguments.data_dir, synthetic=arguments.synthetic), strict=True))
    images, labels = splits[arguments.split]
    logits = classifier.logits(images)
    scores = {"roc_auc": area_under_roc(logits, labels), **evaluate_logits(logits, labels)}
    if arguments.synthetic:
        print("SYNTHETIC DATA: generated pictures, not CIFAR-10")
    print(f"{arguments.split.capitalize()} accuracy: {scores['accuracy']:.4f}")
    print(f"Area under the ROC curve: {scores['roc_auc']:.4f}")
    print(report_text(logits, labels))
    paths = [out / f"{name}.png" for name in SCORES]
    write(lambda: render_scores(out, logits, labels, synthetic=arguments.synthetic), out)
    path = out / "evaluation.json"
    content = {
        "model": str(model),
        "split": arguments.split,
        "data": "synthetic" if arguments.synthetic else "cifar-10",
    }
    write(lambda: write_json(path, content | scores), path)
    print(f"Written: {', '.join(map(str, [*paths, path]))}")
    return 0
