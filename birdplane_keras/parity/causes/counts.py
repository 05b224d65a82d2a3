"""`parameter_counts`: a tensor without a counterpart, one that a side alone trains, or that it unties."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.reading import read_off
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.core.given import compare_counterparts
from birdplane_keras.parity.core.records import Counterpart, Counterparts, Problem
from birdplane_keras.parity.matching.match import match_layers

SWITCHES = {  # Keras' name of a part, or PyTorch's -> the argument of a Keras layer that makes it
    "bias": "use_bias",
    "bias_ih": "use_bias",
    "bias_hh": "use_bias",
    "beta": "center",
    "gamma": "scale",
}
RUNG = "parameter_counts"


def read_counts(case: Case) -> Iterator[Finding]:
    """Reads what does not fit in the matching."""
    weights = case.bench.counterparts()
    if weights.problems:
        yield from in_problems(case, weights.problems)
    elif any(match.trained[0] != match.trained[1] for match in weights.matched):
        yield in_frozen(case, weights)
    elif weights.untied:
        fix = "use one variable in both places: ops.matmul(x, ops.transpose(embedding.embeddings))"
        text = f"tied weights are untied in the port: {case.failed.reason}"
        yield read_off("untied", RUNG, text, case.failed.reason, fix)


def in_problems(case: Case, problems: Sequence[Problem]) -> Iterator[Finding]:
    """Layers that no weights make equal; parts that one of two layers lacks; and what has no counterpart at all."""
    told = case.failed.reason
    refused = [problem for problem in problems if problem.code == "refused"]
    lacking = [problem for problem in problems if problem.code == "missing" and switch_of(problem)]
    if refused:
        first = refused[0]
        fixes = [f"{problem.layer}: {problem.fix}" for problem in refused]
        yield read_off(first.cause, RUNG, first.text, "read from both layers", list(dict.fromkeys(fixes)))
    elif len(lacking) == len(problems):
        names = [problem.tensor for problem in lacking]
        sides = {"keras": "PyTorch", "torch": "Keras"}
        first = lacking[0]
        text = f"{names[0]} is missing in {sides[first.side]}"
        text += f", and {len(names) - 1} more weights" if len(names) > 1 else ""
        fixes = [f"{p.layer}: {switch_of(p)}={p.side == 'torch'}" for p in lacking]
        yield read_off("missing_bias", RUNG, text, told, list(dict.fromkeys(fixes)))
    else:
        yield unmatched(case, problems)


def switch_of(problem: Problem) -> str | None:
    """Returns the argument of a Keras layer that makes the part that one side lacks."""
    return SWITCHES.get(problem.part.rpartition("/")[2])


def unmatched(case: Case, problems: Sequence[Problem]) -> Finding:
    """Weights without a counterpart that fits, with a mapping that gives them one, if there is one that does."""
    counts = {side: sum(problem.side == side for problem in problems) for side in ("keras", "torch")}
    text = (
        f"the judge cannot tell which weights belong together: {counts['keras']} of the port and {counts['torch']} of "
        "the reference are left"
    )
    mapping = mapping_by_shape(problems)
    if mapping and fits(case, mapping):
        return Finding(
            cause="unmatched",
            rung=RUNG,
            text=text,
            evidence=case.failed.reason,
            fixes=(Fix(text=f"Pair(mapping={mapping!r})", tried=True),),
        )
    left = [f"{p.tensor} {p.shape}" if p.shape else p.tensor for p in problems]
    told = f"build the layers alike; or say by Pair(mapping=...) which weights belong together: {', '.join(left[:8])}"
    told += f" and {len(left) - 8} more" if len(left) > 8 else ""
    return read_off("unmatched", RUNG, text, case.failed.reason, told)


def mapping_by_shape(problems: Sequence[Problem]) -> dict[str, Any]:
    """Returns which of the weights that are left have one shape alone in common, as they are or transposed."""
    ours = [p for p in problems if p.side == "keras" and p.shape]
    theirs = [p for p in problems if p.side == "torch" and p.shape]
    mapping: dict[str, Any] = {}
    for problem in ours:
        alike = [other for other in theirs if other.shape in (problem.shape, problem.shape[::-1])]
        rivals = [other for other in ours if other.shape in (problem.shape, problem.shape[::-1])]
        square = len(problem.shape) == 2 and problem.shape[0] == problem.shape[1]
        if len(alike) == 1 and len(rivals) == 1 and not square:
            mapping[problem.tensor] = alike[0].tensor
    return mapping if len(mapping) == len(ours) == len(theirs) else {}


def fits(case: Case, mapping: Mapping[str, Any]) -> bool:
    """Whether everything has its counterpart with a mapping."""
    pair = case.pair
    return not match_layers(pair.keras_model, pair.torch_module, {**(pair.mapping or {}), **mapping}).problems


def in_frozen(case: Case, weights: Counterparts) -> Finding:
    """Tensors that one side alone trains, with the layers whose `trainable` repairs it."""
    differing = [match for match in weights.matched if match.trained[0] != match.trained[1]]
    variables = [case.bench.matching.variables[match.name] for match in differing]
    layers = [layer_of(case, match) for match in differing]
    fixes = [f"{layer.name}.trainable = {m.trained[1]}" for layer, m in zip(layers, differing, strict=True)]
    with contextlib.ExitStack() as stack:
        for variable, match in zip(variables, differing, strict=True):
            stack.enter_context(trainable(variable, on=match.trained[1]))
        repaired = [
            Counterpart(
                name=m.name, size=m.size, trained=(bool(case.bench.matching.variables[m.name].trainable), m.trained[1])
            )
            for m in weights.matched
        ]
        tried = compare_counterparts(Counterparts(matched=repaired)).passed
    text = f"{differing[0].name} is {describe(differing[0].trained[0])} in the port alone"
    text += f", and {len(differing) - 1} more weights" if len(differing) > 1 else ""
    return read_off("frozen", RUNG, text, case.failed.reason, list(dict.fromkeys(fixes)), tried=tried)


def describe(trained: bool) -> str:
    """Returns in a word whether a tensor is trained."""
    return "trained" if trained else "frozen"


def layer_of(case: Case, match: Counterpart) -> Any:
    """Returns the Keras layer of a matched tensor."""
    return next(layer.layer for layer in case.bench.matching.layers if match.name in {t.name for t in layer.tensors})


@contextlib.contextmanager
def trainable(variable: Any, *, on: bool) -> Iterator[None]:
    """Within it, a variable is trainable, or is not."""
    before = variable.trainable
    variable.trainable = on
    try:
        yield
    finally:
        variable.trainable = before
