"""What a person hands to the judge: two models, how the reference is trained, and the data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        keras_model: Compiled, if it is trained; its loss and optimizer are read from it. On the torch backend.
        torch_module: The reference.
        torch_loss: From (outputs, targets) to a scalar tensor, such as `torch.nn.CrossEntropyLoss()`. `None`, with
            the optimizer: nothing is trained, and only what the models predict is compared, in the mode that the
            reference is in.
        torch_optimizer: Over the reference's parameters.
        data: Inputs and targets as the reference takes them: NumPy arrays (N, ...), tuples of arrays where there are
            several, which are given to the module by position, or dictionaries, which are given by name. No targets,
            `()`, where nothing is trained. Or a PyTorch `DataLoader` or `Dataset`, a Keras `PyDataset` or a generator
            of batches, (inputs, targets) or dictionaries with "labels": as many batches are taken as the steps need,
            and are every epoch's, in the order of the first.
        batch_size: Examples in a batch; the last of an epoch may have fewer.
        to_keras: From the reference's inputs to the port's layout, for example `channels_last`; or, for inputs by
            name, the reference's name -> the port's, of those that have another.
        targets_to_keras: The same for the targets, for example to one-hot.
        outputs: What counts of the outputs, where not all do: the reference's key, attribute or place -> the port's,
            or one that both sides have.
        outputs_to_keras: The same for the outputs, where the port's have another layout or shape.
        output_mask: From the reference's inputs to truth values (B, T), or of other first axes of the outputs: the
            places that count, where not all do, as at padding. What both sides predict elsewhere is not compared; the
            loss is given it all the same.
        keras_data: Inputs and targets as the port's own pipeline makes them, arrays or a loader, in the same order of
            examples. `None`: the reference's, turned by the two functions above.
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
        accumulation_steps: The reference updates its weights after so many batches, by the mean of their gradients:
            each loss is divided by this number before `backward()`. In Keras that is the optimizer's
            `gradient_accumulation_steps`.
        torch_scheduler: A learning-rate scheduler over `torch_optimizer`.
        schedule_by: Whether the scheduler's `step()` is called after each `step` or each `epoch`. Where it takes a
            number, as that of `ReduceLROnPlateau`, it is given the mean loss of the examples since it was last called.
        keras_callbacks: What the port gives to `fit(callbacks=)`, for what changes the training, such as
            `keras.callbacks.LearningRateScheduler`. They are called for batches and epochs, with the loss; each run has
            copies of its own.
        initialisation: Whether the distributions of the two models' weights as built are compared; `False` where the
            reference brings trained weights.
        validation_data: Inputs and targets (M, ...) to predict at the end. `None`: the first 256 examples of `data`.
        keras_loss: Returns the loss of the port's last step, for a model whose step is traced and replayed. `None`:
            the judge listens to `compute_loss`.
        search_seconds: How long the judge may look for the cause of a difference. It says what it did not try. `None`:
            60 seconds, or 120 where the reference has 64 MiB of weights or more.
        source: Where the pair comes from, `package.module:function`, so that a certificate can be verified.

    Source: `keras.Model.train_on_batch` and the plain training loop of PyTorch's tutorials.
    """

    keras_model: keras.Model
    torch_module: torch.nn.Module
    torch_loss: Callable[[Any, Any], torch.Tensor] | None = None
    torch_optimizer: torch.optim.Optimizer | None = None
    data: Any
    batch_size: int = 32
    to_keras: Callable[[Any], Any] | Mapping[str, str] | None = None
    targets_to_keras: Callable[[Any], Any] | None = None
    outputs: str | int | Mapping[str | int, str | int] | None = None
    outputs_to_keras: Callable[[Any], Any] | None = None
    output_mask: Callable[[Any], Any] | None = None
    keras_data: Any = None
    inputs_by_epoch: Callable[[int], Any] | None = None
    keras_inputs_by_epoch: Callable[[int], Any] | None = None
    weights: str = "transfer"
    mapping: Mapping[str, Any] | None = None
    batches: Batches | None = None
    keras_batches: Batches | None = None
    keras_class_weight: Mapping[int, float] | None = None
    torch_clip: Callable[[Iterable[torch.nn.Parameter]], Any] | None = None
    accumulation_steps: int = 1
    torch_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    schedule_by: str = "step"
    keras_callbacks: Sequence[keras.callbacks.Callback] = ()
    initialisation: bool = True
    validation_data: tuple[Any, Any] | None = None
    keras_loss: Callable[[], torch.Tensor] | None = None
    search_seconds: float | None = None
    source: str | None = None

    @property
    def trains(self) -> bool:
        """Whether the models are trained; else only what they predict is compared."""
        return self.torch_loss is not None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The reference's optimizer.

        Raises:
            RuntimeError: The pair is not trained.
        """
        if self.torch_optimizer is None:
            raise RuntimeError("expected a pair that is trained")
        return self.torch_optimizer

    @property
    def torch_outputs(self) -> Mapping[str, str | int] | None:
        """What counts of the reference's outputs: name -> key, attribute or place; `None`: all."""
        return None if self.outputs is None else {str(key): key for key in outputs_of(self.outputs)}

    @property
    def keras_outputs(self) -> Mapping[str, str | int] | None:
        """The same of the port's, by the reference's names."""
        return None if self.outputs is None else {str(key): other for key, other in outputs_of(self.outputs).items()}

    def __post_init__(self) -> None:
        for field, known in (("weights", WEIGHTS), ("schedule_by", SCHEDULES)):
            if getattr(self, field) not in known:
                raise PairError(f"expected {field} among {', '.join(known)}, received {getattr(self, field)!r}")
        for field, least in (("batch_size", 1), ("accumulation_steps", 1), ("search_seconds", 0)):
            value = getattr(self, field)
            if value is not None and not value >= least:
                raise PairError(f"expected {field} of at least {least}, received {value}")


