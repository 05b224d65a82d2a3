"""A pair made ready for every method: weights matched and given to the port, both sides run once for all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.examples import keras_view, named_leaves
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun
from birdplane_keras.parity.sides.trying import try_both
from birdplane_keras.peers.traces import Trace, copied, rows_by_epoch, trace_port, trace_reference

Named = dict[str, np.ndarray]


class Prepared:
    """Both sides of a pair, and what the methods compare of them; each fact is computed once.

    Each side is fed by its own pipeline. Everything is by the reference's names and in the reference's layout, but for
    outputs and data, which are in the port's.

    Args:
        bench: Within `bench.host.judged()`, with the port's start set.
    """

    def __init__(self, bench: PairBench) -> None:
        self.bench = bench

    @cached_property
    def rows(self) -> np.ndarray:
        """The numbers (B,) of the examples of the reference's first batch."""
        return self.bench.plan(1)[0]

    @cached_property
    def start(self) -> tuple[Named, Named]:
        """The matched weights of the reference and of the port before the first step, after any transfer."""
        return copied(self.bench.reference().weights().items()), copied(self.bench.port().weights().items())

    @cached_property
    def outputs(self) -> tuple[Named, Named]:
        """The outputs of the reference and of the port in evaluation mode, for the same first batch of examples."""
        reference, port = self.bench.reference(), self.bench.port()
        return self.predict_reference(reference), self.predict_port(port)

    def predict_reference(self, run: TorchRun) -> Named:
        """Returns the reference's outputs for the first batch in evaluation mode."""
        return run.predict(run.examples.take(self.rows)[0])

    def predict_port(self, run: KerasRun) -> Named:
        """Returns the port's outputs for the first batch in evaluation mode, Dropout as the port has it there."""
        host = run.host
        host.activate(run)
        with host.dropping(), torch.no_grad():
            return host.named(host.model.predict_on_batch(host.examples.take(self.rows)[0]), self.rows)

    @cached_property
    def traces(self) -> tuple[Trace, Trace]:
        """What the reference and the port compute in a few epochs, each with its own batches."""
        pair = self.bench.pair
        size = self.bench.host.examples.size
        theirs, ours = (rows_by_epoch(batches, size) for batches in (pair.batches, pair.keras_batches))
        return trace_reference(self.bench.reference(), theirs), trace_port(self.bench.port(), ours)

    def batches(self, count: int) -> tuple[Named, Named]:
        """Returns the first batches of both sides' own loaders, the reference's in the port's layout."""
        pair, size = self.bench.pair, self.bench.host.examples.size
        reference = self.bench.reference().examples
        theirs, ours = (
            [rows for epoch in rows_by_epoch(batches, size) for rows in epoch][:count]
            for batches in (pair.batches, pair.keras_batches)
        )
        expected = [keras_view(pair, reference.take(rows)) for rows in theirs]
        return by_batch(expected), by_batch([self.bench.host.examples.take(rows) for rows in ours])


def by_batch(batches: list[tuple[Any, Any]]) -> Named:
    """Returns the arrays of some batches by name."""
    return {
        f"{name} of batch {number}": np.asarray(array)
        for number, (inputs, targets) in enumerate(batches)
        for name, array in (named_leaves(inputs, "inputs") | named_leaves(targets, "targets")).items()
    }


@contextmanager
def prepared(pair: Pair, seed: int = 0) -> Iterator[Prepared]:
    """Within it, a pair is ready for the methods; it is left as it was found.

    Args:
        pair: That is trained.
        seed: Orders the batches where the pair does not.

    Yields:
        both sides, after the transfer of the reference's weights where the pair asks for it.

    Raises:
        PairError: The pair cannot be judged: code that fails, data that do not fit.
    """
    bench = PairBench(pair, seed)
    with bench.host.judged():
        try_both(bench)
        bench.start_weights()
        yield Prepared(bench)
