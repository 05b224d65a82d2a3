"""From a failed rung to its causes: what can be read off is read off, what cannot is searched for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from birdplane_keras.errors import BirdplaneError, first_line
from birdplane_keras.parity.causes import registry
from birdplane_keras.parity.causes.advice import NOTHING, Advised, breaks_later, gets_further, passes_all, try_advice
from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.course import explain_course, read_rates
from birdplane_keras.parity.causes.equivalents import pytorchs_optimizer
from birdplane_keras.parity.causes.hypothesis import Hypothesis
from birdplane_keras.parity.causes.matching import read_ambiguity
from birdplane_keras.parity.causes.parting import where_programs_part
from birdplane_keras.parity.causes.reading import not_a_number
from birdplane_keras.parity.causes.search import Explanation, rungs_from, search
from birdplane_keras.parity.core.check import Check, first_failure
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.finding import UNKNOWN, Finding
from birdplane_keras.parity.core.records import STEP_RUNGS, Probe
from birdplane_keras.parity.sides.bench import PairBench


def diagnose(bench: PairBench, checks: Sequence[Check], climb: Climb) -> list[Finding]:
    """Returns what explains the first rung that failed; one finding that says so where nothing does."""
    failed = first_failure(checks)
    if failed is None:
        return []
    case = Case(bench=bench, failed=failed, climb=climb, budget=Budget(bench.pair.search_seconds))
    found = merge(explain(case)) or in_doubt(case)
    found[0] = replace(found[0], parting=show_programs(case))
    climb.notes += dict.fromkeys(case.untried)
    return found


def show_programs(case: Case) -> Mapping[str, Sequence[str]] | None:
    """Returns the operations at which both programs part, where that is seen."""
    try:
        return where_programs_part(case)
    except Exception as error:  # code that runs as it is, and not while it is watched
        case.untried.append(f"where the programs part could not be seen: {first_line(error)}")
        return None


def in_doubt(case: Case) -> list[Finding]:
    """Returns what is told where no change of the reference explains the rung.

    It is another matching, or what mends the port, or at least a rate that differs.
    """
    ambiguity = read_ambiguity(case)
    if ambiguity is not None and any(fix.tried for fix in ambiguity.fixes):
        return [ambiguity]
    mended = explain_layer(case) or explain_update(case)
    if mended is not None:
        return [mended]
    rates = read_rates(case) if case.rung in ("first_update", "optimizer_state") else []
    return rates or [ambiguity or unknown(case)]


def unknown(case: Case) -> Finding:
    """Returns the finding that nothing explains the difference."""
    where = "" if case.failed.place is None else str(case.failed.place)
    return Finding(
        cause=UNKNOWN,
        rung=case.rung,
        text="no known mistake explains it" + (f"; the first thing that differs: {where}" if where else ""),
        evidence=case.failed.reason,
        fixes=(NOTHING,),
    )


def merge(found: Iterable[Finding]) -> list[Finding]:
    """Returns one finding for each cause: its first text, all evidence, and every fix."""
    causes: dict[str, Finding] = {}
    for finding in found:
        first = causes.get(finding.cause)
        if first is None:
            causes[finding.cause] = finding
            continue
        evidence = first.evidence if finding.text in first.evidence else f"{first.evidence}; also: {finding.text}"
        fixes = list({fix.text: fix for fix in (*first.fixes, *finding.fixes)}.values())
        causes[finding.cause] = replace(first, evidence=evidence, fixes=tuple(fixes))
    return list(causes.values())


def explain(case: Case) -> list[Finding]:
    """Returns the findings for the rung that failed."""
    readers = [source.read for source in registry.READERS if case.rung in source.rungs]
    read = [finding for reader in readers for finding in asked(reader, case)]
    if read:
        return read
    if case.rung == "trajectory":
        return explain_course(case, suppose(case))
    if case.rung not in STEP_RUNGS:
        return []
    for name, value in case.port.tensors[case.rung].items():
        if not np.isfinite(value).all():
            return [not_a_number(case.rung, name, value)]
    return try_advice(case, explain_step(case), lambda: gets_further(case))


def asked(source: Callable[[Case], Iterable[Any]], case: Case) -> list[Any]:
    """Returns what a source yields: one that fails on these models is told of, and takes no verdict with it."""
    try:
        return list(source(case))
    except BirdplaneError:
        raise
    except Exception as error:
        case.untried.append(f"{source.__name__} could not be asked for causes: {first_line(error)}")
        return []


def suppose(case: Case) -> list[Hypothesis]:
    """Returns the hypotheses for the rung, the likeliest first: those about the layer that differs before others."""
    sources = [source.suppose for source in registry.HYPOTHESES if case.rung in source.rungs]
    found = [hypothesis for source in sources for hypothesis in asked(source, case)]
    place = case.failed.place
    layer = None if place is None else place.layer
    return sorted(found, key=lambda hypothesis: layer not in hypothesis.layers) if layer else found


def explain_layer(case: Case) -> Finding | None:
    """Returns the mistake that the port parts by first, where several keep any one from explaining the outputs.

    It is the first one that, once it is mended in the port, lets the first layer that differs come later.
    """
    made: set[tuple[str, ...]] = set()
    found = case.supposed(suppose) if case.rung == "forward" else []
    # What was read from layers first, as it is; of the others those of one place first.
    for hypothesis in [*(h for h in found if h.layers), *(h for h in reversed(found) if not h.layers)]:
        change = tuple(advice.text for advice in hypothesis.advice)
        if case.budget.spent:
            break
        if hypothesis.parts or change in made or any(advice.mend is None for advice in hypothesis.advice):
            continue
        made.add(change)
        further = "with the advised change the port agrees with the reference up to a later layer, so more differs"
        text = hypothesis.text if hypothesis.layers else f"the port parts from the reference by its {hypothesis.cause}"
        advised = Advised(cause=hypothesis.cause, rung=case.rung, text=text, evidence=further, advice=hypothesis.advice)
        for finding in try_advice(case, [advised], lambda: breaks_later(case)):
            if any(fix.tried for fix in finding.fixes):
                return finding
    return None


def explain_update(case: Case) -> Finding | None:
    """Returns that the two optimizers differ, if the port makes every step with the reference's in place of its own."""
    if case.rung not in registry.UPDATES or case.rung not in STEP_RUNGS or case.budget.spent:
        return None
    made = pytorchs_optimizer(case)
    if made is None:
        return None
    ours, theirs = case.pair.keras_model.optimizer, case.pair.torch_optimizer
    advised = Advised(
        cause="optimizer",
        rung=case.rung,
        text=f"the port's optimizer, {type(ours).__name__}, does not make the updates of the reference's, "
        f"{type(theirs).__name__}",
        evidence="with the reference's optimizer in its place, the port passes every rung of the first steps",
        advice=[made],
    )
    (finding,) = try_advice(case, [advised], lambda: passes_all(case))
    return finding if any(fix.tried for fix in finding.fixes) else None


