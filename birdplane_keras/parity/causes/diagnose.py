"""From a failed rung to its causes: what can be read off is read off, what cannot is searched for."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from birdplane_keras.parity.causes import registry
from birdplane_keras.parity.causes.advice import NOTHING, Advised, breaks_later, gets_further, passes_all, try_advice
from birdplane_keras.parity.causes.budget import Budget
from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.course import explain_course, read_rates, with_rates
from birdplane_keras.parity.causes.equivalents import pytorchs_optimizer
from birdplane_keras.parity.causes.masks import read_masks
from birdplane_keras.parity.causes.matching import read_ambiguity
from birdplane_keras.parity.causes.reading import not_a_number
from birdplane_keras.parity.causes.supposing import asked, suppose
from birdplane_keras.parity.causes.walk import Found, Told, Walk, record_port, see_place, walk
from birdplane_keras.parity.core.check import Check, first_failure
from birdplane_keras.parity.core.climb import Climb
from birdplane_keras.parity.core.finding import UNKNOWN, Finding
from birdplane_keras.parity.core.records import STEP_RUNGS, UPDATES
from birdplane_keras.parity.sides.bench import PairBench

SECONDS, SECONDS_FOR_LARGE = 60.0, 120.0  # for the search, where the pair says nothing
OPERATIONS = ("different_operation", "added_operation", "missing_operation")  # what no known mistake names
Parting = Mapping[str, Sequence[str]]


def diagnose(bench: PairBench, checks: Sequence[Check], climb: Climb) -> list[Finding]:
    """Returns what explains the first rung that failed; one finding that says so where nothing does."""
    failed = first_failure(checks)
    if failed is None:
        return []
    case = Case(bench=bench, failed=failed, climb=climb, budget=budget_of(bench))
    found = with_rates(case, merge(explain(case)) or in_doubt(case))
    climb.notes += dict.fromkeys(case.untried)
    return found


def budget_of(bench: PairBench) -> Budget:
    """Returns the time that the search for causes has: as the pair says, else the usual."""
    stated = bench.pair.search_seconds
    return Budget((SECONDS_FOR_LARGE if bench.large else SECONDS) if stated is None else stated)


def in_doubt(case: Case) -> list[Finding]:
    """Returns what is reported where no change of the reference explains the rung.

    It is another matching, or what repairs the port, or at least a rate that differs.
    """
    ambiguity = read_ambiguity(case)
    if ambiguity is not None and any(fix.tried for fix in ambiguity.fixes):
        return [ambiguity]
    repaired = explain_layer(case) or explain_update(case)
    if repaired is not None:
        return [repaired]
    rates = read_rates(case) if case.rung in ("first_update", "optimizer_state") else []
    if ambiguity is not None:
        case.untried.append(ambiguity.text)
    return rates or [unknown(case)]


def unknown(case: Case) -> Finding:
    """Returns the finding that nothing explains the difference."""
    where = "" if case.failed.place is None else str(case.failed.place)
    return Finding(
        cause=UNKNOWN,
        rung=case.rung,
        text="no known mistake explains it" + (f"; the first thing that differs: {where}" if where else ""),
        evidence="none of the known mistakes that were tried makes the reference compute what the port does",
        fixes=(NOTHING,),
    )


def merge(found: Iterable[Finding]) -> list[Finding]:
    """Returns one finding for each known cause: its first text, all evidence, every fix, and where programs part."""
    causes: dict[tuple[str, str], Finding] = {}
    for finding in found:
        key = (finding.cause, finding.text if finding.cause in OPERATIONS else "")
        first = causes.get(key)
        if first is None:
            causes[key] = finding
            continue
        told = finding.text in first.evidence or finding.text == first.text
        evidence = first.evidence if told else f"{first.evidence}; also: {finding.text}"
        fixes = list({fix.text: fix for fix in (*first.fixes, *finding.fixes)}.values())
        parting = both_partings(first.parting, finding.parting)
        graphs = [*first.graphs, *(each for each in finding.graphs if each not in first.graphs)]
        causes[key] = replace(first, evidence=evidence, fixes=tuple(fixes), parting=parting, graphs=graphs)
    return list(causes.values())


def both_partings(first: Parting | None, other: Parting | None) -> Parting | None:
    """Returns what is said of two places, each line once."""
    if first is None or other is None:
        return first or other
    return {side: list(dict.fromkeys([*first[side], *other[side]])) for side in first}


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
        if not np.isfinite(value).all():  # no known mistake makes the reference's numbers so
            return with_place(case, [not_a_number(case.rung, name, value)])
    return with_place(case, read_masks(case)) or explain_step(case)


def with_place(case: Case, found: Sequence[Finding]) -> list[Finding]:
    """Returns findings of what is explained, the first with the place at which the programs part, if that is seen."""
    place = see_place(case, record_port(case), explain=False) if found else None
    if place is None:
        return list(found)
    return [replace(found[0], parting=place.told, graphs=[place.graph]), *found[1:]]


def explain_layer(case: Case) -> Finding | None:
    """Returns the mistake that the port parts by first, where several keep any one from explaining the outputs.

    It is the first one that, once it is repaired in the port, lets the first layer that differs come later.
    """
    made: set[tuple[str, ...]] = set()
    found = case.supposed(suppose) if case.rung == "forward" else []
    # What was read from layers first, as it is; of the others those of one place first.
    for hypothesis in [*(h for h in found if h.layers), *(h for h in reversed(found) if not h.layers)]:
        change = tuple(advice.text for advice in hypothesis.advice)
        if case.budget.spent:
            break
        if hypothesis.parts or change in made or any(advice.repair is None for advice in hypothesis.advice):
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
    if case.rung not in UPDATES or case.rung not in STEP_RUNGS or case.budget.spent or not case.pair.trains:
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
    return replace(finding, proved=True) if any(fix.tried for fix in finding.fixes) else None


def explain_step(case: Case) -> list[Finding]:
    """Returns every place at which the first steps part: known mistakes, or the operations themselves."""
    walked = walk(case)
    if case.rung == "forward" and walked.found and not walked.found[0].names:
        place = walked.found[0].place
        ambiguity = read_ambiguity(case, None if place is None else place.weights)
        if ambiguity is not None and any(fix.tried for fix in ambiguity.fixes):
            return [ambiguity]
    kinds: dict[tuple, list[Found]] = {}
    for found in walked.found:  # the same mistake in many places is reported once
        unnamed = found.place if not found.names and found.change is not None else None
        kinds.setdefault((id(found),) if unnamed is None else unnamed.kind, []).append(found)
    return [finding for alike in kinds.values() for finding in tell_places(alike, walked)]


def tell_places(alike: Sequence[Found], walked: Walk) -> list[Finding]:
    """Returns what is said of places that part alike: what is said of the first, and where the others are."""
    first, *others = tell_place(alike[0], walked)
    told = [each for found in alike[1:] for each in found.told]
    parting = functools.reduce(both_partings, [each.sides for each in told], first.parting)
    return [replace(first, parting=parting, graphs=[*first.graphs, *(each.graph for each in told)]), *others]


def tell_place(found: Found, walked: Walk) -> list[Finding]:
    """Returns what is said of a place at which the sides part."""
    parting = functools.reduce(both_partings, [each.sides for each in found.told], None)
    graphs = [each.graph for each in found.told]
    rest, rung = describe_proof(walked), found.case.rung
    if found.names:
        advised = [
            Advised(
                cause=part.cause,
                rung=rung,
                text=part.text,
                evidence="; ".join(filter(None, (part.evidence, rest))),
                advice=part.advice,
            )
            for part in found.names
        ]
        told = try_advice(found.case, advised, lambda: gets_further(found.case))
        return [replace(finding, parting=parting, graphs=graphs, proved=walked.proved) for finding in told]
    if found.change is None or parting is None:
        proved = found.change is not None and walked.proved
        doubt = in_doubt(found.case)
        return [replace(each, parting=parting, graphs=graphs, proved=each.proved or proved) for each in doubt]
    known = [finding for finding in named_otherwise(found.case) if finding.cause != UNKNOWN]
    if known:
        known = [replace(each, evidence=f"{each.evidence}; {rest}", proved=walked.proved) for each in known]
        return [replace(each, parting=parting, graphs=graphs) for each in known]
    return [describe_place(each, rung, rest, proved=walked.proved) for each in found.told]


def describe_place(told: Told, rung: str, rest: str, *, proved: bool) -> Finding:
    """Returns what is said of operations that no known mistake names."""
    cause, text = describe_parting(told.sides)
    evidence = "; ".join(filter(None, (told.more, rest)))
    return Finding(
        cause=cause,
        rung=rung,
        text=text,
        evidence=evidence,
        fixes=(NOTHING,),
        parting=told.sides,
        graphs=[told.graph],
        proved=proved,
    )


def named_otherwise(case: Case) -> list[Finding]:
    """Returns what is known of a place that no known mistake of the reference explains; unknown, or nothing."""
    if case.rung in UPDATES:
        return in_doubt(case)
    if case.changes:  # what else differs is seen as the walk goes on
        return [replace(found, repaired=None) for found in read_masks(case)]
    repaired = explain_layer(case)
    return [] if repaired is None else [repaired]


def describe_parting(parting: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Returns what to call a place at which operations differ, and in a sentence how they do."""
    ours, theirs = parting["port"], parting["reference"]
    if ours and theirs:
        return "different_operation", f"the port computes {ours[0]}; the reference computes {theirs[0]}"
    if ours:
        return "added_operation", f"the port computes {ours[0]}, which the reference does not"
    return "missing_operation", f"the reference computes {theirs[0]}, which the port does not"


def describe_proof(walked: Walk) -> str:
    """Returns in words what the reference computes once it does at every place what the port does."""
    several = "all these changes" if sum(found.change is not None for found in walked.found) > 1 else "this change"
    told = ""
    if walked.explained:
        told = f"the reference with {several} computes what the port does at {', '.join(walked.explained)}"
    if walked.left is None or walked.proved:
        return told
    rest = f"{walked.left} is not explained"
    return f"{told}; {rest}, so something else differs, too" if told else rest
