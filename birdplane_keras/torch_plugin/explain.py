"""What an attached model runs on, in words."""

import math

from birdplane_keras.torch_plugin.attachment import Attachment
from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.explanation import Explanation, Timing
from birdplane_keras.torch_plugin.hooks import KINDS


def explain_attachment(attachment: Attachment) -> Explanation:
    """Returns one paragraph per kind of step, and one item per signature of a batch."""
    timings: list[Timing] = []
    engine = "fused or compiled, as measured" if attachment.chooses else attachment.engine
    lines = [f"{attachment.model.name} is attached, engine {engine}."]
    for kind in KINDS:
        entries = [entry for entry in attachment.entries if entry.kind == kind]
        if kind in attachment.refused:
            lines.append(f"{kind}: stock path, because {attachment.refused[kind]}.")
        elif not entries and not any(of_kind == kind for of_kind, _ in attachment.modes):
            lines.append(f"{kind}: no batch yet.")
        lines += [
            f"{kind}: stock path, {counted(steps, 'step')}, because {mode}."
            for (of_kind, mode), steps in attachment.modes.items()
            if of_kind == kind
        ]
        told: set[int] = set()
        for entry in entries:
            steps = entry.steps
            if entry.step is None:
                lines.append(f"{kind}, {entry.batch}: stock path, {counted(steps, 'step')}, because {entry.reason}.")
            elif id(entry.step) not in told:
                told.add(id(entry.step))
                served = [each for each in entries if each.step is entry.step]
                lines.append(f"{kind}, {served_words(served)}: {entry.step.engine}, {account_of(served)}.")
                timing = timing_of(served)
                if timing is not None:
                    timings.append(timing)
                    lines.append(f"    {paid_back(timing, served)}")
                if entry.choice is not None:
                    lines.append(f"    {entry.choice.describe()}")
                lines += [f"    {line}" for line in entry.step.describe()]
        lines += [
            f"{kind}: each size has its own trace, because {why}." for why in attachment.families.refusals_of(kind)
        ]
    return Explanation("\n".join(lines), attachment.model.name, timings)


def counted(number: int, what: str) -> str:
    """Returns a number of things in words."""
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def served_words(served: list[Entry]) -> str:
    """Returns the batches that one trace serves in words."""
    others = f" and {counted(len(served) - 1, 'other size')}" if len(served) > 1 else ""
    return served[0].batch + others


def account_of(served: list[Entry]) -> str:
    """Returns how many steps one trace has made, and what it took to make it."""
    audits = sum(entry.audits for entry in served)
    audited = f", {audits:,} of them audited" if audits else ""
    steps, seconds = sum(entry.steps for entry in served), sum(entry.seconds for entry in served)
    return f"{counted(steps, 'step')}{audited}, traced in {seconds:.2f} s"


def timing_of(served: list[Entry]) -> Timing | None:
    """Returns what a step took, stock and traced, in the mean over the batches of a trace that audits have timed."""
    timed = [entry for entry in served if entry.traced_seconds]
    if not timed or served[0].step is None:
        return None
    return Timing(
        kind=served[0].kind,
        batch=served_words(served),
        engine=served[0].step.engine,
        stock_seconds=sum(entry.stock_seconds for entry in timed) / len(timed),
        traced_seconds=sum(entry.traced_seconds for entry in timed) / len(timed),
    )


def paid_back(timing: Timing, served: list[Entry]) -> str:
    """Returns what a trace has saved in words."""
    stock, traced = timing.stock_seconds, timing.traced_seconds
    steps, seconds, saved = sum(entry.steps for entry in served), sum(entry.seconds for entry in served), stock - traced
    each = f"a stock step took {1e3 * stock:.1f} ms, a traced one {1e3 * traced:.1f} ms"
    if saved <= 0:
        return f"time: {each}: nothing is saved"
    paid = f"{saved * steps:.1f} s saved for {seconds:.1f} s of tracing"
    return f"time: {each}; {paid}, break-even at step {math.ceil(seconds / saved):,}"
