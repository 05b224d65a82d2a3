"""AlgoPerf's tests that its PyTorch and JAX workloads are the same model, `tests/modeldiffs`."""

import numpy as np

from birdplane_keras.peers.comparing import by_step, first_apart
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Named, Prepared
from birdplane_keras.peers.traces import STEPS, Trace

READ = 1e-5  # the last of the decimals that the tests print


def compare_workloads(pair: Prepared) -> Difference | None:
    """Compares the outputs, then what ten steps of training report.

    Documents: the weights of PyTorch's model are converted, and the largest difference of the outputs in evaluation
    mode is printed; nothing is asserted. A second test makes ten steps of SGD on one batch and prints, to five
    decimals, the loss in evaluation mode, the norm of the gradients and the loss of training. It asserts only that the
    last of each are within a factor of two.
    Emulated: a person reads what is printed, and takes what differs by more than 1e-5 for a difference. The ten steps
    are made with the pair's own optimizer and batches, which sees more than SGD on one batch does.
    Limits: by its own assertions it would catch far less. A norm does not say which gradient differs.
    """
    theirs, ours = pair.traces
    return first_apart(*pair.outputs, as_read) or first_apart(reported(theirs), reported(ours), as_read)


def as_read(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether no printed difference is larger than its decimals; NaN is."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.abs(one - other).max(initial=0.0) <= READ)


def reported(trace: Trace) -> Named:
    """Returns what ten steps report, by name."""
    return (
        by_step(trace.evaluated, STEPS, "evaluation loss")
        | by_step(trace.norms, STEPS, "gradient norm")
        | by_step(trace.losses, STEPS, "loss")
    )


METHODS = (
    Method(
        name="algoperf",
        title="AlgoPerf's model and training diffs",
        compares=f"the outputs; evaluation loss, gradient norm and loss of {STEPS} steps: 1e-5, read by a person",
        tells="an output or a step",
        limits=f"{STEPS} steps, no weights. It asserts a factor of two; a careful reader is assumed. Dropout is off.",
        run=compare_workloads,
    ),
)
