"""The class of `torch_equivalents` with which the port's optimizer is the reference's, group for group."""

from collections.abc import Mapping
from typing import Any

import keras

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import Advice
from birdplane_keras.parity.causes.tensor_settings import DECAY, kinds, settings_of_port, settings_of_reference
from birdplane_keras.parity.optimizers.optimizer import is_scheduled, same_number


def pytorchs_optimizer(case: Case) -> Advice | None:
    """Returns the advice to take the optimizer of `torch_equivalents` that is the reference's, group for group.

    `None` where the judge knows of none. A schedule of the port's own stays; clipping is the reference's where the port
    has it.
    """
    _, kind = kinds(case)
    if kind is None or kind.equivalent is None:
        return None
    made = kind.equivalent
    arguments = equivalent_arguments(case, made)
    schedule = keras.optimizers.schedules.LearningRateSchedule
    told = ", ".join(f"{n}={'...' if isinstance(value, schedule) else repr(value)}" for n, value in arguments.items())
    text = f"birdplane_keras.torch_equivalents.{made.__name__}({told})"
    return Advice(text=text, repair=lambda host: host.trained_by(lambda _: made(**arguments)))


def equivalent_arguments(case: Case, made: type) -> dict[str, Any]:
    """Returns the arguments of a class of `torch_equivalents` with which it is the reference's optimizer."""
    optimizer: Any = case.pair.keras_model.optimizer
    by_tensor = settings_of_reference(case)
    most = usual_settings(case, by_tensor)
    rate = optimizer._learning_rate if is_scheduled(optimizer) else most["learning_rate"]
    arguments: dict[str, Any] = {"learning_rate": rate}
    defaults = made().get_config()
    for name, value in most.items():
        known = defaults.get(name)
        if name != "learning_rate" and name in defaults and not same_number(value, known or 0.0):
            arguments[name] = value
    if not most[DECAY] and defaults.get(DECAY):
        arguments[DECAY] = 0.0
    groups = groups_of(case, by_tensor, most)
    if groups:
        arguments["groups"] = groups
    for name in ("global_clipnorm", "clipnorm", "clipvalue", "gradient_accumulation_steps"):
        if getattr(optimizer, name, None):
            arguments[name] = getattr(optimizer, name)
    return arguments


def usual_settings(case: Case, by_tensor: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the settings that most weights have, of equally many those whose rate is the port's."""
    rates = {name: settings.get("learning_rate") for name, settings in settings_of_port(case).items()}

    def weight_of(name: str) -> tuple[int, bool]:
        settings = by_tensor[name]
        ours = rates.get(name)
        alike = sum(settings == other for other in by_tensor.values())
        return alike, ours is not None and same_number(ours, settings["learning_rate"])

    return by_tensor[max(by_tensor, key=weight_of)]


def groups_of(
    case: Case, by_tensor: Mapping[str, Mapping[str, Any]], most: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Returns part of a variable's path -> settings, for the weights whose group is another than that of most."""
    groups: dict[str, dict[str, float]] = {}
    for name, settings in by_tensor.items():
        own: dict[str, float] = {}
        if not same_number(settings["learning_rate"], most["learning_rate"]) and most["learning_rate"]:
            own["rate_factor"] = float(f"{settings['learning_rate'] / most['learning_rate']:.6g}")
        if not same_number(settings[DECAY], most[DECAY]):
            own[DECAY] = settings[DECAY]
        if own:
            groups[case.bench.matching.variables[name].path] = own
    return shortened(case, groups)


def shortened(case: Case, groups: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns the groups by a layer's path where all its weights are of one, else by the weight's own path."""
    paths = [weight.path for weight in case.pair.keras_model.trainable_weights]
    short: dict[str, dict[str, float]] = {}
    for path, settings in groups.items():
        layer = path.rpartition("/")[0] + "/"
        same = all(groups.get(other) == settings for other in paths if layer in other)
        short[layer if same and layer != "/" else path] = settings
    return short
