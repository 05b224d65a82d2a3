"""The guided reading of the article, in both languages: what it names exists, and what it says was measured."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from birdplane_keras import cli
from birdplane_keras.recipe import PRESETS
from birdplane_keras.reporting.presets import load_expected

ROOT = Path(__file__).parent.parent
DOCUMENTS = {name: (ROOT / "docs" / name).read_text() for name in ("article.md", "article.ko.md")}
NAME = re.compile(r"`((?:torch_reference|birdplane_keras)(?:\.\w+)+)`")
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    return [line for block in BLOCK.findall(text) for line in block.splitlines()]


def resolve(dotted: str):
    """Returns what a dotted name stands for: the longest part of it that is a module, then attributes."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AttributeError(dotted)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_function_that_is_named_exists_and_both_programs_are_shown(document):
    names = NAME.findall(DOCUMENTS[document])
    assert len(set(names)) >= 25
    for name in names:
        resolve(name)
    with pytest.raises(AttributeError):
        resolve("torch_reference.data.no_such_function")


def test_both_languages_name_the_same_functions_commands_and_outputs():
    english, korean = DOCUMENTS.values()
    assert NAME.findall(english) == NAME.findall(korean)
    assert commands(english) == commands(korean)
    fences = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
    outputs = [[block for kind, block in fences.findall(text) if not kind] for text in (english, korean)]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) >= 8
    assert english.count("\n## ") == korean.count("\n## ")
    assert re.search("[가-힣]", korean)


def test_every_command_is_one_that_the_programs_take(monkeypatch):
    """Each is given to the parser of its door; an unknown flag or a preset that is not there would stop it."""
    from torch_reference.__main__ import build_parser

    parsed = []
    monkeypatch.setattr(cli, "run", lambda parser, argv: parsed.append(parser.parse_args(argv)))
    doors = {
        "birdplane": cli.main,
        "python scripts/compare.py": cli.compare,
        "python -m torch_reference": lambda argv: parsed.append(build_parser().parse_args(argv)),
    }
    lines = commands(DOCUMENTS["article.md"])
    for line in lines:
        if line == "python scripts/reproduce.py":
            continue
        door = next(door for door in doors if line.startswith(door))
        doors[door](shlex.split(line.removeprefix(door)))
    assert len(parsed) == len(lines) - 1 >= 10
    named = [getattr(each, "preset", "narrow") for each in parsed]
    named = {name for each in named for name in ([each] if isinstance(each, str) else each)}
    assert named == set(PRESETS) - {"small"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_accuracies_are_those_that_were_measured(document):
    text = DOCUMENTS[document]
    assert "@@" not in text
    presets = load_expected()["presets"]
    for name in ("narrow", "wide", "softmax-mse", "per-sample", "shifted", "convolution"):
        assert f"{presets[name]['torch']['validation_accuracy']:.4f}" in text, name
    assert presets["wide"]["torch"]["weights_sha256"][:12] in text
    for preset in ("narrow", "wide"):
        seeds = presets[preset]["seeds"].values()
        for accuracy in (min(seeds), max(seeds)):
            assert f"{accuracy:.4f}" in text
