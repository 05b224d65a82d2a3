"""`forward` and above: layers that their order alone has told apart, where another order would fit as well."""

import itertools
from collections.abc import Collection, Iterator, Sequence

from birdplane_keras.parity.causes.case import Case
from birdplane_keras.parity.causes.hypothesis import enumerate_names
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.core.first_steps import compare_within
from birdplane_keras.parity.core.records import STEP_RUNGS
from birdplane_keras.parity.matching.ledger import LayerMatch
from birdplane_keras.parity.matching.match import match_layers
from birdplane_keras.parity.sides.views import KerasView, TorchView

Mapping = dict[str, str]


def read_ambiguity(case: Case, near: Collection[str] | None = None) -> Finding | None:
    """Returns the finding that the matching may be wrong, if it may: the port is not accused then.

    Args:
        case: What is to be explained.
        near: The weights of the layers at which the sides part; `None` where that is not known.
    """
    groups = case.bench.matching.ambiguous
    if near is not None:
        groups = tuple(group for group in groups if has_any(group, near))
    if case.rung not in STEP_RUNGS or not groups:
        return None
    mapping = mapping_that_agrees(case, groups)
    told = [
        f"{', '.join(m.layer.name for m in group)} in Keras and {', '.join(m.name for m in group)} in PyTorch"
        for group in groups
    ]
    names = [match.layer.name for group in groups for match in group]
    fixes = [Fix(text=f"Pair(mapping={mapping})", tried=True)] if mapping else []
    say = f"say by Pair(mapping={{layer: module}}) which layer is which: {'; '.join(told)}"
    return Finding(
        cause="ambiguous_matching",
        rung=case.rung,
        text="the judge cannot tell which layers belong together, so this may be no fault of the port: parallel layers "
        f"of one shape were matched in the order of their registration ({enumerate_names(names)})",
        evidence=f"{'; '.join(told)}; {case.failed.reason}",
        fixes=tuple(fixes) or (Fix(text=say),),
        settled={"mapping": {**(case.pair.mapping or {}), **mapping}} if mapping else {},
    )


def mapping_that_agrees(case: Case, groups: Sequence[Sequence[LayerMatch]]) -> Mapping | None:
    """Returns the other order in which the forward pass agrees, if there is one such that the time allows to find."""
    if case.pair.weights != "transfer" or case.rung != "forward" or has_idle_layer(case, groups):
        return None
    for mapping in other_orders(groups):
        if case.budget.spent:
            case.untried.append(f"not every other order of these layers was tried within {case.budget.seconds:g} s")
            return None
        if agrees(case, mapping):
            return mapping
    return None


def has_idle_layer(case: Case, groups: Sequence[Sequence[LayerMatch]]) -> bool:
    """Whether the port makes nothing of a layer that the reference uses: no other order fixes that."""
    ours, theirs = (side.tensors["gradients"] for side in (case.port, case.reference))
    return any(name not in ours and any(has_any(group, [name]) for group in groups) for name in theirs)


def has_any(group: Sequence[LayerMatch], weights: Collection[str]) -> bool:
    """Whether one of some weights is of a layer of a group."""
    return any(name.startswith(f"{match.name}.") for match in group for name in weights)


def other_orders(groups: Sequence[Sequence[LayerMatch]]) -> Iterator[Mapping]:
    """Yields every way to match the layers of each group in another order than they are."""
    orders = [itertools.permutations([match.name for match in group]) for group in groups]
    for chosen in itertools.product(*orders):
        mapping = {
            match.layer.name: name
            for group, names in zip(groups, chosen, strict=True)
            for match, name in zip(group, names, strict=True)
        }
        if any(match.name != mapping[match.layer.name] for group in groups for match in group):
            yield mapping


def agrees(case: Case, mapping: Mapping) -> bool:
    """Whether the port, given the reference's weights by a mapping, computes the reference's outputs."""
    bench, pair = case.bench, case.pair
    matching = match_layers(pair.keras_model, pair.torch_module, {**(pair.mapping or {}), **mapping})
    if matching.problems:
        return False
    port = bench.port()
    bench.host.activate(port)
    KerasView(matching).set_weights(TorchView(pair.torch_module, matching).weights())
    ours, theirs = port.outputs_in_training(case.plan[0]), case.reference.tensors["forward"]
    bench.host.forget()
    return compare_within("forward", ours, theirs, case.climb.noise["forward"]).passed
