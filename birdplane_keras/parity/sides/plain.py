"""What an object counts with in plain Python: numbers, texts, arrays and tensors among its own attributes."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.ndarray, np.generic)
HOOKS_AND_THE_LIKE = frozenset(vars(torch.nn.Module())) - {
    "training"
}  # what every PyTorch module has: not counted with


@dataclass(frozen=True, kw_only=True)
class PlainState:
    """The plain attributes of an object: their values, and the names of all attributes that it had."""

    values: Mapping[str, Any]
    names: frozenset[str]


def plain_state(member: Any) -> PlainState:
    """Returns copies of the plain attributes of an object, and of lists and dictionaries of such."""
    own = vars(member) if hasattr(member, "__dict__") else {}
    values = {n: copied(v) for n, v in own.items() if n not in HOOKS_AND_THE_LIKE and is_plain(v)}
    return PlainState(values=values, names=frozenset(own))


def put_back(member: Any, state: PlainState) -> None:
    """Gives an object its plain attributes back; public ones that it has gained since then go.

    What has become something else since then (a function that is made at first use, say) stays.
    """
    if not hasattr(member, "__dict__"):
        return
    own = vars(member)
    for name in [n for n, value in own.items() if n not in state.names and n[:1] != "_" and is_plain(value)]:
        del own[name]
    for name, value in state.values.items():
        now = own.get(name)
        if name not in own or (is_plain(now) and not put_into(now, value)):
            own[name] = copied(value)


def put_into(now: Any, value: Any) -> bool:
    """Gives an object a value in place, so that what else holds it holds that value too; `False` where it cannot."""
    if isinstance(now, list) and isinstance(value, list):
        list.__setitem__(now, slice(None), copied(value))
    elif isinstance(now, dict) and isinstance(value, dict):
        dict.clear(now)
        dict.update(now, copied(value))
    elif isinstance(now, torch.Tensor) and isinstance(value, torch.Tensor) and now.shape == value.shape:
        if now.dtype != value.dtype or now.requires_grad:
            return False
        with torch.no_grad():
            now.copy_(value)
    elif isinstance(now, np.ndarray) and isinstance(value, np.ndarray) and now.shape == value.shape:
        if now.dtype != value.dtype or not now.flags.writeable:
            return False
        now[...] = value
    else:
        return now is value
    return True


def is_plain(value: Any) -> bool:
    """Whether a value is plain."""
    if isinstance(value, torch.Tensor):
        return not isinstance(value, torch.nn.Parameter)
    if isinstance(value, list) or type(value) is tuple:
        return all(is_plain(entry) for entry in value)
    if isinstance(value, dict):
        return all(is_plain(entry) for entry in value.values())
    return isinstance(value, PLAIN)


def copied(value: Any) -> Any:
    """Returns a copy of a plain value."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list):
        return [copied(entry) for entry in value]
    if type(value) is tuple:
        entries = tuple(copied(entry) for entry in value)
        return value if all(map(operator.is_, entries, value)) else entries
    if isinstance(value, dict):
        return {name: copied(entry) for name, entry in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value
