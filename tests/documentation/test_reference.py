"""The reference has every public name, each cause has its page, and links lead somewhere."""

import importlib
import re

import pytest

from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.cli import COMMANDS
from documentation.prose import ROOT, pages

REFERENCE = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))
PACKAGES = ("", ".parity", ".torch_plugin", ".torch_equivalents", ".data", ".files")
CAUSES = sorted({fault.cause for fault in FAULTS})
SECTIONS = ["An example", "Why it happens", "The fix", "Met in public"]


def names_in(package):
    """Returns the public names of a package that the reference does not have."""
    module = importlib.import_module(f"birdplane_keras{package}")
    documented = set(re.findall(r"auto\w+:: birdplane_keras\.([\w.]+)", REFERENCE))
    ends = {name.rpartition(".")[2] for name in documented} | set(re.findall(r"`(?:\w+\.)*([A-Z_]{3,})`", REFERENCE))
    return [name for name in module.__all__ if name not in ends]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package):
    assert names_in(package) == []


def test_a_name_that_is_missing_would_be_noticed(monkeypatch):
    """Negative control."""
    module = importlib.import_module("birdplane_keras.parity")
    monkeypatch.setattr(module, "__all__", [*module.__all__, "check_everything"])
    assert names_in(".parity") == ["check_everything"]


def test_the_command_line_has_a_row_for_each_command():
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    rows = dict(re.findall(r"^\| `birdplane (\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == {name: line[0].upper() + line[1:] for name, (_, _, line) in COMMANDS.items()}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_has_a_page_with_an_example_the_reason_the_fix_and_a_report(cause):
    page = (ROOT / "docs" / "causes" / f"{cause}.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    example = page.partition("## An example")[2].partition("## Why")[0]
    assert f"Cause: {cause}." in example or "printed as another cause" in page
    assert "diverged" in example
    assert re.search(r"\]\(https://\S+\)", page.partition("## Met in public")[2])


def test_every_other_cause_that_the_code_names_is_on_the_page_of_the_others():
    """Those that stand in the code as they are; others are made of a setting's name."""
    named = set()
    for path in (ROOT / "birdplane_keras" / "parity").rglob("*.py"):
        named |= set(re.findall(r'(?:cause=|read_off\(\s*|supposed\()"([a-z_]+)"', path.read_text()))
    others = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "causes" / "other.md").read_text(), re.MULTILINE))
    assert len(named) > 40
    assert named - set(CAUSES) <= others
    assert not others & set(CAUSES)


def test_there_is_no_page_without_a_cause():
    pages_of_causes = {path.stem for path in (ROOT / "docs" / "causes").glob("*.md")}
    assert pages_of_causes == {*CAUSES, "index", "catalogue", "other"}


def broken_links(path, text):
    """Returns the links of a page that lead to no file, or to no heading of it."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        if re.match(r"https?://|mailto:", link):
            continue
        file, _, heading = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists():
            found.append(link)
        elif heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            found += [] if heading in slugs else [link]
    return found


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(path):
    assert broken_links(path, path.read_text()) == []


def test_a_broken_link_would_be_noticed():
    """Negative control."""
    path = ROOT / "README.md"
    text = "[a](docs/nothing.md) [b](docs/article.md#no-such-heading) [c](docs/article.md) [d](https://example.org)"
    assert broken_links(path, text) == ["docs/nothing.md", "docs/article.md#no-such-heading"]
