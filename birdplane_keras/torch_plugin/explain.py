"""What an attached model runs on, in words."""

from birdplane_keras.torch_plugin.attachment import KINDS, Attachment


def explain_attachment(attachment: Attachment) -> str:
    """Returns one paragraph per kind of step, and one item per signature of a batch."""
    lines = [f"{attachment.model.name} is attached, engine {attachment.engine}."]
    for kind in KINDS:
        entries = [entry for entries in attachment.entries.values() for entry in entries if entry.kind == kind]
        if kind in attachment.refused:
            lines.append(f"{kind}: stock path, because {attachment.refused[kind]}.")
        elif not entries:
            lines.append(f"{kind}: no batch yet.")
        for entry in entries:
            made = f"{entry.steps:,} step{'s' if entry.steps != 1 else ''}"
            if entry.step is None:
                lines.append(f"{kind}, {entry.batch}: stock path, {made}, because {entry.reason}.")
                continue
            lines.append(f"{kind}, {entry.batch}: {attachment.engine}, {made}, traced in {entry.seconds:.2f} s.")
            lines += [f"    {line}" for line in entry.step.describe()]
    return "\n".join(lines)
