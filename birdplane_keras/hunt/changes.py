"""Changes of state that happen between two steps, each as somebody would make it."""

from collections.abc import Callable

import keras
import numpy as np
import torch

from birdplane_keras.hunt.trainings import Built

CHANGES: dict[str, Callable[[Built], object]] = {}


def change(make: Callable[[Built], object]) -> Callable[[Built], object]:
    """Registers a change under its function's name, in words."""
    CHANGES[make.__name__.replace("_", " ")] = make
    return make


def first_kernel(built: Built) -> keras.Variable:
    """Returns the first trainable weight."""
    return built.model.trainable_weights[0]


@change
def nothing(built: Built) -> None:
    pass


@change
def the_place(built: Built) -> None:
    built.change_place()


@change
def the_place_twice(built: Built) -> None:
    built.change_place()
    built.change_place()


@change
def a_layer_is_frozen(built: Built) -> None:
    next(layer for layer in built.model.layers if layer.trainable_weights).trainable = False


@change
def a_weight_is_frozen_the_torch_way(built: Built) -> None:
    first_kernel(built).value.requires_grad_(False)


@change
def a_weight_is_assigned(built: Built) -> None:
    first_kernel(built).assign(first_kernel(built) * 0.5)


@change
def the_weights_are_set(built: Built) -> None:
    built.model.set_weights([weight * 0.9 for weight in built.model.get_weights()])


@change
def a_hook_on_a_gradient(built: Built) -> None:
    first_kernel(built).value.register_hook(lambda gradient: gradient * 0.5)


@change
def a_hook_on_a_layer(built: Built) -> None:
    built.model.layers[-1].register_forward_hook(lambda module, given, made: made * 0.5)


@change
def a_hook_on_all_modules(built: Built) -> None:
    torch.nn.modules.module.register_module_forward_hook(lambda module, given, made: None)


@change
def the_rate(built: Built) -> None:
    if not isinstance(built.model.optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        built.model.optimizer.learning_rate = 0.005


@change
def a_schedule_instead_of_the_rate(built: Built) -> None:
    built.model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)


@change
def the_clipping(built: Built) -> None:
    if built.model.optimizer.clipnorm is None and built.model.optimizer.clipvalue is None:
        built.model.optimizer.clipvalue = 0.01


@change
def the_weight_decay(built: Built) -> None:
    built.model.optimizer.weight_decay = 0.1


@change
def the_loss_of_the_model(built: Built) -> None:
    model = built.model
    model.compute_loss = lambda x=None, y=None, y_pred=None, sample_weight=None, training=True: keras.ops.mean(
        keras.ops.abs(y_pred)
    )


@change
def the_metrics_of_the_model(built: Built) -> None:
    model = built.model
    model.compute_metrics = lambda x, y, y_pred, sample_weight=None: {"loss": torch.tensor(7.0)}


@change
def the_step_of_the_model(built: Built) -> None:
    model, stock = built.model, built.model.train_step

    def train_step(data):
        logs = stock(data)
        return logs | {"loss": logs["loss"] * 2}

    model.train_step = train_step


@change
def the_call_of_a_layer(built: Built) -> None:
    layer = built.model.layers[-1]
    call = layer.call
    layer.call = lambda inputs, **keywords: call(inputs, **keywords) * 0.5


@change
def an_activation(built: Built) -> None:
    for layer in built.model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.activation = keras.activations.relu
            return


@change
def the_rate_of_dropout(built: Built) -> None:
    for layer in built.model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.6


@change
def a_regularizer(built: Built) -> None:
    for layer in built.model.layers:
        if getattr(layer, "kernel_regularizer", None) is not None:
            layer.kernel_regularizer.l2 = 0.5


@change
def the_momentum_of_statistics(built: Built) -> None:
    for layer in built.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5


@change
def the_seed(built: Built) -> None:
    keras.utils.set_random_seed(11)


@change
def the_session(built: Built) -> None:
    keras.utils.clear_session(free_memory=False)


@change
def the_epsilon(built: Built) -> None:
    keras.config.set_epsilon(1e-3)


@change
def the_default_type_of_pytorch(built: Built) -> None:
    torch.set_default_dtype(torch.float64)


@change
def deterministic_algorithms(built: Built) -> None:
    torch.use_deterministic_algorithms(True)


@change
def the_state_of_numpy(built: Built) -> None:
    np.random.seed(3)


@change
def compiled_again(built: Built) -> None:
    built.model.compile(optimizer=keras.optimizers.SGD(0.01), loss=built.model.loss, metrics=["mae"])


@change
def the_weights_are_read(built: Built) -> None:
    built.model.get_weights()


def restore_settings() -> None:
    """Brings back what a change may have set for the whole process."""
    keras.config.set_epsilon(1e-7)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    hooks = torch.nn.modules.module._global_forward_hooks
    hooks.clear()
