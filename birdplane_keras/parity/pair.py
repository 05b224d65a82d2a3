"""What a person hands to the judge: two models, how the reference is trained, and the data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import PairError

Batches = Callable[[int], Sequence[np.ndarray]]
WEIGHTS = ("transfer", "as_given")
SCHEDULES = ("step", "epoch")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A PyTorch model, the reference, and its Keras port.

    Neither is changed by the judge: it works on copies of the reference, and gives the port its values back.

    Args:
        keras_model: Compiled; its loss, optimizer and metrics are read from it. On the torch backend.
        torch_module: The reference.
        torch_loss: From (outputs, targets) to a scalar tensor, such as `torch.nn.CrossEntropyLoss()`.
        torch_optimizer: Over the reference's parameters.
        data: Inputs and targets as the reference takes them: NumPy arrays (N, ...), or tuples of arrays where there
            are several. Inputs are given to the module by position.
        batch_size: Examples in a batch; the last of an epoch may have fewer.
        to_keras: From the reference's inputs to the port's layout, for example `channels_last`.
        targets_to_keras: The same for the targets, for example to one-hot.
        outputs_to_keras: The same for the outputs, where the port's have another layout or shape.
        keras_data: Inputs and targets as the port's own pipeline makes them, in the same order of examples. `None`:
            the reference's, turned by the two functions above.
        inputs_by_epoch: From the epoch to all inputs (N, ...) as the reference is trained on in it, where a pipeline
            changes them from epoch to epoch (augmentation); `data` holds them as they are without that.
        keras_inputs_by_epoch: The same as the port's own pipeline makes them. `None`: the reference's, turned.
        weights: `transfer`: the judge gives the reference's weights to the port. `as_given`: the port is said to
            hold them already, and that is checked.
        mapping: Which layer is which, where order and type do not tell; see `match_layers`.
        batches: From the epoch to the row numbers of each of its batches. `None`: a shuffle from (seed, epoch).
        keras_batches: The same as the port has them. `None`: as the reference.
        keras_class_weight: What the port gives to `fit(class_weight=)`.
        torch_clip: Called with the parameters between `backward()` and `step()`.
        torch_scheduler: A learning-rate scheduler over `torch_optimizer`.
        schedule_by: Whether the scheduler's `step()` is called after each `step` or each `epoch`.
        initialisation: Whether the distributions of the two models' weights as built are compared; `False` where the
            reference brings trained weights.
        validation_data: Inputs and targets (M, ...) to predict at the end. `None`: the first 256 examples of `data`.
        keras_loss: Returns the loss of the port's last step, for a model whose step is traced and replayed. `None`:
            the judge listens to `compute_loss`.
        source: Where the pair comes from, `package.module:function`, so that a certificate can be verified.

    Source: `keras.Model.train_on_batch` and the plain training loop of PyTorch's tutorials.
    """

    keras_model: keras.Model
    torch_module: torch.nn.Module
    torch_loss: Callable[[Any, Any], torch.Tensor]
    torch_optimizer: torch.optim.Optimizer
    data: tuple[Any, Any]
    batch_size: int = 32
    to_keras: Callable[[Any], Any] | None = None
    targets_to_keras: Callable[[Any], Any] | None = None
    outputs_to_keras: Callable[[Any], Any] | None = None
    keras_data: tuple[Any, Any] | None = None
    inputs_by_epoch: Callable[[int], Any] | None = None
    keras_inputs_by_epoch: Callable[[int], Any] | None = None
    weights: str = "transfer"
    mapping: Mapping[str, Any] | None = None
    batches: Batches | None = None
    keras_batches: Batches | None = None
    keras_class_weight: Mapping[int, float] | None = None
    torch_clip: Callable[[Iterable[torch.nn.Parameter]], Any] | None = None
    torch_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    schedule_by: str = "step"
    initialisation: bool = True
    validation_data: tuple[Any, Any] | None = None
    keras_loss: Callable[[], torch.Tensor] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for field, known in (("weights", WEIGHTS), ("schedule_by", SCHEDULES)):
            if getattr(self, field) not in known:
                raise PairError(f"expected {field} among {', '.join(known)}, received {getattr(self, field)!r}")
        if self.batch_size < 1:
            raise PairError(f"expected a batch size of at least 1, received {self.batch_size}")


