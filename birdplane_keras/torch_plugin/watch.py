"""The Python state that a trace depends on: the attributes of a model's objects, compared before every replay.

A trace holds the numbers that Python computed with: a dropout rate, a flag, which weights are trainable. Where one of
them has changed since, the trace is of another step.
"""

import types
from collections.abc import Iterable
from operator import eq, getitem, is_, ne
from typing import Any

import keras
import torch
from keras.src.backend.common import global_state
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.losses.loss import Loss
from keras.src.metrics.metric import Metric
from keras.src.ops.node import Node
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, SeedGenerator
from keras.src.utils.tracking import Tracker

from birdplane_keras.torch_plugin.errors import NotTraceableError

PLUGIN_ATTRIBUTE = "_birdplane_torch_plugin"  # where an attached model keeps its attachment
# What changes in every run of `fit` without changing any step.
_VOLATILE = {
    "stop_training", "stop_evaluating", "stop_predicting", "history", "train_function", "test_function",
    "predict_function", "_initial_epoch", "_eval_epoch_iterator", "_losses", "_loss_ids", "_called", "_lock",
    "_compiled_trainable_state", "_compile_config", "make_train_function", "make_test_function",
    "make_predict_function", PLUGIN_ATTRIBUTE,
}  # fmt: skip
# Keras' and PyTorch's bookkeeping, which no step reads.
_BOOKKEEPING = {
    "_inbound_nodes", "_outbound_nodes", "_tracker", "_call_signature", "_call_context_args", "_lazy_inputs",
    "_torch_params", "_modules", "_parameters", "_build_shapes_dict", "_nodes", "_nodes_by_depth", "_auto_config",
    "_operations_by_depth", "_layers_by_name", "_parent_path", "_path", "_name", "_input_spec", "input_spec",
    "call_signature_parameters", "_call_has_context_arg", "_remat_mode", "_is_full_backward_hook",
    "_non_persistent_buffers_set", "kernel_initializer", "bias_initializer", "_initializer", "built", "quantize",
    "build", "_initial_seed", "_convert_input_args", "_allow_non_tensor_positional_args", "supports_jit",
    "_supports_masking", "_aggregation", "_synchronization", "_layout", "_shape", "_ndim", "_user_metrics",
}  # fmt: skip
_HOOKS = (
    "_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_NOT_FOLLOWED = (
    Node, KerasTensor, Tracker, types.ModuleType, type, torch.dtype, torch.device, torch.Generator, keras.Initializer,
    keras.DTypePolicy, keras.InputSpec,
)  # fmt: skip
_OWNERS = (keras.layers.Layer, Metric, Loss, keras.optimizers.Optimizer, keras.Variable, SeedGenerator, torch.nn.Module)
_MOST_ITEMS = 20_000
_DEEPEST = 4  # levels of objects that are neither Keras' nor PyTorch's
_GONE = object()


