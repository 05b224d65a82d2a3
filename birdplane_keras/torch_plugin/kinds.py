"""Kinds of Python objects, by how their state can be seen."""

import array
import collections
import enum
import functools
import operator
import threading
import types
import weakref
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.torch_plugin.code_names import is_users
from birdplane_keras.torch_plugin.places import PLAIN
from birdplane_keras.torch_plugin.private_keras import KerasTensor, Node, Tracker

Kind = enum.Enum(
    "Kind",
    "ATOM OBJECT DICT PROXY SEQUENCE SET TUPLE TENSOR ARRAY MODULE CLASS FUNCTION METHOD PARTIAL DESCRIPTOR REFERENCE "
    "BUILTIN BUFFER LOCAL OPAQUE",
)
# What does not change, or what no step computes with.
_ATOMS = (
    *PLAIN, torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, np.dtype, np.generic, np.ufunc,
    range, slice, operator.itemgetter, types.MethodDescriptorType, types.CodeType,
    types.WrapperDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType, types.FrameType,
    types.ClassMethodDescriptorType, types.TracebackType, types.GenericAlias, types.UnionType, types.EllipsisType,
    types.NotImplementedType, type(np.sum), Node, KerasTensor, Tracker, keras.Initializer,
    torch.utils._pytree.TreeSpec, torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops._OpNamespace,
)  # fmt: skip
_ATOM_MODULES = {
    "re", "datetime", "decimal", "fractions", "pathlib", "typing", "inspect", "uuid", "ipaddress",
}  # fmt: skip
_UNCHANGING = {"DTypePolicy", "InputSpec", "LazyModule", "SymbolicArguments"}  # Keras makes others instead
_LOCKS = ("_thread", "threading")
LOOKUPS = {getattr, setattr, hasattr, delattr, vars}
# Modules of the standard library whose classes keep nothing for those that inherit from them.
_KEEP_NOTHING = {"abc", "_collections_abc", "collections.abc", "types", "typing", "enum", "dataclasses", "contextlib"}
# What Keras' own code keeps about a call, or once the object is built, and no step computes with.
_BOOKKEEPING = {
    "_aggregation", "_allow_non_tensor_positional_args", "_autocast", "_auto_config", "_birdplane_torch_plugin",
    "_build_shapes_dict", "_call_context_args", "_call_has_context_arg", "_call_has_mask_arg", "_call_has_training_arg",
    "_call_signature", "_called", "_compile_config", "_compiled_trainable_state", "_compute_loss_has_training_arg",
    "_convert_input_args", "_dtype", "_eval_epoch_iterator", "_has_implementation_for_compute_mask", "_inbound_nodes",
    "_initial_epoch", "_initial_seed", "_initializer", "_input_spec", "_is_full_backward_hook", "_keras_history",
    "_keras_mask", "_layers_by_name", "_layout", "_lazy_inputs", "_lock", "_loss_ids", "_losses", "_name", "_ndim",
    "_nodes", "_nodes_by_depth", "_non_persistent_buffers_set", "_operations_by_depth", "_outbound_nodes",
    "_overwrite_with_gradient", "_parent_path", "_path", "_remat_mode", "_resolved_output_names", "_shape",
    "_supports_masking", "_symbolic_call", "_synchronization", "_tracker", "_user_metrics", "build", "built", "history",
    "input_spec", "make_predict_function", "make_test_function", "make_train_function", "name", "output_names",
    "predict_function", "quantize", "stop_evaluating", "stop_predicting", "stop_training", "supports_jit",
    "test_function", "train_function", "_losses_override", "_y_pred_build_structure", "_y_true_build_structure",
}  # fmt: skip
_OWNERS = (
    keras.layers.Layer,
    keras.Variable,
    keras.metrics.Metric,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
    torch.Tensor,
)
_REGISTERED = "_global_"  # PyTorch's modules keep the hooks of all modules under such names
_KINDS: dict[type, Kind] = {}
# Whose methods are sometimes replaced on one object.
PATCHED = (keras.layers.Layer, keras.metrics.Metric, keras.losses.Loss, keras.optimizers.Optimizer, torch.nn.Module)


def kind_of(kind: type) -> Kind:
    """Returns how the state of a class's objects can be seen."""
    found = _KINDS.get(kind)
    if found is None:
        found = _KINDS[kind] = _kind_of(kind)
    return found