def channels_last(images: np.ndarray) -> np.ndarray:
    """Moves the channels of (N, C, ...) to the end, as Keras' layers take them: (N, ..., C), contiguous."""
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def flatten(structure: Any) -> list[Any]:
    """Returns the leaves of nested tuples, lists and dictionaries in their order."""
    return keras.tree.flatten(structure)


def named_leaves(structure: Any, name: str) -> dict[str, Any]:
    """Returns name -> leaf: one leaf keeps the name, several are numbered or keyed."""
    if isinstance(structure, Mapping):
        return {f"{name}[{key}]": leaf for key in sorted(structure) for leaf in flatten(structure[key])}
    leaves = flatten(structure)
    return {name: leaves[0]} if len(leaves) == 1 else {f"{name}[{index}]": leaf for index, leaf in enumerate(leaves)}


def take(structure: Any, rows: np.ndarray | slice) -> Any:
    """Returns the rows of every array of a structure."""
    return keras.tree.map_structure(lambda array: array[rows], structure)


class Examples:
    """The examples of a side by their numbers in a run: row number + N x epoch.

    Args:
        data: Inputs and targets, arrays (N, ...) or structures of them.
        size: N of the reference.
        inputs_by_epoch: From the epoch to its inputs; `None` where every epoch shows the same.
    """

    def __init__(self, data: tuple[Any, Any], size: int, inputs_by_epoch: Callable[[int], Any] | None) -> None:
        self.data, self.size, self._by_epoch = data, size, inputs_by_epoch

    def take(self, numbers: np.ndarray) -> tuple[Any, Any]:
        """Returns inputs and targets of some examples of one epoch."""
        rows, epoch = numbers % self.size, int(numbers[0]) // self.size if len(numbers) else 0
        inputs = self.data[0] if self._by_epoch is None else self._by_epoch(epoch)
        return take(inputs, rows), take(self.data[1], rows)


def reference_examples(pair: Pair) -> Examples:
    """Returns the reference's examples."""
    return Examples(pair.data, count_examples(pair.data), pair.inputs_by_epoch)


def port_examples(pair: Pair) -> Examples:
    """Returns the port's examples: its own, or the reference's, turned."""
    data = pair.keras_data or keras_view(pair, pair.data)
    return Examples(data, count_examples(pair.data), pair.keras_inputs_by_epoch)


def plan_batches(pair: Pair, steps: int) -> list[np.ndarray]:
    """Returns the numbers, as `Examples` has them, of the reference's first batches, over as many epochs as it takes.

    Raises:
        PairError: An epoch has no batches, or a batch names an example that is not there.
    """
    examples = count_examples(pair.data)
    planned: list[np.ndarray] = []
    epoch = 0
    while len(planned) < steps:
        batches = list(pair.batches(epoch))[: steps - len(planned)] if pair.batches else []
        if not batches:
            raise PairError(f"expected batches in epoch {epoch}, received none")
        for batch in batches:
            if not len(batch) or batch.min() < 0 or batch.max() >= examples:
                raise PairError(f"expected batches of row numbers from 0 to {examples - 1}, received {list(batch)[:8]}")
        planned += [batch + epoch * examples for batch in batches]
        epoch += 1
    return planned


def count_examples(structure: Any) -> int:
    """Returns N, which all arrays of the structure must share.

    Raises:
        PairError: They do not, or there is none.
    """
    leaves = flatten(structure)
    for leaf in leaves:
        if not isinstance(leaf, np.ndarray) or leaf.ndim == 0:
            raise PairError(f"expected NumPy arrays (N, ...) as data, received {type(leaf).__name__}: convert them")
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) != 1 or sizes == {0}:
        raise PairError(
            f"expected inputs and targets of one number of examples, at least 1, received {sorted(sizes) or 'none'}"
        )
    return sizes.pop()


