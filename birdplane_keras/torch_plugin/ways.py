"""The way that a user's own code takes, instruction by instruction, to be compared between two runs.

A size that is a symbol answers each comparison as the number does, and what it answers is noted. Two questions it
answers otherwise, and nothing notes them: what type it is of, and what it reads as text.
"""

import gc
import sys
from types import CodeType, FrameType
from typing import Any

import torch

from birdplane_keras.torch_plugin.code_names import is_users
from birdplane_keras.torch_plugin.errors import NotTraceableError

Instruction = tuple[CodeType, int]
_AS_TEXT = {kind.__repr__.__code__ for kind in (torch.SymInt, torch.SymFloat, torch.SymBool)}


class Way:
    """Under `with`, notes the instructions of the user's code that this thread runs, and symbols read as text.

    The garbage collector waits meanwhile: what it calls, whenever it comes, is nothing that the step does.

    Args:
        like: Another way; then the code that it went through is noted only, and not what symbols run besides.
    """

    def __init__(self, like: "Way | None" = None) -> None:
        self.instructions: list[Instruction] = []
        self._codes = None if like is None else {code for code, _ in like.instructions}
        self._reads_as_text = False
        self._outer: Any = None
        self._collects = False

    def __enter__(self) -> "Way":
        self._collects = gc.isenabled()
        gc.disable()
        self._outer = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)
        if self._collects:
            gc.enable()

    def require_same(self, other: "Way") -> None:
        """Makes sure that another run took the same way, and that neither read a symbol as text.

        Raises:
            NotTraceableError: That is not so.
        """
        if self._reads_as_text or other._reads_as_text:
            raise NotTraceableError("it reads a size as text, and what follows may depend on it")
        if self.instructions != other.instructions:
            pairs = zip(self.instructions, other.instructions, strict=False)
            code = next((one[0] for one, another in pairs if one != another), None)
            where = f"`{code.co_qualname}`" if code is not None else "it"
            raise NotTraceableError(f"{where} runs otherwise where a size is not a number of type `int`")

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code in _AS_TEXT:
            caller = frame.f_back
            by_torch = caller is not None and module_of(caller).partition(".")[0] == "torch"
            self._reads_as_text = self._reads_as_text or not by_torch
            return None
        watched = is_users(module_of(frame)) if self._codes is None else frame.f_code in self._codes
        if not watched:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._on_instruction

    def _on_instruction(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.instructions.append((frame.f_code, frame.f_lasti))
        return self._on_instruction


def module_of(frame: FrameType) -> str:
    """Returns the name of the module whose code runs in a frame."""
    return str(frame.f_globals.get("__name__", ""))
