"""Both sides of a pair behind the protocol that the judge drives."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from birdplane_keras.errors import PairError
from birdplane_keras.parity.core.bench import Rows
from birdplane_keras.parity.core.compare import Check, compare_tensors
from birdplane_keras.parity.core.records import Probe, Reading, Tensors
from birdplane_keras.parity.core.rungs import exact_check
from birdplane_keras.parity.matching.match import Matching, match_layers
from birdplane_keras.parity.pair import (
    Pair,
    build_batches,
    check_pair,
    keras_view,
    named_leaves,
    plan_batches,
)
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.layers import compare_layers
from birdplane_keras.parity.sides.steps import read_port, read_reference
from birdplane_keras.parity.sides.structure import compare_structure
from birdplane_keras.parity.sides.torch_run import TorchRun

DETERMINISM_STEPS = 2
EPOCHS_SHOWN = 2  # of an augmentation, by the rung `data`: the second shows whether it changes


class PairBench:
    """A pair on the bench: the judge's `Bench`. Use within `with bench.keras.judged():`.

    Args:
        pair: As a person gave it.
        seed: Orders the batches where the pair does not, and draws the nudges.

    Raises:
        PairError: The pair cannot be judged.
    """

    def __init__(self, pair: Pair, seed: int) -> None:
        check_pair(pair)
        self.pair, self.seed = build_batches(pair, seed), seed
        self.matching: Matching = match_layers(pair.keras_model, pair.torch_module, pair.mapping)
        self.keras = KerasRun(self.pair, self.matching)
        built = TorchRun(self.pair, self.matching).weights(), self.keras.weights()
        self._as_built: tuple[Tensors, Tensors] = built[1], built[0]

    def data(self) -> tuple[Tensors, Tensors]:
        """What the port is fed, and the reference's data in its layout, as arrays of comparable types.

        Where epochs change the inputs, what the first two of them show, too.
        """
        expected = keras_view(self.pair, self.pair.data)
        given = expected if self.pair.keras_data is None else self.pair.keras_data
        theirs = named_leaves(expected[0], "inputs") | named_leaves(expected[1], "targets")
        ours = named_leaves(given[0], "inputs") | named_leaves(given[1], "targets")
        turn = self.pair.to_keras or (lambda inputs: inputs)
        if self.pair.inputs_by_epoch is not None and self.pair.keras_inputs_by_epoch is not None:
            for epoch in range(EPOCHS_SHOWN):
                theirs |= named_leaves(turn(self.pair.inputs_by_epoch(epoch)), f"inputs in epoch {epoch}")
                ours |= named_leaves(self.pair.keras_inputs_by_epoch(epoch), f"inputs in epoch {epoch}")
        for name in ours.keys() & theirs.keys():
            ours[name], theirs[name] = in_one_type(ours[name], theirs[name])
        return ours, theirs

    def batches(self, epochs: int) -> tuple[Iterator[Rows], Iterator[Rows]]:
        """The row numbers of each batch of each epoch, of both sides."""
        ours, theirs = self.pair.keras_batches, self.pair.batches
        assert ours is not None and theirs is not None  # noqa: PT018 (build_batches has stated them)
        return (ours(epoch) for epoch in range(epochs)), (theirs(epoch) for epoch in range(epochs))

    def plan(self, steps: int) -> list[np.ndarray]:
        """The examples of the first batches, over as many epochs as it takes."""
        return plan_batches(self.pair, steps)

    def determinism(self) -> Check:
        """`determinism`: each side against itself, twice over two steps with other random seeds."""
        twice = []
        for seed in (1, 2):
            run = self.reference()
            torch.manual_seed(seed)
            twice.append(self._few_steps(run))
        whole = compare_tensors("determinism", *twice, reason="")
        if whole.bits_differing != 0:
            where = whole.where or {}
            if not all(np.isfinite(value).all() for value in twice[0].values()):
                raise PairError(f"expected a reference with finite numbers, received {whole.reason} within 2 steps")
            raise PairError(
                f"expected a deterministic reference, received one that differs from itself at {where.get('tensor')}: "
                "it draws random numbers in training (other than Dropout's, which the judge switches off)"
            )
        twice = []
        for seed in (1, 2):
            port = self.port()
            torch.manual_seed(seed)
            twice.append(self._few_steps(port))
        if not all(np.isfinite(value).all() for value in twice[0].values()):
            return exact_check(
                "determinism", "the reference agrees with itself; the port has numbers that are not finite"
            )
        check = compare_tensors("determinism", *twice, reason="each side against itself, twice: every bit must agree")
        if check.passed:
            return check
        text = (
            f"the port differs from itself at {(check.where or {}).get('tensor')}: it draws random numbers in training"
        )
        return Check(name="determinism", passed=False, reason=text, where=check.where)

    def _few_steps(self, run: Any) -> dict[str, np.ndarray]:
        losses = {}
        for step, rows in enumerate(self.plan(DETERMINISM_STEPS)):
            losses[f"loss of step {step}"] = np.float32(self.to_loss(run.step(rows)))
        return losses | run.weights()

    def structure(self) -> Check:
        """`structure`: what numbers cannot show, and the names and shapes of the outputs."""
        return compare_structure(self)

    def parameter_counts(self) -> Check:
        """`parameter_counts`: every tensor has its counterpart, of the same size, trained and tied alike."""
        tensors = self.matching.tensors
        if self.matching.problems:
            first = self.matching.problems[0]
            reason = "; ".join(problem.text for problem in self.matching.problems)
            return Check(
                name="parameter_counts", passed=False, reason=reason, where={"tensor": first.tensor, "side": first.side}
            )
        for match in tensors:
            if match.trainable[0] != match.trainable[1]:
                words = ["frozen", "trained"]
                reason = (
                    f"{match.name} is {words[match.trainable[0]]} in Keras and {words[match.trainable[1]]} in PyTorch"
                )
                return Check(name="parameter_counts", passed=False, reason=reason, where={"tensor": match.name})
        tied = self._tied()
        if tied is not None:
            return tied
        if not tensors:
            return Check(name="parameter_counts", passed=False, reason="nothing was compared: neither side has weights")
        counts = [int(np.prod(self.matching.variables[match.name].shape)) for match in tensors if match.trainable[0]]
        return exact_check("parameter_counts", f"{sum(counts)} {counts}, in {len(tensors)} tensors")

    def _tied(self) -> Check | None:
        """Returns the failed check where tensors are one and the same on one side only."""
        weights = self.pair.torch_module.state_dict(keep_vars=True)
        groups: dict[int, set[int]] = {}
        names: dict[int, list[str]] = {}
        for match in self.matching.tensors:
            if len(match.torch) == 1 and "[" not in match.name:
                identity = id(weights[match.torch[0]])
                groups.setdefault(identity, set()).add(id(self.matching.variables[match.name]))
                names.setdefault(identity, []).append(match.name)
        for identity, variables in groups.items():
            if len(variables) > 1:
                reason = f"{' and '.join(names[identity])} are one tensor in PyTorch and {len(variables)} in Keras"
                where = {"tensor": names[identity][0]}
                return Check(name="parameter_counts", passed=False, reason=reason, where=where)
        return None

    def start_weights(self) -> tuple[Tensors, Tensors]:
        """Both sides' weights at the start, after the transfer if the judge is to make it."""
        self.keras.reset()
        if self.pair.weights == "transfer":
            self.keras.set_weights(self._as_built[1])
            self.keras.start = self.keras.values()
        self._as_built = ({}, {})  # as large as the models, and no longer needed
        return self.keras.weights(), self.reference().weights()

    def weights_as_built(self) -> tuple[Tensors, Tensors] | None:
        """Both sides' trainable weights as the person gave them; `None` where they are not to be compared."""
        if not self.pair.initialisation:
            return None
        trained = [match.name for match in self.matching.tensors if match.trainable[1]]
        ours, theirs = ({name: side[name] for name in trained} for side in self._as_built)
        return ours, theirs

    def read_port(self, plan: Rows, *, reorder: int | None = None) -> Iterator[Reading]:
        """The port's first steps, as they are or with the examples of each batch in another order."""
        try:
            yield from read_port(self.keras, plan, reorder=reorder)
        except PairError:
            raise
        except Exception as error:
            raise PairError(f"the Keras model cannot be trained on the data: {first_line(error)}") from error

    def read_reference(self, plan: Rows, *, double: bool = False, nudge: int | None = None) -> Iterator[Reading]:
        """The reference's first steps: as they are, in float64, or nudged."""
        yield from read_reference(self.double() if double else self.reference(nudge=nudge, throughout=True), plan)

    def probe_changed(self, plan: Rows, change: Callable[[TorchRun], None]) -> Probe | None:
        """The first steps of a reference that was changed by a function of the run; `None` if it does not fit."""
        run = self.reference()
        try:
            change(run)
            return Probe.of(read_reference(run, plan))
        except Exception:
            return None

    def layers(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """One row for each matched layer, in the order in which the reference calls them."""
        return compare_layers(self, rows)

    def port(self) -> KerasRun:
        """The port, at its start."""
        self.keras.reset()
        return self.keras

    def reference(self, *, nudge: int | None = None, throughout: bool = False) -> TorchRun:
        """A copy of the reference, at its start; nudged between its steps, or throughout them.

        Every other nudged copy lies in memory in another order, too, if the module's own code can do with that.
        """
        if nudge is None:
            return TorchRun(self.pair, self.matching)
        relaid = nudge % 2 == 0 and self._works_relaid
        return TorchRun(self.pair, self.matching, nudge=1000 * self.seed + nudge, throughout=throughout, relaid=relaid)

    @cached_property
    def _works_relaid(self) -> bool:
        try:
            TorchRun(self.pair, self.matching, relaid=True).step(self.plan(1)[0])
        except RuntimeError:  # a view() of a tensor whose axes lie otherwise
            return False
        return True

    def double(self) -> TorchRun:
        """A copy of the reference in float64, at its start."""
        return TorchRun(self.pair, self.matching, dtype=torch.float64)

    def fork(self, run: TorchRun, *, nudge: int) -> TorchRun:
        """A copy of a run of the reference, in the state that it is in."""
        return run.fork(1000 * self.seed + nudge)

    def synchronise(self, port: KerasRun, reference: TorchRun, *, moved: int | None = None) -> bool:
        """Gives the port the reference's weights and optimizer state; `False` where its state cannot be set.

        With `moved`, a seed, the reference's weights are first moved a little.
        """
        if moved is not None:
            reference.move(moved)
        return port.take_state(reference.weights(), reference.optimizer_state())

    def to_loss(self, loss: Any) -> float:
        """The loss as a number."""
        return float(loss)

    def try_both(self) -> None:
        """Makes sure that both models take the data.

        Raises:
            PairError: One of them does not, or the reference's first loss is not a number.
        """
        rows = self.plan(1)[0]
        run = self.reference()
        try:
            loss = float(run.step(rows))
        except Exception as error:
            shapes = describe_shapes(run.examples.take(rows)[0])
            raise PairError(f"the PyTorch module cannot be trained on inputs {shapes}: {first_line(error)}") from error
        if not np.isfinite(loss):
            raise PairError(f"expected a finite loss of the reference at step 0, received {loss}")
        try:
            self.port().step(rows)
        except Exception as error:
            shapes = describe_shapes(self.keras.examples.take(rows)[0])
            hint = "" if self.pair.to_keras or self.pair.keras_data else " (does it need to_keras=channels_last?)"
            raise PairError(
                f"the Keras model cannot be trained on inputs {shapes}{hint}: {first_line(error)}"
            ) from error
        finally:
            self.keras.reset()


def in_one_type(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two arrays in the reference's floating-point type, or as int64 where both hold whole numbers."""
    if np.issubdtype(theirs.dtype, np.floating):
        return ours.astype(theirs.dtype, copy=False), theirs
    whole = ours.astype(np.int64, copy=False)
    return (whole, theirs.astype(np.int64, copy=False)) if np.array_equal(whole, ours) else (ours, theirs)


def first_line(error: Exception) -> str:
    """Returns the error's type and the first line of what it says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def describe_shapes(structure: Any) -> str:
    """Returns shapes and types in words."""
    leaves: Mapping[str, np.ndarray] = named_leaves(structure, "inputs")
    return ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves.values())
