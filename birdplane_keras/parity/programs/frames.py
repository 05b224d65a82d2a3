"""The line of the user's own source, and the layer, that an operation comes of: read from the stack."""

import linecache
import sys
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import keras
import torch

from birdplane_keras.parity.programs.program import Line

_LIBRARIES = ("torch", "keras", "optree", "numpy", "greenlet")
_JUDGE = Path(__file__).parents[1]
_BETWEEN = {str(Path(__file__).with_name(name)) for name in ("composed.py", "numbered.py", "recording.py")}
_PLUGIN = Path(__file__).parents[2] / "torch_plugin"
LINES = 2  # of the user's own that are reported: where it is, and from where that was called
DEEPEST = 60  # functions within each other that tell two calls apart
_STANDARD_LIBRARY = Path(linecache.__file__).parent


def call_of(frame: types.FrameType | None) -> tuple:
    """Returns which call is at work: the code and the place in it, from a frame outwards."""
    found: list[tuple[types.CodeType, int]] = []
    while frame is not None and len(found) < DEEPEST:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def user_line(frame: types.FrameType | None, names: Mapping[int, str]) -> tuple[Line | None, str]:
    """Returns the innermost line of the user's own on the stack, and the innermost layer or module at work."""
    frames: list[types.FrameType] = []
    layer = ""
    while frame is not None and len(frames) < LINES:
        watched = frame.f_code.co_name.startswith("__torch_") or frame.f_code.co_filename in _BETWEEN
        if is_judges(frame.f_code.co_filename) and not watched:
            break  # whoever called the judge made no operation
        if is_users(frame.f_code.co_filename):
            frames.append(frame)
        layer = layer or layer_of(frame, names)
        frame = frame.f_back
    line = None
    for outer in reversed(frames):
        line = line_at(outer, line)
    return line, layer


def line_at(frame: types.FrameType, caller: Line | None) -> Line:
    """Returns the line that a frame is at."""
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, number).strip()
    return Line(file=name_of(file), number=number, function=frame.f_code.co_name, text=text, caller=caller)


def name_of(file: str) -> str:
    """Returns what a person calls a file: its name, or a notebook's cell by its number."""
    find_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if find_shell is None else find_shell()
    cell = None if shell is None else shell.compile.format_code_name(file)
    return Path(file).name if cell is None else cell[1]


def layer_of(frame: types.FrameType, names: Mapping[int, str]) -> str:
    """Returns the layer, module or loss whose method a frame is, in words; nothing where it is none's."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    if isinstance(owner, keras.Model | torch.optim.Optimizer | keras.optimizers.Optimizer):
        return ""
    if isinstance(owner, keras.layers.Layer):
        return f"{type(owner).__name__} {owner.path or owner.name}"
    if isinstance(owner, keras.losses.Loss | keras.metrics.Metric | torch.nn.Module):
        return f"{type(owner).__name__} {names.get(id(owner), '')}".strip()
    return ""


@cache
def is_judges(file: str) -> bool:
    """Tells whether a file is of the judge's own."""
    return _JUDGE in Path(file).parents


@cache
def is_users(file: str) -> bool:
    """Tells whether a file is the user's own: of no library that a step runs through."""
    if file.startswith("<"):
        return False
    path = Path(file)
    if _JUDGE in path.parents or _PLUGIN in path.parents:
        return False
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1] not in _LIBRARIES
    return _STANDARD_LIBRARY not in path.parents
