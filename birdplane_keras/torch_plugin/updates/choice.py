"""Which update a traced step makes: one that was tried against Keras' own, or Keras' own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import torch

from birdplane_keras.torch_plugin.agreement import further_apart, same_bits, ulp_of
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.tracing import Trace
from birdplane_keras.torch_plugin.trial import Trial
from birdplane_keras.torch_plugin.updates.plain_sgd import PlainSGD, is_plain_sgd
from birdplane_keras.torch_plugin.updates.ruled import RuledUpdate, can_be_ruled

# From the outputs of the traced step to nothing; it changes the weights.
Update = Callable[[tuple], None]
# Units in the last place of a tensor's largest number: a product that is rounded before it is added, or not; a mean
# that is moved towards a number, or made of two shares.
ROUNDED_ULPS = 8
# At the first update an optimizer's states are zero, and what is made of them rounds nowhere.
UPDATES = 2


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That an update does what Keras' own does.

    Args:
        guards: Over what that update read.
        rounds: Whether the two round differently.
    """

    guards: Guards
    rounds: bool


@dataclass(frozen=True, kw_only=True)
class ChosenUpdate:
    """How a step updates the weights.

    Args:
        apply: Makes the update from the outputs of a step.
        apply_to: Makes it from the gradients of all weights, each whole.
        words: What it is.
        present: Numbers of the weights that it moves.
        proof: That it may stand in for Keras' own update; `None` where it is that.
        is_linear: Whether a weight moves by its gradient times the rate: either is as good as the other to compare.
    """

    apply: Update
    apply_to: Callable[[list], None]
    words: str
    present: Sequence[int] = ()
    proof: Proof | None = None
    is_linear: bool = False


def choose_update(
    model: keras.Model, weights: list[keras.Variable], trace: Trace, first: int, *, fused: bool
) -> ChosenUpdate:
    """Returns the update of a traced step.

    Args:
        model: Compiled.
        weights: Its trainable weights.
        trace: Its outputs from number `first` on are the gradients; some may be left as factors.
        first: Number of the first gradient among the outputs.
        fused: Whether the update may round otherwise than Keras' own.
    """
    optimizer: Any = model.optimizer
    given = [product_of(trace.factors, trace.outputs, first + number) for number in range(len(weights))]
    present = [number for number, gradient in enumerate(given) if gradient is not None]
    if is_plain_sgd(optimizer, weights):
        plain = PlainSGD(optimizer, weights, trace.factors, first, present)
        of_whole = PlainSGD(optimizer, weights, {}, 0, present)
        proof = prove(optimizer, weights, given, of_whole, rounds=True)
        if proof is not None:
            return ChosenUpdate(
                apply=plain, apply_to=of_whole, words=plain.words, present=present, proof=proof, is_linear=True
            )
    elif can_be_ruled(optimizer, [weights[number] for number in present]):
        if optimizer.weight_decay is not None:  # Keras remembers which weights it leaves out once it was asked
            for weight in weights:
                optimizer._use_weight_decay(weight)
        for one_call in [True, False] if fused else [False]:
            update, whole = (RuledUpdate(optimizer, weights, start, present, fused=one_call) for start in (first, 0))
            if one_call and not update.is_fused:
                continue
            proof = prove(optimizer, weights, given, whole, rounds=one_call)
            if proof is not None:
                # One call may end in the same bits here, and elsewhere not.
                proof = replace(proof, rounds=one_call)
                return ChosenUpdate(apply=update, apply_to=whole, words=update.words, present=present, proof=proof)

    def apply(outputs: tuple) -> None:
        apply_to([product_of(trace.factors, outputs, first + n) for n in range(len(weights))])

    def apply_to(gradients: list) -> None:
        optimizer.apply(gradients, weights)

    return ChosenUpdate(apply=apply, apply_to=apply_to, words=f"{type(optimizer).__name__}'s own apply")


def product_of(factors: dict[int, tuple[int, int]], outputs: Sequence, number: int) -> Any:
    """Returns the gradient that an output is, or that two outputs are the factors of."""
    pair = factors.get(number)
    return outputs[pair[0]] @ outputs[pair[1]] if pair else outputs[number]


def prove(
    optimizer: Any, weights: list[keras.Variable], gradients: list, update: Callable[[list], None], *, rounds: bool
) -> Proof | None:
    """Tries Keras' own update and another one from one state; nothing stays.

    Args:
        optimizer: Built.
        weights: Keras variables.
        gradients: Theirs.
        update: Updates the weights by gradients.
        rounds: Whether the two may differ by rounding: Keras 3.16 multiplies by the rate first, say, where PyTorch and
            earlier versions add a multiple.

    Returns:
        `None` where the two are not the same.
    """

    def keras_update(*_: torch.Tensor) -> list:
        with torch.no_grad():
            for _update in range(UPDATES):
                optimizer.apply(list(gradients), weights)
        return []

    def other_update(*_: torch.Tensor) -> list:
        with torch.no_grad():
            for _update in range(UPDATES):
                update(gradients)
        return []

    given = {id(each): each for each in gradients if each is not None}
    trial = Trial(keras_update, [*given.values()], [optimizer, *weights], numbers_may_leave=True)
    try:
        trial.observe()
        after = trial.attempt(other_update)[2].after
        # PyTorch's fused calls may write gradients, and do not without a scale.
        ours = {key: value for key, value in after.items() if key not in given or not same_bits(value, given[key])}
        theirs = trial.seen.after
    except NotTraceableError:
        return None
    finally:
        trial.undo()
    if ours.keys() != theirs.keys():
        return None
    if all(same_bits(ours[key], theirs[key]) for key in ours):
        return Proof(guards=trial.guards, rounds=False)
    allowed = [ROUNDED_ULPS * ulp_of(ours[key]) for key in ours]
    close = all(further_apart(ours[key], theirs[key], most, 0.0) == 0 for key, most in zip(ours, allowed, strict=True))
    return Proof(guards=trial.guards, rounds=True) if rounds and close else None
