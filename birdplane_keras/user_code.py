"""Where the user's own code is: for warnings, which point at it, and errors, which name its line."""

import os
import sys
import traceback
from pathlib import Path

_OURS = Path(__file__).parent
_STANDARD_LIBRARY = Path(os.__file__).parent
_MADE = ("<frozen", "<eval_with_key>", "<__array_function__")  # code that Python, PyTorch and NumPy make


def is_users(file: str) -> bool:
    """Tells whether a file is neither this package's, nor an installed one's, nor Python's own."""
    path = Path(file)
    if not path.is_absolute():  # a notebook's cell, a program given on the command line, or one with a relative path
        return not file.startswith(_MADE)
    if _OURS in path.parents or "site-packages" in path.parts or "dist-packages" in path.parts:
        return False
    return _STANDARD_LIBRARY not in path.parents


def warning_level() -> int:
    """Returns the `stacklevel` at which a warning of the caller's points at the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and not is_users(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


def line_of(error: BaseException) -> str:
    """Returns where in the user's own code an error arose, " (at file:line)"; nothing where that is not known."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    if not own:
        return ""
    file = own[-1].filename
    return f" (at {os.path.relpath(file) if Path(file).is_absolute() else file}:{own[-1].lineno})"
