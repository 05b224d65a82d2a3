"""The rungs of the first few training steps, `forward` to `evaluation`: within a multiple of the measured rounding."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from birdplane_keras.parity.core.check import Check, Place, failed
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.compare import compare_tensors
from birdplane_keras.parity.core.noise import Noise, Rounded, measure_noise, measure_rounded, widen_noise
from birdplane_keras.parity.core.records import Probe, Reading, Rows, Tensors
from birdplane_keras.parity.core.tolerances import ALONG, AS_A_WHOLE, AT_A_KINK, ROUNDING

DRAWS = 3  # copies of the reference that round otherwise, beside the one in float64
MOST_DRAWS = 24  # as many are made before a jump is believed: not each shows where a ReLU may go either way
MOST_OF_LARGE = 8  # of a large model: with so many ReLUs each shows some
SQUARES = (
    ": exp_avg_sq",
    ": square_avg",
    ": sum",
)  # optimizers' means and sums of squared gradients, as they are named
OWN = 16.0  # times the reference's noise, at most, is the port's own believed to be: a faulty port may have any


def forward(climb: Climb) -> Check:
    """`forward`: the outputs on the first batch, in training mode."""
    measure(climb)
    check = compare_step(climb, "forward")
    if check.passed and not climb.bench.shows_layers:
        return check
    climb.layers = climb.bench.layers(climb.bench.plan(1)[0])
    if check.passed or climb.layers.first is None:
        return check
    place = replace(check.place or Place(), layer=climb.layers.first)
    return replace(check, place=place, reason=f"{check.reason}; the first that differs: {climb.layers.text}")


def loss(climb: Climb) -> Check:
    """`loss`: that of the first batch."""
    return compare_step(climb, "loss")


def gradients(climb: Climb) -> Check:
    """`gradients`: those of the first step, before any clipping."""
    return compare_with_more_draws(climb, "gradients")


def first_update(climb: Climb) -> Check:
    """`first_update`: every weight after the first step.

    Where a gradient is zero but for rounding, an optimizer may move a weight either way. How far, the reference shows
    as it makes its update with the port's gradients, which were seen to be its own up to rounding.
    """
    check = compare_step(climb, "first_update")
    if check.code != "beyond":
        return check
    gradients = climb.first_steps()[0].tensors["gradients"]
    draw = climb.bench.read_reference(climb.plan, gradients=gradients)
    check = compare_with_draw(climb, "first_update", climb.noise, draw)
    if check.passed:
        climb.notes.append(
            "first_update: the reference moves as far where its update is made with the port's gradients"
        )
    return check


def optimizer_state(climb: Climb) -> Check:
    """`optimizer_state`: every weight, and what both optimizers keep, after the last of the first steps."""
    return compare_with_more_draws(climb, "optimizer_state")


def evaluation(climb: Climb) -> Check:
    """`evaluation`: moving statistics, and outputs in evaluation mode, at the start and after the first steps."""
    return compare_with_more_draws(climb, "evaluation")


def measure(climb: Climb) -> None:
    """Makes the first steps of both sides, and measures how far rounding moves them."""
    bench, plan = climb.bench, climb.plan
    reference = Probe.of(bench.read_reference(plan))
    noise = measure_noise(reference, draws_of_noise(climb, plan))
    port = Probe.of(bench.read_port(plan))
    noise = widen_noise(noise, measure_noise(port, bench.read_port(plan, reorder=0)), at_most=OWN)
    halves = bench.read_halves(plan)
    if halves is not None:
        climb.rounded = measure_rounded(reference, halves[1], own=halves[0])
    climb.port, climb.reference, climb.noise = port, reference, of_squares(noise)
    climb.draws, climb.furthest = DRAWS, noise


def of_squares(noise: Noise) -> Noise:
    """Returns the noise where a mean of squared gradients has no less than the square of what a gradient may be off by.

    A gradient that is zero but for rounding has a square that no few draws show.
    """
    least = {
        name: ROUNDING.factor * noise["gradients"].get(name.rpartition(": ")[0], 0.0) ** 2
        for name in noise["optimizer_state"]
        if name.endswith(SQUARES)
    }
    return widen_noise(noise, {rung: least if rung == "optimizer_state" else {} for rung in noise})


def draws_of_noise(climb: Climb, plan: Rows) -> Iterator[Reading]:
    """Yields what the reference's first steps compute in float64, if it can do that, and where all rounds otherwise."""
    try:
        yield from climb.bench.read_reference(plan, double=True)
    except Exception:  # a module with numbers of a type of its own
        climb.notes.append("the reference cannot run in float64: its noise was measured by nudges alone")
    for nudge in range(DRAWS):
        yield from climb.bench.read_reference(plan, nudge=nudge)