def turn_of(pair: Pair) -> Callable[[Any], Any]:
    """Returns the function from the reference's inputs to the port's."""
    if pair.to_keras is None:
        return lambda inputs: inputs
    return partial(renamed, names=pair.to_keras) if isinstance(pair.to_keras, Mapping) else pair.to_keras


def renamed(inputs: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns inputs by the port's names.

    Raises:
        PairError: They have no names.
    """
    if not isinstance(inputs, Mapping):
        raise PairError(f"expected inputs by name for to_keras={dict(names)}, received {type(inputs).__name__}")
    return {names.get(name, name): value for name, value in inputs.items()}


def outputs_of(outputs: str | int | Mapping[str | int, str | int]) -> Mapping[str | int, str | int]:
    """Returns which outputs count, the reference's -> the port's."""
    return outputs if isinstance(outputs, Mapping) else {outputs: outputs}


def channels_last(images: np.ndarray) -> np.ndarray:
    """Moves the channels of (N, C, ...) to the end, as Keras' layers take them: (N, ..., C), contiguous."""
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def flatten(structure: Any) -> list[Any]:
    """Returns the leaves of nested tuples, lists and dictionaries in their order."""
    return keras.tree.flatten(structure)


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
    if (pair.torch_loss is None) != (pair.torch_optimizer is None):
        raise PairError("expected torch_loss and torch_optimizer, or neither, received one of them")
    if pair.trains and (not pair.keras_model.compiled or pair.keras_model.optimizer is None):
        raise PairError("expected a compiled Keras model, received one without a loss and an optimizer: compile() it")
    if not pair.keras_model.built:
        inner = "whose layers are built, but which" if pair.keras_model.weights else "which"
        name = type(pair.keras_model).__name__
        raise PairError(
            f"expected a built Keras model, received {name}, {inner} was never called: call it on a batch once"
        )
    owned = {id(weight) for weight in pair.torch_module.parameters()}
    if not owned and not pair.trains:
        raise PairError("expected a reference with weights, received one without: there is nothing to match")
    groups = [] if pair.torch_optimizer is None else pair.torch_optimizer.param_groups
    given = [weight for group in groups for weight in group["params"]]
    if pair.trains and not any(id(weight) in owned for weight in given):
        raise PairError("expected torch_optimizer over torch_module's parameters, received one over other tensors")
    examples = count_examples(pair.data)
    if pair.keras_inputs_by_epoch is not None and pair.inputs_by_epoch is None:
        raise PairError("expected keras_inputs_by_epoch together with inputs_by_epoch, received it alone")
    if pair.keras_data is not None and count_examples(pair.keras_data) != examples:
        raise PairError(f"expected {examples} examples in keras_data, received {count_examples(pair.keras_data)}")
    for callback in pair.keras_callbacks:
        watched = getattr(callback, "monitor", "loss")
        if watched != "loss":
            raise PairError(
                f"expected keras_callbacks that watch the loss, which is all that they are given, received "
                f"{type(callback).__name__}(monitor={watched!r})"
            )
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
