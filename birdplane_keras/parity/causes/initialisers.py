"""How a reference draws its first weights: by which rule of its layers, never by a bound that was estimated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from birdplane_keras.parity.core.distributions import compare_distributions
from birdplane_keras.parity.core.records import Tensors

ELSE = "draw as the reference's own code does: no rule that the judge knows draws so"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An initialiser.

    Args:
        words: As Keras has it.
        draw: From a random generator and a shape to a draw, float64.
    """

    words: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def how_to_draw(names: Sequence[str], torch: Tensors) -> tuple[str, bool]:
    """Returns which initialisers draw as the reference does, and whether their draws pass the rung.

    Args:
        names: Of the tensors.
        torch: All of the reference's tensors as built, in PyTorch's layout.
    """
    random = np.random.default_rng(0)
    drawn: dict[str, np.ndarray] = {}
    by_rule: dict[str, list[str]] = {}
    for name in names:
        found = next(filter(None, (fitting(name, rule, torch, random) for rule in rules_for(name, torch))), None)
        words = ELSE if found is None else found[0]
        by_rule.setdefault(words, []).append(name)
        if found is not None:
            drawn[name] = found[1]
    passed = len(drawn) == len(names) and compare_distributions(drawn, {name: torch[name] for name in names}).passed
    if set(by_rule) == {DEFAULT}:
        return f"draw kernel and bias from PyTorch's default, uniform within ±1/sqrt(fan_in): {DEFAULT_WORDS}", passed
    parts = [
        f"{', '.join(those)} by {words}" if words != ELSE else f"{', '.join(those)}: {words}"
        for words, those in by_rule.items()
    ]
    return f"draw as the reference does, with keras.initializers: {'; '.join(parts)}", passed


def fitting(name: str, rule: Rule, torch: Tensors, random: np.random.Generator) -> tuple[str, np.ndarray] | None:
    """Returns a rule's words and a draw, where a tensor may have been drawn so; else `None`."""
    value = torch[name]
    draw = rule.draw(random, value.shape).astype(np.float32)
    return (rule.words, draw) if compare_distributions({name: draw}, {name: value}).passed else None


DEFAULT = "RandomUniform(-b, b) with b = fan_in ** -0.5"
DEFAULT_WORDS = (
    "kernel_initializer and bias_initializer keras.initializers.RandomUniform(-b, b) with b = fan_in ** -0.5"
)


def rules_for(name: str, torch: Tensors) -> list[Rule]:
    """Returns the rules by which a tensor may have been drawn, the likeliest first."""
    value = torch[name]
    if not value.std():
        constant = float(value.flat[0])
        return [Rule(words=f"Constant({constant:g})", draw=lambda random, shape: np.full(shape, constant))]
    rules = []
    weight = torch.get(f"{name.rpartition('.')[0]}.weight".lstrip("."), value)
    if weight.ndim > 1:
        inputs = int(np.prod(weight.shape[1:]))
        outputs = int(weight.shape[0] * np.prod(weight.shape[2:]))
        rules += [uniform(DEFAULT, inputs**-0.5)]
        rules += [
            uniform("GlorotUniform()", (6 / (inputs + outputs)) ** 0.5),
            uniform("HeUniform()", (6 / inputs) ** 0.5),
            normal("GlorotNormal()", (2 / (inputs + outputs)) ** 0.5, cut=True),
            normal("HeNormal()", (2 / inputs) ** 0.5, cut=True),
            normal("RandomNormal(0, (2 / fan_in) ** 0.5)", (2 / inputs) ** 0.5),
            normal("RandomNormal(0, (2 / fan_out) ** 0.5)", (2 / outputs) ** 0.5),
            normal("LecunNormal()", inputs**-0.5, cut=True),
        ]
    units = units_of(name, torch)
    if units is not None:
        words = "RandomUniform(-b, b) with b = units ** -0.5"
        rules.insert(0, uniform(words, units**-0.5))
        rules.insert(1, uniform(f"the sum of two draws of {words}", units**-0.5, draws=2))
    for deviation in (0.02, 0.01, 1.0):
        rules += [
            normal(f"RandomNormal(0, {deviation:g})", deviation),
            normal(f"TruncatedNormal(0, {deviation:g})", deviation, cut=True, widened=False),
        ]
    return rules


def units_of(name: str, torch: Tensors) -> int | None:
    """Returns the units of the recurrent layer that a tensor belongs to; `None` where it belongs to none."""
    layer, _, own = name.partition(" + ")[0].rpartition(".")
    if not own.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh")):
        return None
    recurrent = [
        value.shape[1]
        for other, value in torch.items()
        if other.partition(" + ")[0].startswith(f"{layer}.weight_hh".lstrip(".")) and value.ndim == 2
    ]
    return recurrent[0] if recurrent else None


def uniform(words: str, bound: float, draws: int = 1) -> Rule:
    """Returns the sum of some draws of a uniform distribution within ±`bound`."""
    return Rule(words=words, draw=lambda random, shape: random.uniform(-bound, bound, (draws, *shape)).sum(axis=0))


CUT = 2.0  # deviations at which a truncated normal distribution ends
SHRINKS = 0.87962566103423978  # the deviation of a standard normal distribution that is cut there


def normal(words: str, deviation: float, *, cut: bool = False, widened: bool = True) -> Rule:
    """Returns a normal distribution.

    Args:
        words: As Keras has it.
        deviation: Its standard deviation.
        cut: Draw again what is more than two deviations away.
        widened: Then make it wider before, so that the deviation is kept, as Keras' variance scaling does.
    """
    scale = deviation / SHRINKS if cut and widened else deviation

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = random.standard_normal(shape)
        while cut and (outside := np.abs(values) > CUT).any():
            values[outside] = random.standard_normal(int(outside.sum()))
        return values * scale

    return Rule(words=words, draw=draw)
