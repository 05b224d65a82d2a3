"""The port's own update in the place of the reference's: whether two sides part in the update, and nowhere else."""

import numpy as np
import torch

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Change
from birdplane_keras.parity.core.shelf import Shelf
from birdplane_keras.parity.private_keras import variables_of
from birdplane_keras.parity.sides.bench import PairBench
from birdplane_keras.parity.sides.keras_run import KerasRun
from birdplane_keras.parity.sides.torch_run import TorchRun


class PortUpdate:
    """Updates the weights of a run of the reference as the port's optimizer does, whose state is its own.

    Args:
        bench: Has the port.
        run: Of the reference.
    """

    def __init__(self, bench: PairBench, run: TorchRun) -> None:
        self._port: KerasRun = bench.port()
        self._host, self._run = bench.host, run

    def step(self) -> None:
        """Makes one update of the reference's weights by the gradients that it has."""
        host, run = self._host, self._run
        weights, gradients = run.weights(), Shelf(run.gradients())
        host.activate(self._port)
        host.view.set_weights(weights)
        given = []
        for match, index in host.view.trained(host.optimizer):
            if match.name in gradients:
                variable = variables_of(host.optimizer)[index]
                turned = np.ascontiguousarray(match.to_keras(gradients[match.name]))
                given.append((torch.as_tensor(turned).to(variable.value), variable))
        with torch.no_grad():
            host.optimizer.apply([gradient for gradient, _ in given], [variable for _, variable in given])
        after = host.view.weights()
        with torch.no_grad():
            for name, match in host.view.matches.items():
                if match.trainable[1]:
                    parts = [run.module.get_parameter(part) for part in match.torch]
                    made = match.to_torch(after[name], [part.detach().cpu().numpy() for part in parts])
                    for part, value in zip(parts, made, strict=True):
                        part.copy_(torch.as_tensor(value))


def port_update(case: Case) -> Change:
    """Returns the change by which the reference updates its weights as the port does."""

    def change(run: TorchRun) -> None:
        run.update = PortUpdate(case.bench, run).step

    return change
