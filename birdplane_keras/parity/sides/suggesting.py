"""The mapping that says in full what matching has found: to read, to paste, to change."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from birdplane_keras.parity.kinds.layouts import TensorMatch
from birdplane_keras.parity.matching.expressions import TorchTensor, expression_of
from birdplane_keras.parity.matching.ledger import ROOT, LayerMatch, tensors_of
from birdplane_keras.parity.matching.match import Matching, match_layers
from birdplane_keras.parity.pair import Pair, check_pair
from birdplane_keras.parity.sides.examples import build_batches
from birdplane_keras.parity.sides.matching import match_pair

Suggested = dict[str, str | tuple[str, tuple[int, ...]] | TorchTensor | None]


def suggest_mapping(pair: Pair) -> Suggested:
    """Returns a mapping with which the weights of a pair are matched as they are by looking at both models.

    Layers are mapped to modules where that is enough, and single variables to tensors, or to what is made of them,
    where it is not. It has been tried: `match_layers` finds the same with it, without looking at the models.

    Args:
        pair: With or without loss and optimizer; its own mapping is followed.

    Returns:
        layer or variable -> module, tensor or what is made of tensors; `None` for what the pair's mapping leaves out.

    Raises:
        PairError: The pair cannot be judged.
        RuntimeError: What was found cannot be said in a mapping: variables of one path, say.
    """
    return say(found_in(pair), pair)


def found_in(pair: Pair) -> Matching:
    """Returns how the weights of a pair are matched, by looking at both models.

    Raises:
        PairError: The pair cannot be judged.
    """
    check_pair(pair)
    return match_pair(build_batches(pair, 0))


def say(matching: Matching, pair: Pair) -> Suggested:
    """Returns what a matching of a pair has found as a mapping, once it has been tried."""
    left_out: Suggested = {name: None for name, target in (pair.mapping or {}).items() if target is None}
    layers = [layer for layer in matching.layers if layer.tensors]
    whole = [layer for layer in layers if is_said_in_a_line(layer, matching)]
    while True:
        found: Suggested = dict(left_out)
        for layer in layers:
            if layer in whole:
                found[layer.layer.path] = layer.name
            else:
                found |= {key_of(matching.variables[each.name], pair): in_code(each) for each in layer.tensors}
        again = match_layers(pair.keras_model, pair.torch_module, found)
        others = {id(v): each for each in again.tensors for v in [again.variables[each.name]]}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(pair.torch_module).items()}
        wrong = [
            layer
            for layer in layers
            if not all(same(each, others.get(id(matching.variables[each.name])), shapes) for each in layer.tensors)
        ]
        if not wrong:
            return found
        if not any(layer in whole for layer in wrong):
            names = ", ".join(each.keras for layer in wrong for each in layer.tensors)
            raise RuntimeError(f"expected a mapping to say what {names} are, received another matching with it")
        whole = [layer for layer in whole if layer not in wrong]


def is_said_in_a_line(layer: LayerMatch, matching: Matching) -> bool:
    """Whether a layer and a module of one kind belong together by their paths alone."""
    paths = [other.layer.path for other in matching.layers]
    return layer.kind is not None and layer.name != ROOT and paths.count(layer.layer.path) == 1


def key_of(variable: Any, pair: Pair) -> str:
    """Returns what names a variable in a mapping: its path, with a number where others share it."""
    shared = [other for other in pair.keras_model.weights if other.path == variable.path]
    if len(shared) == 1:
        return str(variable.path)
    return f"{variable.path}#{next(i for i, other in enumerate(shared, 1) if other is variable)}"


def in_code(match: TensorMatch) -> str | TorchTensor:
    """Returns the target of a variable: a tensor's name where that is all."""
    made = expression_of(match)
    return made.names[0] if repr(made) == f'TorchTensor("{made.names[0]}")' else made


def same(one: TensorMatch, other: TensorMatch | None, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether two matches of a variable take the same numbers to the same places."""
    if other is None or one.torch != other.torch:
        return False
    numbers: list[np.ndarray[Any, Any]] = []
    for name in one.torch:
        size = int(np.prod(shapes[name]))
        numbers.append((np.arange(size, dtype=np.int64) + size * len(numbers)).reshape(shapes[name]))
    ours, theirs = (np.asarray(each.turn.back(each.joint.read(*numbers))) for each in (one, other))
    return ours.shape == theirs.shape and np.array_equal(ours, theirs)


def as_python(mapping: Suggested) -> str:
    """Returns a mapping as Python to paste."""
    lines = [f"    {key!r}: {target!r}," for key, target in mapping.items()]
    code = "\n".join(["mapping = {", *lines, "}"])
    imports = ["import numpy as np"] * ("np." in code)
    imports += ["from birdplane_keras.parity import TorchTensor"] * ("TorchTensor(" in code)
    return "\n".join([*imports, *([""] if imports else []), code]) + "\n"
