"""A certificate's content as text, as Markdown for a pull request, and as JUnit XML for a CI system."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any

MEANINGS = {
    "bit-exact": "the sides agree in every bit",
    "rounding-only": "the sides differ by rounding only, within what the reference's own rounding was measured to do",
    "diverged": "the sides are not the same",
}


def outcome(check: Mapping[str, Any]) -> str:
    """Returns a check's outcome in a word or two."""
    return "BROKEN" if check["state"] == "failed" else str(check["state"])


def explain(check: Mapping[str, Any]) -> str:
    """Returns a check's reason; that of one that was not reached, or left out, says so."""
    return f"{check['state']}: {check['reason']}" if check["state"] in ("not reached", "left out") else check["reason"]


def figure(value: float | None, digits: int = 2) -> str:
    """Returns a number in a few characters; nothing for none."""
    return "" if value is None else f"{value:.{digits}g}"


def describe_failure(content: Mapping[str, Any]) -> str:
    """Returns the rung that broke, where, and why; nothing where none did."""
    failure = content["first_failure"]
    if failure is None:
        return ""
    place = ", ".join(f"{k} {v}" for k, v in failure.items() if k not in ("rung", "code", "reason") and v is not None)
    return f"First broken rung: {failure['rung']}" + (f" ({place})" if place else "") + f". {failure['reason']}"


def describe_fixes(finding: Mapping[str, Any]) -> Sequence[str]:
    """Returns what to change, a line for each place, and whether the judge has tried it."""
    lines: list[str] = finding["fix"].splitlines()
    return lines


def describe_parting(finding: Mapping[str, Any]) -> list[str]:
    """Returns the operations at which both programs part, a line for each; none where that was not seen."""
    parting = finding["parting"] or {}
    return [f"{side}: {line}" for side, lines in parting.items() for line in lines or ["nothing that the other lacks"]]


def render_text(content: Mapping[str, Any]) -> str:
    """Returns the verdict, the rung that failed and the causes, in a few lines."""
    lines = [f"{content['verdict']}: {MEANINGS[content['verdict']]}."]
    if content["first_failure"] is not None:
        lines.append(describe_failure(content))
    for finding in content["diagnosis"]:
        lines.append(f"Cause: {finding['cause']}. {finding['text']}.")
        lines.append(f"  Evidence: {finding['evidence']}.")
        lines += [f"  In the {line}" for line in describe_parting(finding)]
        lines += [f"  Fix: {fix}" for fix in describe_fixes(finding)]
    lines += [f"{line}." for line in describe_precision(content)]
    lines += [f"Note: {note}." for note in content["notes"]]
    return "\n".join(lines)


def describe_precision(content: Mapping[str, Any]) -> list[str]:
    """Says in which types the sides compute, where that is not float32 on both."""
    precision = content.get("precision")
    if not precision or all(types == ["float32"] for types in precision.values()):
        return []
    ours, theirs = (" and ".join(precision[side]) for side in ("keras", "torch"))
    return [f"Precision: {ours} in Keras, {theirs} in PyTorch"]


def render_markdown(content: Mapping[str, Any]) -> str:
    """Returns the whole as Markdown."""
    lines = [f"## Parity: {content['verdict']}", "", f"{MEANINGS[content['verdict']].capitalize()}.", ""]
    if content["source"]:
        lines += [f"Pair `{content['source']}`, {content['steps']} steps, seed {content['seed']}.", ""]
    lines += [f"{line}.\n" for line in describe_precision(content)]
    for finding in content["diagnosis"]:
        lines += [f"**{finding['cause']}** (at `{finding['rung']}`): {finding['text']}.", ""]
        lines += [f"- evidence: {finding['evidence']}"]
        lines += [f"- in the {line}" for line in describe_parting(finding)]
        lines += [*(f"- fix: {fix}" for fix in describe_fixes(finding)), ""]
    lines += ["| rung | | difference | tolerance | ULPs | times the noise | bits |", "|---|---|---|---|---|---|---|"]
    for check in content["checks"]:
        bits = "" if check["bits_differing"] is None else f"{check['bits_differing']:,}"
        cells = (check["max_abs_difference"], check["tolerance"], check["ulps"], check["times_noise"])
        row = " | ".join((f"`{check['name']}`", outcome(check), *map(figure, cells), bits))
        lines.append(f"| {row} |")
    skipped = [check for check in content["checks"] if check["state"] == "left out"]
    lines += [""] + [f"`{check['name']}` was left out: {check['reason']}." for check in skipped]
    lines += [f"Note: {note}." for note in content["notes"]]
    versions = ", ".join(f"{name} {value}" for name, value in content["environment"].items())
    return "\n".join([*lines, "", versions, ""])


def render_junit(content: Mapping[str, Any]) -> str:
    """Returns JUnit XML: a test case for each rung; those that were not reached, or left out, are skipped."""
    checks = content["checks"]
    suite = ElementTree.Element(
        "testsuite",
        name="parity",
        tests=str(len(checks)),
        failures=str(sum(check["state"] == "failed" for check in checks)),
        errors="0",
        skipped=str(sum(check["state"] in ("not reached", "left out") for check in checks)),
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="parity", name=check["name"])
        if check["state"] == "failed":
            failure = ElementTree.SubElement(case, "failure", message=printable(check["reason"]), type="divergence")
            failure.text = printable(render_text(content))
        elif check["state"] != "passed":
            ElementTree.SubElement(case, "skipped", message=explain(check))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """Returns text without the control characters that XML does not allow."""
    return "".join(character for character in text if character in "\n\t" or ord(character) >= 32)
