"""The project's own papers: what they say can be checked, so it is."""

import contextlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from birdplane_keras.parity.core.rungs import names as rung_names
from birdplane_keras.published import PUBLISHED, describe_published
from birdplane_keras.recipe import PRESETS
from birdplane_keras.reporting import markdown
from birdplane_keras.reporting.markdown import RESULTS_MARKS
from birdplane_keras.reporting.results import COLUMNS, render_results
from birdplane_keras.reporting.terminal import SENTENCES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
HOUSE = (ROOT / "docs" / "architecture" / "house.md").read_text()
LADDER = (ROOT / "docs" / "explanation" / "ladder.md").read_text()
READER = (ROOT / "docs" / "start" / "reader.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package():
    """Setuptools finds packages by their `__init__.py`; a folder without one would be left out in silence."""
    wanted = PROJECT["tool"]["setuptools"]["packages"]["find"]
    assert wanted == {"include": ["birdplane_keras*", "torch_reference*"], "namespaces": False}
    folders = {
        path.parent for package in ("birdplane_keras", "torch_reference") for path in (ROOT / package).rglob("*.py")
    }
    assert len(folders) > 10
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_dependency_is_pinned_in_the_constraints():
    def normal(name):
        return re.split(r"[\[<>=; ]", name)[0].lower().replace("_", "-")

    pinned = {normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    needed = {normal(entry) for group in groups for entry in group}
    assert needed - {"birdplane-keras"} <= pinned


def test_the_base_install_brings_nothing_that_is_optional():
    """Neither does anything that it brings: the closure of what the installed packages require."""
    optional = {"onnx", "onnxruntime", "onnxscript", "tensorboard", "playwright", "selenium", "pandas", "tensorflow"}
    brought, open_ = set(), list(PROJECT["project"]["dependencies"])
    while open_:
        requirement = Requirement(open_.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name not in brought:
            brought.add(name)
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of another platform's
                open_ += importlib.metadata.requires(name) or []
    assert {"torch", "numpy", "protobuf"} <= brought  # control: what others bring was seen
    assert not brought & optional


def test_the_gate_runs_the_readmes_two_commands():
    block = re.search(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE).group(1).splitlines()
    assert block == [
        "pip install -c constraints.txt -e . && python scripts/compare.py",
        "pip install -c constraints.txt -e '.[test]' && pytest",
    ]
    assert "'/^```bash$/,/^```$/" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_fits_a_screen_or_two():
    assert len(README.splitlines()) <= 130


def test_the_numbers_of_the_readme_lie_between_marks():
    """A command wrote them. What the text itself says in figures is of the demonstration, and of versions."""
    marks = [pair for name, pair in vars(markdown).items() if name.endswith("_MARKS")]
    text = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    for begin, end in marks:
        before, _, rest = text.partition(begin)
        text = before + rest.partition(end)[2] if rest else before
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", text)
    assert {figure.rstrip(".") for figure in re.findall(r"\d[\d.]*", text)} <= {"3", "100", "10", "3.11", "7", "2.0"}


def test_every_file_of_the_house_exists():
    tree = re.search(r"^```\n(torch_reference/.*?)^```", HOUSE, re.DOTALL | re.MULTILINE).group(1)
    folder = None
    for line in tree.splitlines():
        if named := re.match(r"(\w+)/ ", line):
            folder = ROOT / named.group(1)
            assert folder.is_dir()
        elif named := re.match(r"    (\w+(?:\.py|/)) ", line):
            assert (folder / named.group(1)).exists(), line


def test_the_house_lists_every_module_and_package():
    tree = re.search(r"^```\n(torch_reference/.*?)^```", HOUSE, re.DOTALL | re.MULTILINE).group(1)
    part = tree.partition("\nbirdplane_keras/")[2].partition("\nscripts/")[0]
    listed = set(re.findall(r"^    (\w+(?:\.py|/)) ", part, re.MULTILINE))
    there = {path.name if path.is_file() else f"{path.name}/" for path in (ROOT / "birdplane_keras").iterdir()}
    there = {name for name in there if name.endswith((".py", "/"))} - {"__init__.py", "__pycache__/"}
    assert there == listed


def test_the_pages_list_the_rungs_presets_and_verdicts():
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", LADDER, re.MULTILINE) == rung_names()
    assert all(f"`{name}`" in LADDER for name in SENTENCES)
    assert all(f"`{name}`" in README and f"`{name}`" in READER for name in PRESETS)


def test_what_was_published_is_of_presets_that_exist():
    assert set(PUBLISHED) <= set(PRESETS)
    assert describe_published("narrow") == "0.8225 article, 0.8210 book"
    assert describe_published("small") == ""


def test_the_results_table_was_written_by_the_command():
    table = READER.partition(RESULTS_MARKS.begin)[2].partition(RESULTS_MARKS.end)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert f"| {' | '.join(COLUMNS)} |" in table
    assert len(rows) == 2 * 2 * 2  # narrow and wide, two engines, two sides
    assert all(row.count("|") == len(COLUMNS) + 1 for row in rows)
    assert re.search(r"Measured \d{4}-\d\d-\d\d: 100 epochs, seed 0", table)


def report(preset="narrow", source="cifar-10"):
    side = {
        "parameter_count": 1_574_402,
        "train_accuracy": 0.9993,
        "validation_accuracy": 0.812,
    }
    return {
        "preset": preset, "data": source, "epochs": 3, "seed": 0, "engine": "stock", "churn": 1,
        "verdict": "rounding-only",
        "environment": {"device": "cpu", "threads": 2, "python": "3", "torch": "2", "keras": "3"},
        "torch": side, "keras": side,
    }  # fmt: skip


def test_the_table_shows_the_engine_and_the_verdict_of_a_comparison():
    table = render_results([report()], "2026-01-02")
    assert "| `narrow` | `stock` | Keras | 1,574,402 | 0.9993 | 0.8120 |" in table
    assert table.count("| 1 | **rounding-only** |") == 2


def test_rows_of_unequal_settings_are_not_printed_under_one_line(tmp_path):
    for name, epochs in (("a", 3), ("b", 4)):
        (tmp_path / name).write_text(json.dumps(report() | {"epochs": epochs}))
    (tmp_path / "README.md").write_text(f"{RESULTS_MARKS.begin}\nold\n{RESULTS_MARKS.end}")
    paths = [str(tmp_path / name) for name in ("a", "b", "README.md")]
    command = [sys.executable, "scripts/results.py", *paths[:2], "--tables", paths[2]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (result.returncode, "unequal" in result.stderr) == (2, True)


@pytest.mark.parametrize("unfit", [{"data": "synthetic"}, {"keras": {"validation_accuracy": None}}])
def test_the_results_of_a_stand_in_or_of_nothing_are_not_printed(tmp_path, unfit):
    (tmp_path / "report.json").write_text(json.dumps(report() | unfit))
    (tmp_path / "README.md").write_text(f"{RESULTS_MARKS.begin}\nold\n{RESULTS_MARKS.end}")
    command = [
        sys.executable,
        "scripts/results.py",
        str(tmp_path / "report.json"),
        "--tables",
        str(tmp_path / "README.md"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 2
    assert "expected trained runs on CIFAR-10" in result.stderr
    assert "old" in (tmp_path / "README.md").read_text()


def test_the_citation_and_the_changes_are_of_this_version():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version} - " in (ROOT / "CHANGELOG.md").read_text()


def test_the_packages_are_marked_as_typed():
    """Setuptools leaves a marker out that the package data do not name."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("birdplane_keras", "torch_reference"):
        assert (ROOT / package / "py.typed").exists()
        assert "py.typed" in data[package]
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_every_extra_is_documented():
    page = (ROOT / "docs" / "how-to" / "command-line.md").read_text()
    rows = {name for row in re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert rows == set(PROJECT["project"]["optional-dependencies"])