def explain_step(case: Case) -> list[Advised]:
    """Returns the known mistakes that explain a failed rung of the first steps."""
    unfit: dict[str, str] = {}  # cause -> the first mistake of it that this reference cannot make

    def try_it(hypothesis: Hypothesis, *, the_rung_alone: bool = False, nudge: int | None = None) -> Probe | None:
        until = case.rung if the_rung_alone else None
        made = case.bench.probe_changed(case.plan, hypothesis.change, until, nudge=nudge)
        if made is None:
            unfit.setdefault(hypothesis.cause, hypothesis.text)
        return made

    found = search(case.rung, case.supposed(suppose), case.port, case.reference, case.climb.noise, try_it, case.budget)
    untried = found.describe_untried(case.pair.search_seconds)
    if untried and (found.best is None or found.best.explained < len(rungs_from(case.rung))):
        case.untried.append(untried)
    if found.best is None and unfit:
        case.untried.append(f"this reference cannot make these mistakes: {', '.join(unfit)}")
    return [] if found.best is None else [tell(case.rung, part, found.best) for part in found.best.hypothesis.members]


def tell(rung: str, part: Hypothesis, best: Explanation) -> Advised:
    """Returns the cause of a hypothesis that explains some rungs, by itself or as part of a whole."""
    others = len(best.hypothesis.members) - 1
    change = f"this and {others} more of these changes" if others else "this change"
    rungs = rungs_from(rung)
    near = f"at most {best.near:.2g} times what rounding is allowed" if best.near else "to the last bit"
    told = f"the reference with {change} computes what the port does at {', '.join(rungs[: best.explained])} ({near})"
    if best.explained < len(rungs):
        told += f"; {rungs[best.explained]} is not explained by it, so something else differs, too"
    evidence = f"{part.evidence}; {told}" if part.evidence else told
    return Advised(cause=part.cause, rung=rung, text=part.text, evidence=evidence, advice=part.advice)
