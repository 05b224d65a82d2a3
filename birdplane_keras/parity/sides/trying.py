"""Makes sure, before anything is judged, that both models of a pair can be trained on its data."""

import numpy as np
import torch

from birdplane_keras.errors import PairError
from birdplane_keras.parity.sides.bench import PairBench


def try_both(bench: PairBench) -> None:
    """Makes one step of either side.

    Raises:
        PairError: One of them does not take the data, or the reference cannot be what a port is held against.
    """
    try_reference(bench)
    try_port(bench)


def try_reference(bench: PairBench) -> None:
    """Makes one step of the reference.

    Raises:
        PairError: It fails, its loss is not a number, or its loss reaches the person's own weights, not the copy's.
    """
    rows = bench.plan(1)[0]
    run = bench.reference()
    loss = float(run.step(rows))
    if not np.isfinite(loss):
        if not bench.pair.trains:
            raise PairError(
                f"expected finite outputs of the reference, received {loss}: say by outputs= which count, or compare "
                "them before they are masked"
            )
        raise PairError(f"expected a finite loss of the reference at step 0, received {loss}")
    reached = reached_outside(bench, rows) if bench.pair.trains else None
    if reached:
        raise PairError(
            f"expected a loss of the outputs, the targets and the module's own weights, received one that reaches "
            f"{reached} by a tensor that was made from it before: make it in the loss, from module.parameters()"
        )


def reached_outside(bench: PairBench, rows: np.ndarray) -> str | None:
    """Returns a weight of the person's own module that gradients of a copy's loss reach; `None` if there is none."""
    weights = {n: w for n, w in bench.pair.torch_module.named_parameters() if w.requires_grad and w.is_leaf}
    if not weights:
        return None
    run = bench.reference()
    run.set_training()
    inputs, targets = run.examples.take(rows)
    with run.patched():
        loss = run.compute_loss(run.call(inputs), targets)
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return next((name for name, gradient in zip(weights, found, strict=True) if gradient is not None), None)


def try_port(bench: PairBench) -> None:
    """Makes one step of the port, with two values and, where it asks for them, three.

    Raises:
        PairError: It fails.
    """
    rows = bench.plan(1)[0]
    try:
        bench.port().step(rows)
    except PairError as error:  # perhaps of a `train_step` of one's own that unpacks x, y, sample_weight
        if not isinstance(error.__cause__, ValueError) or not takes_three(bench, rows):
            raise


def takes_three(bench: PairBench, rows: np.ndarray) -> bool:
    """Whether a port that does not train on inputs and targets trains on those and weights of examples; notes it."""
    if bench.pair.keras_class_weight is not None:
        return False
    bench.host.takes_three = True
    try:
        bench.port().step(rows)
    except PairError:  # the first error tells more
        bench.host.takes_three = False
    return bench.host.takes_three
