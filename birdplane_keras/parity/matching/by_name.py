"""Matches a weight of a layer of one's own with the parameter of the same last name and shape, where there is one."""

from typing import Any

from torch import nn

from birdplane_keras.parity.matching.as_told import match_variable
from birdplane_keras.parity.matching.ledger import Ledger


def match_by_name(ledger: Ledger, keras_model: Any, torch_module: nn.Module) -> None:
    """Matches weights of layers of no known kind, where name and shape leave one choice."""
    variables = [variable for variable in keras_model.weights if id(variable) not in ledger.settled]
    parameters = [(n, weight) for n, weight in torch_module.named_parameters() if id(weight) not in ledger.settled]
    ours = [(variable.name, tuple(variable.shape)) for variable in variables]
    theirs = [(name.rpartition(".")[2], tuple(weight.shape)) for name, weight in parameters]
    for variable, key in zip(variables, ours, strict=True):
        if ours.count(key) == theirs.count(key) == 1:
            name, _ = parameters[theirs.index(key)]
            match_variable(ledger, keras_model, torch_module, variable.path, name)
