"""What an attached model runs on, in words."""

import math

from birdplane_keras.torch_plugin.attachment import KINDS, Attachment
from birdplane_keras.torch_plugin.entries import Entry


def explain_attachment(attachment: Attachment) -> str:
    """Returns one paragraph per kind of step, and one item per signature of a batch."""
    lines = [f"{attachment.model.name} is attached, engine {attachment.engine}."]
    for kind in KINDS:
        entries = [entry for entry in attachment.entries if entry.kind == kind]
        if kind in attachment.refused:
            lines.append(f"{kind}: stock path, because {attachment.refused[kind]}.")
        elif not entries:
            lines.append(f"{kind}: no batch yet.")
        for entry in entries:
            made = f"{entry.steps:,} step{'s' if entry.steps != 1 else ''}"
            if entry.step is None:
                lines.append(f"{kind}, {entry.batch}: stock path, {made}, because {entry.reason}.")
                continue
            audits = f", {entry.audits:,} of them audited" if entry.audits else ""
            lines.append(
                f"{kind}, {entry.batch}: {attachment.engine}, {made}{audits}, traced in {entry.seconds:.2f} s."
            )
            lines += [f"    {line}" for line in paid_back(entry)]
            lines += [f"    {line}" for line in entry.step.describe()]
    return "\n".join(lines)


def paid_back(entry: Entry) -> list[str]:
    """Returns a line on what a trace has saved, where an audit has timed both kinds of step."""
    if not entry.traced_seconds:
        return []
    saved = entry.stock_seconds - entry.traced_seconds
    each = f"a stock step took {1e3 * entry.stock_seconds:.1f} ms, a traced one {1e3 * entry.traced_seconds:.1f} ms"
    if saved <= 0:
        return [f"time: {each}: nothing is saved"]
    return [f"time: {each}; {saved * entry.steps:.1f} s saved, break-even at step {math.ceil(entry.seconds / saved):,}"]