def compare_step(climb: Climb, rung: str) -> Check:
    """Compares one rung of the first steps."""
    check = compare_probes(rung, *climb.first_steps(), climb.noise)
    return compare_rounded(check, climb.first_steps()[0].tensors[rung], climb.rounded.get(rung, {}))


def compare_probes(rung: str, port: Probe, reference: Probe, noise: Noise) -> Check:
    """Compares one rung of the first steps of two sides."""
    ours, theirs = port.beside(reference, rung), reference.beside(port, rung)
    return compare_within(rung, ours, theirs, {name: noise[rung][name] for name in theirs})


def compare_rounded(check: Check, keras: Tensors, expected: Mapping[str, Rounded]) -> Check:
    """Compares outputs in a half type over all their numbers: of many roundings less remains than of one."""
    for name, rounded in expected.items() if check.passed else ():
        apart, along = rounded.apart(keras[name])
        if apart <= AS_A_WHOLE.factor and along <= ALONG.factor:
            continue
        allowed = f"{apart:.3g} and {along:.3g}, {AS_A_WHOLE.factor:g} and {ALONG.factor:g} allowed"
        reason = f"{name} differs by more than rounding over all its numbers ({allowed}): {AS_A_WHOLE}; {ALONG}"
        numbers = {n: getattr(check, n) for n in ("max_abs_difference", "bits_differing", "tolerance", "tensors")}
        return replace(failed(check.name, "beyond", reason, Place(tensor=name)), **numbers)
    return check


def compare_within(rung: str, keras: Tensors, torch: Tensors, noise: Mapping[str, float]) -> Check:
    """Compares tensors that may differ by the measured rounding."""
    allowed = {name: ROUNDING.factor * value for name, value in noise.items()}
    return compare_tensors(rung, keras, torch, tolerances=allowed, noise=noise, reason=str(ROUNDING))


def compare_with_more_draws(climb: Climb, rung: str) -> Check:
    """Compares a rung above the loss, at which rounding may have jumped: gradients do at a kink, outputs do not."""
    check, before, usual = compare_step(climb, rung), climb.draws, climb.noise
    most = MOST_OF_LARGE if climb.bench.large else MOST_DRAWS
    while check.code == "beyond" and climb.draws < most:
        draw = climb.bench.read_reference(climb.plan, nudge=climb.draws)
        climb.draws += 1
        check = compare_with_draw(climb, rung, usual, draw)
    if check.passed and climb.draws > before:
        told = f"{climb.draws - before} more draws were made, and showed rounding to jump as far"
        climb.notes.append(f"{rung}: {told}")
    return check


def compare_with_draw(climb: Climb, rung: str, usual: Noise, draw: Iterator[Reading]) -> Check:
    """Compares a rung with one more draw: as much of it is made as shows that rounding does not jump as far there."""
    for shown, readings in groupby(draw, key=attrgetter("rung")):
        climb.furthest = measure_noise(climb.first_steps()[1], readings, climb.furthest)
        climb.noise = widen_noise(usual, climb.furthest, share=AT_A_KINK / ROUNDING.factor)
        if shown == rung != "evaluation":  # that is read before, between and after the steps
            check = compare_step(climb, rung)
            if check.code == "beyond":
                return check
    return compare_step(climb, rung)


def floor_of(noise: Noise) -> dict[str, float]:
    """Returns tensor -> the noise of its first steps, below which no drift of a training run is taken to be."""
    return {**noise.get("optimizer_state", {}), **noise.get("evaluation", {})}