class Watch:
    """Remembers the state that is reachable from some objects, and tells whether it is still the same.

    Args:
        roots: Objects; what their attributes lead to is watched, too.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._containers: list[Any] = []
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._owners: list[str] = []
        self._sized: list[Any] = []
        self._hooks: list[tuple[dict, str]] = []
        self._seen: set[int] = set()
        for root in roots:
            self._follow(root, type(root).__name__, 0)
        self._lengths = list(map(len, self._sized))
        self._ids = set(map(id, self._values))

    def unchanged(self) -> bool:
        """Tells whether every watched value is still what it was, and no hook was added to a layer."""
        try:
            same = all(map(is_, map(getitem, self._containers, self._keys), self._values))
        except (KeyError, IndexError):
            return False
        return (same or self.first_change() is None) and all(map(eq, map(len, self._sized), self._lengths))

    def first_change(self) -> str | None:
        """Returns the name of the first value that is not equal to what it was; `None` where all are."""
        for container, key, value, owner in zip(self._containers, self._keys, self._values, self._owners, strict=True):
            try:
                now = container[key]
            except (KeyError, IndexError):
                now = _GONE
            if now is not value and not (type(now) is type(value) and isinstance(now, _PLAIN) and now == value):
                return f"`{key}` of {owner}"
        if any(map(ne, map(len, self._sized), self._lengths)):
            return "the length of a list or dictionary"
        return None

    def hook(self) -> str | None:
        """Returns the owner of a hook that a replay would not call."""
        return next((owner for hooks, owner in self._hooks if hooks), None)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Tells whether a watched value is this tensor, so that its replacement would be seen."""
        return id(tensor) in self._ids

    def put_back(self) -> None:
        """Gives attributes, and items of dictionaries and lists, the values that they had."""
        noted: dict[int, set] = {}
        for container, key, value in zip(self._containers, self._keys, self._values, strict=True):
            if isinstance(container, dict | list):
                container[key] = value
                noted.setdefault(id(container), set()).add(key)
        hooks = {id(store) for store, _ in self._hooks}
        for container in self._sized:
            if isinstance(container, dict) and id(container) not in hooks:
                for key in [key for key in container if key not in noted.get(id(container), ())]:
                    del container[key]

    def _note(self, container: Any, key: Any, value: Any, owner: str) -> None:
        if len(self._values) >= _MOST_ITEMS:
            raise NotTraceableError(f"its objects hold more than {_MOST_ITEMS} values, too many to watch")
        self._containers.append(container)
        self._keys.append(key)
        self._values.append(value)
        self._owners.append(owner)

    def _follow(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, (*_PLAIN, *_NOT_FOLLOWED, torch.Tensor)) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, types.FunctionType):
            self._follow_function(value, name, depth)
        elif isinstance(value, types.MethodType):
            self._follow(value.__self__, name, depth)
            self._follow(value.__func__, name, depth)
        elif isinstance(value, dict):
            self._sized.append(value)
            for key, item in value.items():
                self._note(value, key, item, name)
                self._follow(item, name, depth)
        elif isinstance(value, list | tuple):
            self._sized.append(value)
            for position, item in enumerate(value):
                if isinstance(value, list):
                    self._note(value, position, item, name)
                self._follow(item, name, depth)
        elif isinstance(value, set | frozenset):
            for item in value:
                self._follow(item, name, depth)
        elif hasattr(value, "__dict__") and (isinstance(value, _OWNERS) or depth < _DEEPEST):
            self._follow_attributes(value, depth if isinstance(value, _OWNERS) else depth + 1)

    def _follow_attributes(self, value: Any, depth: int) -> None:
        attributes = vars(value)
        name = f"{type(value).__name__} {attributes.get('_name') or attributes.get('name') or ''}".strip()
        is_module = isinstance(value, torch.nn.Module)
        # A wrapped PyTorch module is put into its mode by every call.
        sets_its_own_mode = is_module and (
            isinstance(value, keras.layers.TorchModuleWrapper) or not isinstance(value, keras.layers.Layer)
        )
        if is_module:
            hooks = [attributes[store] for store in _HOOKS if store in attributes]
            self._hooks += [(store, name) for store in hooks]
            self._sized += hooks
            if sets_its_own_mode:  # PyTorch's own modules keep their state there
                for store in ("_parameters", "_buffers", "_modules"):
                    self._follow(attributes.get(store), name, depth)
        call = getattr(type(value), "call", None) or getattr(type(value), "forward", None)
        if isinstance(call, types.FunctionType) and not call.__module__.startswith(("keras.", "torch.")):
            self._follow_function(call, name, depth)
        for key, item in attributes.items():
            if key in _VOLATILE or key in _BOOKKEEPING or (is_module and key.endswith("_hooks")) or "_hooks_" in key:
                continue
            if key == "training" and sets_its_own_mode:
                continue
            self._note(attributes, key, item, name)
            self._follow(item, name, depth)

    def _follow_function(self, function: types.FunctionType, name: str, depth: int) -> None:
        if function.__module__ is None or function.__module__.startswith(("keras.", "torch.")):
            return
        for cell in function.__closure__ or ():
            held = _Cell(cell)
            self._note(held, "cell_contents", held["cell_contents"], f"the closure of {function.__qualname__}")
            self._follow(held["cell_contents"], name, depth + 1)
        for key in names_in(function.__code__):
            if key in function.__globals__ and not isinstance(function.__globals__[key], types.ModuleType | type):
                self._note(function.__globals__, key, function.__globals__[key], "the global variable")
                self._follow(function.__globals__[key], name, depth + 1)
        if function.__defaults__:
            self._follow(function.__defaults__, name, depth + 1)


class _Cell:
    """A closure cell, read as a mapping."""

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def __getitem__(self, key: str) -> Any:
        try:
            return self._cell.cell_contents
        except ValueError:  # empty
            return _GONE


def names_in(code: types.CodeType) -> set[str]:
    """Returns the global names that a function's code, and the functions in it, use."""
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def watch_model(model: keras.Model) -> Watch:
    """Returns a watch over everything of a compiled model that a step may read."""
    return Watch([model, global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)])
