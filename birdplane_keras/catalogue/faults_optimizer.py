"""Mistakes in the optimizer: its constants, and its form."""

import keras
import torch

from birdplane_keras import torch_equivalents
from birdplane_keras.catalogue.networks import sgd, vector_pair
from birdplane_keras.catalogue.records import fault
from birdplane_keras.parity import Pair


class UncorrectedAdam(torch_equivalents.Adam):
    """Adam as some write it by hand: the moments are not corrected for having started at zero."""

    @torch.no_grad()
    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        momentum.lerp_(gradient, 1 - self.beta_1)
        velocity.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
        variable.value.addcdiv_(momentum, velocity.sqrt() + self.epsilon, value=-float(learning_rate))


def adam_pair(seed: int, keras_optimizer: keras.optimizers.Optimizer, **settings) -> Pair:
    """The reference has Adam at a rate of 0.005."""
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.005, **settings),
        keras_optimizer=keras_optimizer,
    )


def momentum_pair(seed: int, keras_optimizer: keras.optimizers.Optimizer, **settings) -> Pair:
    """The reference has SGD at a rate of 0.02 with momentum 0.9."""
    return vector_pair(
        seed,
        torch_optimizer=sgd(0.02, **({"momentum": 0.9} | settings)),
        keras_optimizer=keras_optimizer,
    )


@fault("The port's Adam has an epsilon of 1e-3.", rung="first_update", cause="adam_epsilon")
def adam_epsilon(seed: int) -> Pair:
    return adam_pair(seed, torch_equivalents.Adam(0.005, epsilon=1e-3))


@fault("The port has Keras' own Adam with its epsilon of 1e-7.", rung="first_update", cause="adam_epsilon")
def adam_of_keras(seed: int) -> Pair:
    return adam_pair(seed, keras.optimizers.Adam(0.005))


@fault("The port's Adam does not correct the moments' bias.", rung="first_update", cause="bias_correction")
def adam_without_correction(seed: int) -> Pair:
    return adam_pair(seed, UncorrectedAdam(0.005))


@fault(
    "The reference's Adam adds the decay to the gradient, the port decays apart.",
    rung="first_update",
    cause="weight_decay",
)
def adam_with_decoupled_decay(seed: int) -> Pair:
    return adam_pair(seed, torch_equivalents.AdamW(0.005, weight_decay=0.05), weight_decay=0.05)


@fault("The port's AdamW keeps Keras' weight decay of 0.004.", rung="first_update", cause="weight_decay")
def adamw_of_another_decay(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.005),
        keras_optimizer=torch_equivalents.AdamW(0.005, weight_decay=0.004),
    )


@fault("The port decays no weights.", rung="first_update", cause="weight_decay")
def weight_decay_missing(seed: int) -> Pair:
    return vector_pair(seed, torch_optimizer=sgd(0.05, weight_decay=0.01))


@fault("PyTorch's decay goes through the momentum, Keras' does not.", rung="optimizer_state", cause="weight_decay")
def decay_beside_the_momentum(seed: int) -> Pair:
    optimizer = keras.optimizers.SGD(0.02, momentum=0.9, weight_decay=0.01)
    return momentum_pair(seed, optimizer, weight_decay=0.01)


@fault("The port has no momentum.", rung="optimizer_state", cause="momentum")
def momentum_missing(seed: int) -> Pair:
    return momentum_pair(seed, keras.optimizers.SGD(0.02))


@fault("The port's momentum is 0.99 for 0.9.", rung="optimizer_state", cause="momentum")
def momentum_of_another_value(seed: int) -> Pair:
    return momentum_pair(seed, keras.optimizers.SGD(0.02, momentum=0.99))


@fault("The reference dampens its momentum, the port does not.", rung="optimizer_state", cause="momentum")
def dampening_missing(seed: int) -> Pair:
    return momentum_pair(seed, keras.optimizers.SGD(0.02, momentum=0.9), dampening=0.5)


@fault("The port has Nesterov's momentum, the reference the plain one.", rung="first_update", cause="nesterov")
def nesterov_added(seed: int) -> Pair:
    return momentum_pair(seed, keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True))


@fault("The port has plain momentum, the reference Nesterov's.", rung="first_update", cause="nesterov")
def nesterov_missing(seed: int) -> Pair:
    return momentum_pair(seed, keras.optimizers.SGD(0.02, momentum=0.9), nesterov=True)


@fault("The port's learning rate is 0.011 for 0.01.", rung="first_update", cause="learning_rate")
def learning_rate_of_another_value(seed: int) -> Pair:
    return vector_pair(seed, torch_optimizer=sgd(0.01), keras_optimizer=keras.optimizers.SGD(0.011))


@fault("The port's learning rate is ten times the reference's.", rung="first_update", cause="learning_rate")
def learning_rate_of_keras(seed: int) -> Pair:
    return vector_pair(
        seed,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.0001),
        keras_optimizer=torch_equivalents.Adam(),
    )


FAULTS = (
    adam_epsilon,
    adam_of_keras,
    adam_without_correction,
    adam_with_decoupled_decay,
    adamw_of_another_decay,
    weight_decay_missing,
    decay_beside_the_momentum,
    momentum_missing,
    momentum_of_another_value,
    dampening_missing,
    nesterov_added,
    nesterov_missing,
    learning_rate_of_another_value,
    learning_rate_of_keras,
)
