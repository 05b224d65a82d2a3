"""Plain, current English in what a person reads: short sentences, and none of the words that we dropped."""

import argparse
import importlib

import pytest

from birdplane_keras.cli import COMMANDS
from documentation.prose import MOST_WORDS, ROOT, faults_of, pages, said_by


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_short_sentences_and_current_words(page):
    assert faults_of(page.read_text()) == []


@pytest.mark.parametrize("folder", ["birdplane_keras", "torch_reference", "scripts", "examples"])
def test_docstrings_and_errors_have_short_sentences_and_current_words(folder):
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        said = said_by(path.read_text())
        found += [f"{path}:{line}: {fault}" for line, text in said for fault in faults_of(text)]
    assert found == []


def test_what_a_program_says_is_read():
    """Negative control."""
    told = [text for _, text in said_by('def f():\n    """Mend it."""\n    raise E(f"{x} is told") from warn("no")\n')]
    assert [len(faults_of(text)) for text in told] == [1, 1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_what_holds_where_an_option_is_left_out(name):
    module, declare, _ = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"birdplane {name}")
    getattr(importlib.import_module(f"birdplane_keras.commands.{module}"), declare)(parser)
    silent = (None, argparse.SUPPRESS, False, [], ())
    told = [a for a in parser._actions if a.option_strings and a.default not in silent]
    assert [a.option_strings for a in told if "default" not in a.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_short_sentences_and_current_words(name):
    module, declare, line = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"birdplane {name}")
    getattr(importlib.import_module(f"birdplane_keras.commands.{module}"), declare)(parser)
    helps = [action.help or "" for action in parser._actions]
    assert faults_of("\n\n".join([line, parser.epilog or "", *helps])) == []


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["word"] * (MOST_WORDS + 1)) + ".",
        "- An item that can be mended.",
        "He said it rightly.",
        f"Short. But {' '.join(['long'] * MOST_WORDS)}, so it goes on. Short.",
    ],
)
def test_a_fault_is_noticed(text):
    """Negative control."""
    assert len(faults_of(text)) == 1


def test_code_and_tables_do_not_count():
    long = " ".join(["word"] * (MOST_WORDS + 1))
    assert faults_of(f"```\n{long} mend\n```\n\n| {long} mend |\n\nUse `mend`.") == []
