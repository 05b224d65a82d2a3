"""Matches the weights of a pair: both models are looked at as they predict a few of its examples."""

import contextlib
import copy
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import torch

from birdplane_keras.errors import first_line
from birdplane_keras.parity.matching.by_use import match_by_use
from birdplane_keras.parity.matching.drawing import draw_weights
from birdplane_keras.parity.matching.ledger import Ledger
from birdplane_keras.parity.matching.match import Matching, match_layers
from birdplane_keras.parity.matching.same import same_numbers
from birdplane_keras.parity.matching.uses import read_uses
from birdplane_keras.parity.matching.walked import Walked
from birdplane_keras.parity.pair import Pair
from birdplane_keras.parity.private_keras import layers_of
from birdplane_keras.parity.sides.calls import call_module, given_to_module
from birdplane_keras.parity.sides.examples import keras_view, mapped, named_leaves, take
from birdplane_keras.parity.sides.kept import KeptTensor
from birdplane_keras.parity.sides.keras_run import as_fit_gives
from birdplane_keras.parity.sides.masking import counted
from birdplane_keras.parity.sides.memory import give_back_memory, is_large
from birdplane_keras.parity.sides.modes import device_of, half_policy, half_type
from birdplane_keras.parity.sides.outputs import arrays_of, flat
from birdplane_keras.parity.sides.plain import plain_state, put_back

EXAMPLES = slice(8)  # that both models predict


def match_pair(pair: Pair) -> Matching:
    """Returns the matching of a pair's models. Both are as before afterwards."""
    return match_layers(pair.keras_model, pair.torch_module, pair.mapping, partial(look, pair))


def look(pair: Pair, ledger: Ledger) -> Walked:
    """Looks at both models of a pair as they predict; finds nothing where one of them cannot."""
    data = take(pair.data, EXAMPLES)
    data = mapped(np.array, data[0]), data[1]  # copies: a model may write on its inputs
    inputs = keras_view(pair, data)[0] if pair.keras_data is None else take(pair.keras_data[0], EXAMPLES)
    given = keras.tree.map_structure(as_fit_gives, inputs)
    give_back_memory(large=is_large(pair.torch_module))
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            module = copy.deepcopy(pair.torch_module).eval()
            draw_weights(module, but=[name for name, tensor in ledger.tensors.items() if id(tensor) in ledger.left_out])
            outputs: list[Any] = []
            given_there = given_to_module(mapped(partial(as_taken, module), data[0]))
            uses = read_uses(module, lambda: outputs.append(call_module(module, given_there)))
        expected = arrays_of(outputs[0], pair.torch_outputs)
        turned = expected if pair.outputs_to_keras is None else pair.outputs_to_keras(expected)
        wanted = counted(pair, named_leaves(turned, "outputs"), data[0])

        half = half_type(pair.torch_module) is not None or half_policy(pair.keras_model, pair.torch_module) is not None

        def predict() -> tuple[int, int]:
            with torch.no_grad():
                made = flat(pair.keras_model(given, training=False), pair.keras_outputs)
                made = counted(pair, made, data[0])
            pairs = [(torch.as_tensor(made[n]), torch.as_tensor(wanted[n])) for n in wanted if n in made]
            comparable = made.keys() == wanted.keys()
            return sum(same_numbers(*each, half=half) == 0 for each in pairs), len(wanted) if comparable else 0

        with as_before(pair.keras_model), torch.random.fork_rng():
            return match_by_use(pair.keras_model, uses, ledger, predict)
    except Exception as error:  # whatever a model raises that cannot be called so
        return Walked(note=f"the weights were matched by their order, not by their use: {first_line(error)}")


def as_taken(module: torch.nn.Module, array: Any) -> torch.Tensor:
    """Returns an input as a module takes it."""
    tensor = torch.as_tensor(array).to(device_of(module))
    half = half_type(module)
    return tensor.to(half) if half is not None and tensor.is_floating_point() else tensor


@contextlib.contextmanager
def as_before(model: keras.Model) -> Iterator[None]:
    """Gives a model its weights, and what its layers count with, back afterwards."""
    layers = layers_of(model)
    values = [(variable, KeptTensor(variable.value)) for variable in model.variables]
    plain = [plain_state(layer) for layer in layers]
    try:
        yield
    finally:
        with torch.no_grad():
            for variable, value in values:
                variable.value.copy_(value.read())
        for layer, state in zip(layers, plain, strict=True):
            put_back(layer, state)
