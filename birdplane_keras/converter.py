"""Writes a Python file that carries weights between the two models of a pair, with NumPy alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from birdplane_keras.errors import PairError
from birdplane_keras.parity.core.disk import write_atomically
from birdplane_keras.parity.core.problems import counted
from birdplane_keras.parity.matching.expressions import TorchTensor, expression_of
from birdplane_keras.parity.matching.ledger import tensors_of
from birdplane_keras.parity.matching.match import Matching
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.sides.arrays import to_numpy
from birdplane_keras.parity.sides.suggesting import found_in

TEMPLATE = Path(__file__).with_name("converter_template.txt")
TABLE = "# <table>\n"  # where the template has the table, and
HUB = "# <hub>\n"  # what is KerasHub's, up to the end


@dataclass(kw_only=True)
class Layouts:
    """The functions that make Keras' values of PyTorch's tensors, each written once."""

    names: dict[str, str] = field(default_factory=dict)  # its body -> its name

    def name_of(self, made: TorchTensor) -> str:
        """Returns the name of the function that makes a value of its tensors, in their order."""
        few = len(made.names) <= len(ascii_lowercase)
        letters = {name: ascii_lowercase[i] if few else f"a{i}" for i, name in enumerate(made.names)}
        body = f"({', '.join(letters.values())}):\n    return {made.code(letters.__getitem__)}\n"
        usual = {"(a):\n    return a\n": "as_it_is", "(a):\n    return a.transpose(1, 0)\n": "transposed"}
        return self.names.setdefault(body, usual.get(body, f"layout_{len(self.names) + 1}"))

    def code(self) -> str:
        """Returns all of them as code."""
        return "\n\n".join(f"def {name}{body}" for body, name in self.names.items())


def write_converter(pair: Pair, out: Path) -> int:
    """Writes a file that loads a PyTorch `state_dict` into the pair's Keras model, and back; returns how many weights.

    The file's functions are run on the pair's own weights before it is kept: they give the bits that the matching does.

    Args:
        pair: With or without loss and optimizer.
        out: Where the file goes.

    Raises:
        PairError: The pair cannot be judged, or a weight has no counterpart.
    """
    matching = found_in(pair)
    if matching.problems:
        told = "; ".join(problem.text for problem in matching.problems)
        raise PairError(f"expected a counterpart for every weight: {counted(matching.problems)}: {told}")
    code = converter_of(pair, matching)
    try_out(code, pair, matching)
    write_atomically(out, code.encode())
    return len(matching.tensors)


def converter_of(pair: Pair, matching: Matching) -> str:
    """Returns the file's text."""
    places = {id(variable): place for place, variable in enumerate(pair.keras_model.weights)}
    layouts, rows, saved = Layouts(), [], pair.torch_module.state_dict()
    for match in sorted(matching.tensors, key=lambda each: places[id(matching.variables[each.name])]):
        made = expression_of(match)
        variable = matching.variables[match.name]
        rows.append(f"    ({places[id(variable)]}, {match.keras!r}, {layouts.name_of(made)}, {list(made.names)!r}),")
    made_of = [expression_of(match) for match in matching.tensors]
    added = {layouts.name_of(made): [name in made.added for name in made.names] for made in made_of if made.added}
    tensors = tensors_of(pair.torch_module)
    unsaved = [name for match in matching.tensors for name in match.torch if name not in saved]
    constants = [f"    {name!r}: {code_of_array(to_numpy(tensors[name]))}," for name in dict.fromkeys(unsaved)]
    table = "\n".join(
        [
            "",
            layouts.code(),
            "",
            "# which of their tensors these add to another, which then has it all on the way back",
            f"ADDED = {{{', '.join(f'{name}: {places}' for name, places in added.items())}}}",
            "",
            "# what no state_dict has",
            "\n".join(["UNSAVED = {", *constants, "}"]) if constants else "UNSAVED = {}",
            "",
            "# names of one tensor each: a file may have some of them",
            f"TIED = {tied_names(pair)!r}",
            "",
            "# place in model.weights, the variable's path, layout, PyTorch's tensors",
            "WEIGHTS = [",
            *rows,
            "]",
            "",
        ]
    )
    ours, theirs = type(pair.keras_model).__name__, type(pair.torch_module).__name__
    text = TEMPLATE.read_text().replace("MODULE", theirs).replace("MODEL", ours)
    front, hub = text.split(HUB)
    front = front.replace(TABLE, table)
    return front + hub if is_of_keras_hub(pair.keras_model) else front.rstrip() + "\n"


def code_of_array(array: np.ndarray) -> str:
    """Returns an array as code; one of positions in short."""
    flat = array.reshape(-1)
    counts = array.dtype.kind in "iu" and np.array_equal(flat, np.arange(flat.size))
    numbers = ", ".join(repr(n) if np.isfinite(n) else f"float({str(n)!r})" for n in flat.tolist())
    values = f"np.arange({flat.size})" if counts else f"np.array([{numbers}])"
    return f"{values}.astype({str(array.dtype)!r}).reshape({', '.join(map(str, array.shape)) or '()'})"


def is_of_keras_hub(model: Any) -> bool:
    """Whether a model is one of KerasHub's."""
    return any(kind.__module__.startswith("keras_hub.") for kind in type(model).__mro__)


def tied_names(pair: Pair) -> list[list[str]]:
    """Returns the names of each tensor that has several."""
    names: dict[int, list[str]] = {}
    for name, tensor in tensors_of(pair.torch_module).items():
        names.setdefault(id(tensor), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def try_out(code: str, pair: Pair, matching: Matching) -> None:
    """Runs a file's functions on the pair's own weights.

    Raises:
        RuntimeError: They give other bits than the matching.
    """
    made: dict[str, Any] = {"__name__": "converter"}
    exec(compile(code, "converter", "exec"), made)
    state = {name: to_numpy(tensor) for name, tensor in tensors_of(pair.torch_module).items()}
    saved = {name: state[name] for name in pair.torch_module.state_dict() if name in state}
    places = {id(variable): place for place, variable in enumerate(pair.keras_model.weights)}
    values: Mapping[int, np.ndarray] = made["to_keras"](saved)
    for match in matching.tensors:
        wanted = match.to_keras(match.from_torch(*(state[name] for name in match.torch)))
        given = values[places[id(matching.variables[match.name])]]
        if given.shape != wanted.shape or given.tobytes() != wanted.tobytes():
            raise RuntimeError(f"expected the converter to give the bits of {match.name}, received others")
    back = made["to_torch"](values, saved)
    again: Mapping[int, np.ndarray] = made["to_keras"](back)
    for place, value in values.items():
        if again[place].tobytes() != value.tobytes():
            raise RuntimeError(f"expected the converter to carry weight {place} there and back, received others")