def _kind_of(kind: type) -> Kind:
    if issubclass(kind, type):
        return Kind.CLASS
    if issubclass(kind, torch.Tensor):
        return Kind.TENSOR
    if issubclass(kind, np.ndarray):
        return Kind.ARRAY
    if issubclass(kind, threading.local):
        return Kind.LOCAL
    if issubclass(kind, (*PLAIN, enum.Enum, BaseException)):  # one of the user's own may have attributes
        return Kind.OBJECT if kind.__dictoffset__ and is_users(kind.__module__) else _attributed(kind)
    if issubclass(kind, _ATOMS) or kind.__module__ in _ATOM_MODULES or kind.__module__ in _LOCKS:
        return Kind.ATOM
    for base, found in (
        (types.ModuleType, Kind.MODULE),
        (types.FunctionType, Kind.FUNCTION),
        (types.MethodType, Kind.METHOD),
        (types.BuiltinFunctionType | types.MethodWrapperType, Kind.BUILTIN),
        (bytearray | array.array, Kind.BUFFER),
        (functools.partial, Kind.PARTIAL),
        (
            property | classmethod | staticmethod | functools.cached_property | functools._lru_cache_wrapper,
            Kind.DESCRIPTOR,
        ),
        (weakref.ref, Kind.REFERENCE),
        (dict, Kind.DICT),
        (list | collections.deque, Kind.SEQUENCE),
        (set, Kind.SET),
        (types.MappingProxyType, Kind.PROXY),
        (tuple | frozenset, Kind.TUPLE),
    ):
        if issubclass(kind, base):
            return found
    if kind.__module__.startswith("keras.") and kind.__name__ in _UNCHANGING:
        return Kind.ATOM
    if kind.__flags__ & (1 << 9) and (kind.__dictoffset__ or _has_slots(kind)) and _made_in_python(kind):
        return Kind.OBJECT
    if issubclass(kind, types.SimpleNamespace):
        return Kind.OBJECT
    return Kind.OPAQUE


def _attributed(kind: type) -> Kind:
    """Returns the kind of what is plain, but for an exception, on which anybody may hang something."""
    return Kind.OBJECT if issubclass(kind, BaseException) else Kind.ATOM


def keeps_unseen(kind: type) -> bool:
    """Tells whether code that nobody looks into keeps state in the objects of a class: then all of it is watched."""
    return any(
        not is_users(each.__module__)
        and not each.__module__.startswith(("keras", "torch.nn"))
        and each.__module__ not in _KEEP_NOTHING
        and each.__flags__ & (1 << 9)
        for each in kind.__mro__
    )


def answers_unseen(member: Any) -> bool:
    """Tells whether an attribute is computed by a descriptor of a library's own, as PyTorch's settings are."""
    kind = type(member)
    library = kind.__flags__ & (1 << 9) and not is_users(kind.__module__) and not kind.__module__.startswith("keras")
    return bool(library) and hasattr(kind, "__get__") and kind_of(kind) is Kind.OBJECT


def _has_slots(kind: type) -> bool:
    return any("__slots__" in vars(each) for each in kind.__mro__)


def _made_in_python(kind: type) -> bool:
    """Tells whether no base class but `object` keeps state in C."""
    return all(each.__flags__ & (1 << 9) or each is object for each in kind.__mro__)


def bookkeeping(value: Any) -> set[str] | tuple:
    """Returns the attributes of an object that Keras' own code only keeps account in."""
    return _BOOKKEEPING if isinstance(value, _OWNERS) else ()


def member_of(kind: type, name: str) -> tuple[type, Any] | None:
    """Returns the class that an attribute of a class comes from, and what it is; `None` where there is none."""
    for each in kind.__mro__:
        found = vars(each)
        if name in found:
            return None if each is object else (each, found[name])
    return None


def is_full(cell: types.CellType) -> bool:
    """Tells whether a closure's cell holds anything."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def described(value: Any) -> str:
    """Returns an object in words."""
    return f"an object of type `{type(value).__module__}.{type(value).__qualname__}`".replace("`builtins.", "`")


def words_of(value: Any) -> str:
    """Returns the kind and the name of an object."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return f"a {kind.__name__}"
    attributes = getattr(value, "__dict__", {})
    name = attributes.get("_name") or attributes.get("name") or ""
    return f"{kind.__name__} {name if isinstance(name, str) else ''}".strip()


class OfLibrary:
    """A container that a library's module or class holds."""

    def __init__(self, value: Any) -> None:
        self.value = value


def of_library(name: str, value: Any) -> Any:
    """Marks a container that a library's module or class holds under a name."""
    kept = kind_of(type(value)) in (Kind.DICT, Kind.SEQUENCE, Kind.SET, Kind.PROXY) and not name.startswith(_REGISTERED)
    return OfLibrary(value) if kept else value
