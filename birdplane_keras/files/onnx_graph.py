"""A trained model as an ONNX graph, for the extra `onnx`."""

import os
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from birdplane_keras.errors import RequestError
from birdplane_keras.extras import require

SUFFIX = ".onnx"
ROWS = 5
LARGEST_DIFFERENCE = 1e-4  # rounding, of outputs of a few units; a wrong graph is apart by their size


def export_onnx(model: keras.Sequential, path: str | Path) -> None:
    """Writes what a model computes, from `inputs` to `outputs`, without how it was trained; for any number of rows.

    Args:
        model: Built, for example from (N, 3072) normalised pixels to (N, 2) logits.
        path: Ends in `.onnx`.

    Raises:
        RequestError: The extra `onnx` is not installed, the name ends in something else, or ONNX Runtime computes
            something else than the model.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise RequestError(f"expected a file name that ends in {SUFFIX}, received {path}")
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, extra="onnx", what="an ONNX file")
    shared = keras.Sequential([keras.layers.Input(model.input_shape[1:]), *model.layers])  # nothing attached to it
    shared(keras.ops.zeros((1, *model.input_shape[1:])))  # Keras exports what has been called
    signature = [keras.InputSpec(dtype=shared.inputs[0].dtype, shape=shared.input_shape, name="inputs")]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder, warnings.catch_warnings():
        # Keras takes PyTorch's older exporter for the free number of rows: it is deprecated, and warns of every shape.
        warnings.simplefilter("ignore")
        written = Path(folder) / path.name
        shared.export(os.fspath(written), format="onnx", verbose=False, input_signature=signature)
        name_output(written)
        check_graph(written, shared)
        written.replace(path)


def name_output(path: Path) -> None:
    """Calls the graph's output `outputs`; the exporter numbers what it meets."""
    import onnx

    model = onnx.load(os.fspath(path))
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["outputs" if name == output.name else name for name in node.output]
    output.name = "outputs"
    onnx.save(model, os.fspath(path))


def check_graph(path: Path, model: keras.Sequential) -> None:
    """Asks ONNX Runtime and the model about the same rows, another number of them than was traced.

    Raises:
        RequestError: They do not agree.
    """
    import onnxruntime

    rows = np.random.default_rng(0).normal(size=(ROWS, *model.input_shape[1:])).astype(np.float32)
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    exported = session.run(["outputs"], {"inputs": rows})[0]
    apart = float(np.abs(exported - model.predict(rows, verbose=0)).max())
    if not apart < LARGEST_DIFFERENCE:
        raise RequestError(
            f"expected ONNX Runtime to compute what the model does, received a difference of {apart:.2g}: this model "
            "cannot be exported"
        )
