"""A certificate's content as text, as Markdown for a pull request, and as JUnit XML for a CI system."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any

MEANINGS = {
    "bit-exact": "the sides agree in every bit",
    "rounding-only": "the sides differ by rounding only, within what the reference's own rounding was measured to do",
    "diverged": "the sides are not the same",
}


def reached(check: Mapping[str, Any]) -> bool:
    """Whether the rung of a check was reached."""
    return not check["reason"].startswith("not reached")


def outcome(check: Mapping[str, Any]) -> str:
    """Returns a check's outcome in a word or two."""
    return "passed" if check["passed"] else "BROKEN" if reached(check) else "not reached"


def figure(value: float | None, digits: int = 2) -> str:
    """Returns a number in a few characters; nothing for none."""
    return "" if value is None else f"{value:.{digits}g}"


def render_text(content: Mapping[str, Any]) -> str:
    """Returns the verdict, the rung that failed and the causes, in a few lines."""
    lines = [f"{content['verdict']}: {MEANINGS[content['verdict']]}."]
    failure = content["first_failure"]
    if failure is not None:
        place = ", ".join(f"{k} {v}" for k, v in failure.items() if k not in ("rung", "reason") and v is not None)
        lines.append(
            f"First broken rung: {failure['rung']}" + (f" ({place})" if place else "") + f". {failure['reason']}"
        )
    for finding in content["diagnosis"]:
        lines.append(f"Cause: {finding['cause']}. {finding['text']}.")
        lines.append(f"  Evidence: {finding['evidence']}.")
        lines.append(f"  Fix: {finding['fix']}")
    lines += [f"Note: {note}." for note in content["notes"]]
    return "\n".join(lines)


def render_markdown(content: Mapping[str, Any]) -> str:
    """Returns the whole as Markdown."""
    lines = [f"## Parity: {content['verdict']}", "", f"{MEANINGS[content['verdict']].capitalize()}.", ""]
    if content["source"]:
        lines += [f"Pair `{content['source']}`, {content['steps']} steps, seed {content['seed']}.", ""]
    for finding in content["diagnosis"]:
        lines += [f"**{finding['cause']}** (at `{finding['rung']}`): {finding['text']}.", ""]
        lines += [f"- evidence: {finding['evidence']}", f"- fix: {finding['fix']}", ""]
    lines += ["| rung | | difference | tolerance | ULPs | times the noise | bits |", "|---|---|---|---|---|---|---|"]
    for check in content["checks"]:
        bits = "" if check["bits_differing"] is None else f"{check['bits_differing']:,}"
        cells = (check["max_abs_difference"], check["tolerance"], check["ulps"], check["times_noise"])
        row = " | ".join((f"`{check['name']}`", outcome(check), *map(figure, cells), bits))
        lines.append(f"| {row} |")
    lines += [""] + [f"`{rung}` was left out: {reason}." for rung, reason in content["left_out"].items()]
    lines += [f"Note: {note}." for note in content["notes"]]
    versions = ", ".join(f"{name} {value}" for name, value in content["environment"].items())
    return "\n".join([*lines, "", versions, ""])


def render_junit(content: Mapping[str, Any]) -> str:
    """Returns JUnit XML: a test case for each rung, and one for the verdict."""
    checks = content["checks"]
    failures = sum(1 for check in checks if not check["passed"] and reached(check))
    skipped = sum(1 for check in checks if not reached(check)) + len(content["left_out"])
    suite = ElementTree.Element(
        "testsuite",
        name="parity",
        tests=str(len(checks) + len(content["left_out"])),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="parity", name=check["name"])
        if not reached(check):
            ElementTree.SubElement(case, "skipped", message=check["reason"])
        elif not check["passed"]:
            failure = ElementTree.SubElement(case, "failure", message=printable(check["reason"]), type="divergence")
            failure.text = printable(render_text(content))
    for rung, reason in content["left_out"].items():
        case = ElementTree.SubElement(suite, "testcase", classname="parity", name=rung)
        ElementTree.SubElement(case, "skipped", message=reason)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    """Returns text without the control characters that XML does not allow."""
    return "".join(character for character in text if character in "\n\t" or ord(character) >= 32)
