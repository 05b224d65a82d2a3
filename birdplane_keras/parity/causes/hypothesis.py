"""A known mistake, ready to be made by the reference, and what repairs it in the port."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from birdplane_keras.parity.sides.keras_host import Repair
from birdplane_keras.parity.sides.torch_run import TorchRun

Change = Callable[[TorchRun], None]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to change in the port.

    Args:
        text: In code where it can be said in code.
        repair: Changes the port so, for a while; `None` where that is for the person to do.
    """

    text: str
    repair: Repair | None = None


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A mistake that the port may have made.

    Args:
        cause: A short identifier.
        text: The mistake in a sentence.
        advice: What to change, a line for each place.
        evidence: What suggested it, where something did.
        change: Applied to a run of the reference before its first step: it then makes the mistake.
        layers: The layers that it is about, by the reference's names; none where it is about the whole.
        parts: The hypotheses that this one is made of, where it is several at once: each is a finding of its own.
        fitted: A number in it was solved for from the loss, so the loss alone proves nothing: the gradients must agree.
        coarse: Rounds to a half type on the way, where the frameworks round differently: coming 16 times as near as
            the reference is enough.
        calls: Names of functions of which it changes some calls alone, and which of the reference's calls of these;
            `None` where it is not about calls.
    """

    cause: str
    text: str
    advice: Sequence[Advice]
    evidence: str = ""
    change: Change
    layers: Sequence[str] = ()
    parts: "Sequence[Hypothesis]" = ()
    fitted: bool = False
    coarse: bool = False
    calls: tuple[Collection[str], Collection[int]] | None = None

    @property
    def members(self) -> "Sequence[Hypothesis]":
        """The hypotheses that this one says at once: itself, or its parts."""
        return self.parts or (self,)


def together(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    """Returns the hypothesis that all of these hold at once."""
    parts = [member for hypothesis in hypotheses for member in hypothesis.members]

    texts = list(dict.fromkeys(part.text for part in parts))
    return Hypothesis(
        cause=parts[0].cause,
        text="; ".join(texts),
        advice=tuple(advice for part in parts for advice in part.advice),
        evidence=f"{len(texts)} differences that were read from both sides, together",
        layers=tuple(dict.fromkeys(name for part in parts for name in part.layers)),
        parts=tuple(parts),
        coarse=any(part.coarse for part in parts),
        fitted=any(part.fitted for part in parts),
        change=all_of([part.change for part in parts]),
    )


def all_of(changes: Sequence[Change]) -> Change:
    """Returns the change that makes several."""

    def change(run: TorchRun) -> None:
        for each in changes:
            each(run)

    return change


def advise(text: str, repair: Repair | None = None) -> tuple[Advice]:
    """Returns the advice of one line."""
    return (Advice(text=text, repair=repair),)


def enumerate_names(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
