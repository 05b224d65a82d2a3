"""One forward pass, and the first loss: what most people compare."""

from functools import partial

from birdplane_keras.peers.comparing import IsClose, allclose, by_step, close_as_tensors, first_apart
from birdplane_keras.peers.method import Difference, Method
from birdplane_keras.peers.prepared import Prepared

FORWARD_ONLY = (
    "Evaluation mode and one batch, so no loss, gradient, update, schedule, moving statistic or batch order is seen."
)


def compare_outputs(pair: Prepared, is_close: IsClose) -> Difference | None:
    """Compares the outputs of one forward pass.

    Documents: the tolerance test of most porting guides and conversion scripts, such as the 1e-3 of Hugging Face's.
    Emulated: `numpy.allclose` with an absolute tolerance and its own relative one, for the same batch of examples, as
    each side's own pipeline gives them, in evaluation mode. An output that one side lacks counts as a difference.
    Limits: nothing of the training is seen, and a difference below the tolerance is none.
    """
    return first_apart(*pair.outputs, is_close)


def compare_tensors(pair: Prepared) -> Difference | None:
    """Compares the outputs by `torch.testing.assert_close` itself.

    Documents: for float32 a relative tolerance of 1.3e-6 and an absolute one of 1e-5, both together; NaN equals
    nothing, and types must agree.
    Emulated: the function is called on the outputs of `compare_outputs`, as tensors.
    Limits: as `compare_outputs`.
    """
    return compare_outputs(pair, close_as_tensors)


def compare_outputs_and_loss(pair: Prepared) -> Difference | None:
    """Compares the outputs, then the loss of the first batch.

    Documents: the next step of the porting guides, once the outputs agree.
    Emulated: `compare_outputs` at 1e-5; then the loss that each side's first training step returns, with penalties
    and weights of classes in it, at the same tolerance. Dropout is off in that step.
    Limits: a loss that is right for one batch; no gradient and no update.
    """
    found = compare_outputs(pair, allclose(1e-5))
    if found is not None:
        return found
    theirs, ours = (by_step(trace.losses, 1, "loss") for trace in pair.traces)
    return first_apart(theirs, ours, allclose(1e-5))


METHODS = (
    Method(
        name="forward_1e-3",
        title="one forward pass, `allclose` at 1e-3",
        compares="the outputs of one batch: absolute 1e-3, relative 1e-5",
        tells="an output",
        limits=f"{FORWARD_ONLY} What changes scores by less than a thousandth passes.",
        run=partial(compare_outputs, is_close=allclose(1e-3)),
    ),
    Method(
        name="forward_1e-5",
        title="one forward pass, `allclose` at 1e-5",
        compares="the outputs of one batch: absolute and relative 1e-5",
        tells="an output",
        limits=FORWARD_ONLY,
        run=partial(compare_outputs, is_close=allclose(1e-5)),
    ),
    Method(
        name="assert_close",
        title="`torch.testing.assert_close` of the outputs",
        compares="the outputs of one batch: absolute 1e-5, relative 1.3e-6, its defaults for float32",
        tells="an output",
        limits=FORWARD_ONLY,
        run=compare_tensors,
    ),
    Method(
        name="forward_and_loss",
        title="forward pass and loss at 1e-5",
        compares="the outputs, and the loss of the first step: absolute and relative 1e-5",
        tells="an output or the loss",
        limits="One batch: no gradient, update, schedule or batch order is seen, nor what evaluates otherwise later.",
        run=compare_outputs_and_loss,
    ),
)
