"""The command asks every method about the catalogue, and writes tables that say what was asked."""

import json

import pytest

from birdplane_keras.cli import peers
from birdplane_keras.mutants.judging import judge_seed
from birdplane_keras.peers import judging
from birdplane_keras.peers.drawn import judge_drawn
from birdplane_keras.peers.judging import draw
from birdplane_keras.reporting.markdown import PEERS_LIMITS_MARKS, PEERS_MARKS
from birdplane_keras.reporting.peers import render_limits, render_peers, table_of

METHODS = [
    {"name": n, "title": f"check {n}", "compares": "all", "tells": "little", "limits": "many", "together": n == "a"}
    for n in "ab"
]


def entry(kind, *states, caught=True, named=True, error="", name="one"):
    methods = {n: {"state": state, "place": "", "text": ""} for n, state in zip("ab", states, strict=True)}
    ours = {} if error else {"caught": caught, "named": named}
    about = {"name": name, "kind": kind, "mistake": "A mistake.", "cause": "cause"}
    return {**about, "error": error, "methods": {} if error else methods, "ours": ours}


def content(*entries):
    return {
        "date": "2026-01-02",
        "environment": {"torch": "2.9", "keras": "3.14", "device": "cpu"},
        "catalogue": {"fault": 3, "clean": 1},
        "seed": 7,
        "methods": METHODS,
        "entries": list(entries),
    }


FOUND = content(
    entry("fault", "caught", "passed"),
    entry("fault", "passed", "not run", named=False, name="two"),
    entry("clean", "caught", "passed", caught=False, named=False, name="right"),
)


def test_the_table_counts_what_each_method_says():
    headings, rows = table_of(FOUND)
    assert headings == ["check", "caught of 2 mistakes", "cause named", "false alarms of 1"]
    assert rows[0] == ["check a", "1", "0", "1"]
    assert rows[1] == ["check b", "0 of 1", "0", "0"]
    assert rows[2] == ["any of the above, without the bits", "1", "0", "1"]
    assert rows[3][1:] == ["2", "1", "0"]


def test_what_was_left_out_is_said():
    bad = entry("fault", "caught", "caught", error="PairError: x", name="bad")
    text = render_peers(content(*FOUND["entries"], bad))
    assert "3 of 3 planted mistakes and 1 of 1 clean pairs; torch 2.9" in text
    assert "Not prepared: bad (PairError: x)." in text
    assert "check b was not run on two." in text
    assert "drawn with seed 7" in render_peers(FOUND)


def test_mutants_have_columns_of_their_own():
    found = content(*FOUND["entries"], entry("right", "passed", "passed"), entry("mutant", "passed", "caught"))
    headings, rows = table_of(found)
    assert headings[-2:] == ["caught of 1 mutants", "false alarms of their 1 right ports"]
    assert [row[-2:] for row in rows] == [["0", "0"], ["1", "0"], ["0", "0"], ["1", "1"]]
    assert "1 mutants of 1 pairs drawn with seed 7" in render_peers(found)


def test_a_second_table_has_the_limits():
    assert "| many |" in render_limits(FOUND)
    assert "| many |" not in render_peers(FOUND)


def test_a_draw_is_the_same_for_a_seed_and_keeps_the_order():
    assert draw(range(9), 4, 1) == draw(range(9), 4, 1) == sorted(draw(range(9), 4, 1))
    assert draw(range(9), None, 0) == draw(range(9), 12, 0) == list(range(9))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--only", "no_such_mistake"], "no_such_mistake"),
        (["--faults", "0"], "--faults of at least 1"),
        (["--mutants", "-1"], "--mutants of at least 0"),
        (["--judged", "missing.json"], "missing.json"),
    ],
)
def test_an_unusable_request_is_one_line_and_status_2(flags, told, capsys):
    assert peers(flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_documents_are_rewritten_between_the_marks(tmp_path, monkeypatch, capsys):
    short, both = tmp_path / "short.md", tmp_path / "both.md"
    old = [f"{begin}\nold\n{end}\n" for begin, end in (PEERS_MARKS, PEERS_LIMITS_MARKS)]
    short.write_text("before\n" + old[0])
    both.write_text(old[1] + "between\n" + old[0] + "after\n")
    monkeypatch.setattr(judging, "judge_entry", lambda each, judged: fake(each))
    arguments = ["--faults", "2", "--out", str(tmp_path / "out"), "--tables", str(short), str(both)]
    assert peers(arguments) == 0
    assert short.read_text().startswith("before\n" + PEERS_MARKS[0])
    assert [text.count("| check |") for text in (short.read_text(), both.read_text())] == [1, 2]
    assert both.read_text().count("| limits |") == 1  # a table of its own
    assert "old" not in short.read_text() + both.read_text()
    written = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert len(written["entries"]) == 4
    assert peers(["--judged", str(tmp_path / "out" / "peers.json"), "--faults", "2"]) == 0
    capsys.readouterr()


def fake(each):
    """An entry that all methods, and our judge, are right about."""
    from birdplane_keras.peers.registry import METHODS as REAL

    wrong = hasattr(each, "mistake")
    told = {m.name: {"state": "caught" if wrong else "passed", "place": "", "text": ""} for m in REAL}
    about = {"name": each.name, "kind": "fault" if wrong else "clean", "mistake": "", "cause": "", "error": ""}
    return {**about, "methods": told, "ours": {"caught": wrong, "named": wrong}}


def test_a_mistake_that_our_judge_misses_is_status_1(monkeypatch, capsys):
    blind = {"ours": {"caught": False, "named": False}}
    monkeypatch.setattr(judging, "judge_entry", lambda each, judged: fake(each) | blind)
    assert peers(["--faults", "1"]) == 1
    assert "our judge:" in capsys.readouterr().out


@pytest.mark.slow
def test_one_entry_is_asked_about_by_name(capsys):
    assert peers(["--only", "momentum_missing"]) == 0
    printed = capsys.readouterr().out
    assert "momentum_missing" in printed
    assert "caught" in printed


@pytest.mark.slow
def test_mutants_are_those_of_the_command_for_mutants():
    right, mutant = judge_drawn(5, 1, {})
    assert (right["kind"], right["ours"]["caught"], mutant["ours"]["caught"]) == ("right", False, True)
    assert mutant["mistake"] == judge_seed(5, 1)["outcomes"][0]["edit"]
    again = judge_drawn(5, 1, {each["name"]: each["ours"] for each in (right, mutant)})
    assert [each["methods"] for each in again] == [right["methods"], mutant["methods"]]