def keras_view(pair: Pair, data: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns data of the reference as the port is to be fed: turned by the pair's two functions."""
    inputs, targets = data
    return (
        inputs if pair.to_keras is None else pair.to_keras(inputs),
        targets if pair.targets_to_keras is None else pair.targets_to_keras(targets),
    )


def validation_inputs(pair: Pair) -> tuple[Any, Any]:
    """Returns the inputs to predict, in the reference's layout and in the port's."""
    if pair.validation_data is not None:
        return pair.validation_data[0], keras_view(pair, pair.validation_data)[0]
    few = slice(256)
    port = pair.keras_data or keras_view(pair, pair.data)
    return take(pair.data[0], few), take(port[0], few)


def build_batches(pair: Pair, seed: int) -> Pair:
    """Returns the pair with both sides stated in full; where it has no batches, (seed, epoch) shuffles each epoch.

    Raises:
        PairError: The data are empty or of unequal lengths.
    """
    examples = count_examples(pair.data)

    def shuffled(epoch: int) -> list[np.ndarray]:
        rows = np.random.default_rng((seed, epoch)).permutation(examples)
        return [rows[start : start + pair.batch_size] for start in range(0, examples, pair.batch_size)]

    batches = pair.batches or shuffled
    theirs, ours = (None if inputs is None else lru_cache(maxsize=1)(inputs) for inputs in augmentations(pair))
    return replace(
        pair,
        batches=batches,
        keras_batches=pair.keras_batches or batches,
        inputs_by_epoch=theirs,
        keras_inputs_by_epoch=ours,
    )


def augmentations(pair: Pair) -> tuple[Callable[[int], Any] | None, Callable[[int], Any] | None]:
    """Returns the functions from the epoch to its inputs, the reference's and the port's."""
    theirs, ours = pair.inputs_by_epoch, pair.keras_inputs_by_epoch
    if theirs is not None and ours is None:
        turn = pair.to_keras or (lambda inputs: inputs)
        return theirs, lambda epoch: turn(theirs(epoch))
    return theirs, ours


def check_pair(pair: Pair) -> None:
    """Makes sure that the pair can be judged at all.

    Raises:
        PairError: What is wrong, in one line.
    """
    if keras.backend.backend() != "torch":
        raise PairError(
            f"expected Keras on the torch backend, received {keras.backend.backend()}: set KERAS_BACKEND=torch"
        )
    if not isinstance(pair.keras_model, keras.Model):
        raise PairError(f"expected a keras.Model as keras_model, received {type(pair.keras_model).__name__}")
    if not isinstance(pair.torch_module, torch.nn.Module) or isinstance(pair.torch_module, keras.Layer):
        raise PairError(f"expected a torch.nn.Module as torch_module, received {type(pair.torch_module).__name__}")
    if not pair.keras_model.compiled or pair.keras_model.optimizer is None:
        raise PairError("expected a compiled Keras model, received one without a loss and an optimizer: compile() it")
    if not pair.keras_model.built:
        raise PairError("expected a built Keras model, received one without weights: give it an Input, or call it once")
    owned = {id(weight) for weight in pair.torch_module.parameters()}
    given = [weight for group in pair.torch_optimizer.param_groups for weight in group["params"]]
    if not any(id(weight) in owned for weight in given):
        raise PairError("expected torch_optimizer over torch_module's parameters, received one over other tensors")
    examples = count_examples(pair.data)
    if pair.keras_inputs_by_epoch is not None and pair.inputs_by_epoch is None:
        raise PairError("expected keras_inputs_by_epoch together with inputs_by_epoch, received it alone")
    if pair.keras_data is not None and count_examples(pair.keras_data) != examples:
        raise PairError(f"expected {examples} examples in keras_data, received {count_examples(pair.keras_data)}")
    check_devices(pair)


def check_devices(pair: Pair) -> None:
    """Makes sure that both models lie on one device, and the same."""
    devices = {str(tensor.device) for tensor in pair.torch_module.parameters()}
    ours = {str(weight.value.device) for weight in pair.keras_model.weights}
    if len(devices | ours) > 1:
        raise PairError(
            f"expected both models on one device, received PyTorch's on {', '.join(sorted(devices))} and Keras' on "
            f"{', '.join(sorted(ours))}: move the module, or build the Keras model within keras.device(...)"
        )
