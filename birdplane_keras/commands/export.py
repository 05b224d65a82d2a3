"""`birdplane export`: a trained model for other tools."""

import argparse
from pathlib import Path

from birdplane_keras.commands.arguments import DEFAULT_MODEL, find_model, prepare_folder, write
from birdplane_keras.errors import RequestError

FORMATS = {"keras": ".keras", "safetensors": ".safetensors", "onnx": ".onnx"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which model to export, and as what."""
    where = f"a .keras file, or the folder that `birdplane train` wrote it to (default: {DEFAULT_MODEL})"
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="FILE", help=where)
    parser.add_argument(
        "--format", required=True, metavar="NAME", help=f"one of {', '.join(FORMATS)}; onnx needs the extra `onnx`"
    )
    out = "the file to write (default: model.safetensors and the like, beside the model)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)
    parser.set_defaults(command=export_command)
    parser.epilog = "example: birdplane export --model runs/train-narrow --format safetensors"


def export_command(arguments: argparse.Namespace) -> int:
    """`birdplane export`."""
    if arguments.format not in FORMATS:
        raise RequestError(f"expected a format among {', '.join(FORMATS)}, received {arguments.format!r}")
    model_file = find_model(arguments.model)
    out = arguments.out or model_file.with_suffix(FORMATS[arguments.format])
    if out.suffix != FORMATS[arguments.format]:
        raise RequestError(f"expected --out to end in {FORMATS[arguments.format]}, received {out}")
    if out.resolve() == model_file.resolve():
        raise RequestError(f"expected another file than the model itself for --out, received {out}")
    prepare_folder(out.parent)
    from birdplane_keras.files import export_onnx, load_keras, save_keras

    model = load_keras(model_file, compile=True)
    if arguments.format == "safetensors":
        from birdplane_keras.flagship.exchange import export_safetensors

        write(lambda: export_safetensors(model, out), out)
    else:
        save = {"keras": save_keras, "onnx": export_onnx}[arguments.format]
        write(lambda: save(model, out), out)
    print(f"Written: {out}")
    return 0
