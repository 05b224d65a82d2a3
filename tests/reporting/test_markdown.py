"""Tables go into documents between their marks; a document without them ends a command before it measures."""

import pytest

from birdplane_keras import cli
from birdplane_keras.benchmark.cli import main as benchmark
from birdplane_keras.errors import RequestError
from birdplane_keras.reporting.markdown import Marks, check_documents, table_lines, write_tables
from birdplane_keras.reproduction.cli import main as reproduce

FIRST, SECOND = Marks("<!-- first -->", "<!-- end of it -->"), Marks("<!-- second -->", "<!-- end -->")
COMMANDS = {
    "faults": cli.faults,
    "hunt": cli.hunt,
    "mutants": cli.mutants,
    "peers": cli.peers,
    "zoo": cli.zoo,
    "benchmark": benchmark,
    "benchmark of networks": lambda argv: benchmark(["--networks", *argv]),
    "reproduce": reproduce,
}


def test_a_table_has_a_line_of_dashes():
    assert table_lines(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]


def test_a_table_replaces_the_old_one_and_nothing_else(tmp_path):
    document = tmp_path / "a.md"
    document.write_text(f"before\n{FIRST.begin}\nold\n{FIRST.end}\nafter")
    write_tables([document], {FIRST: "NEW", SECOND: "MORE"})
    once = document.read_text()
    assert once == f"before\n{FIRST.begin}\n\nNEW\n\n{FIRST.end}\nafter"
    write_tables([document], {FIRST: "NEW"})
    assert document.read_text() == once


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "a document to rewrite"),
        (b"no marks", "in .*received a document without it"),
        (FIRST.begin.encode(), "received none"),
        (f"{FIRST.end} {FIRST.begin}".encode(), "received none"),
        (b"\xff\xfe\xff", "a document to rewrite"),
    ],
)
def test_a_document_without_a_place_is_left_alone(tmp_path, content, told):
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text(f"{FIRST.begin}\nold\n{FIRST.end}")
    if content is not None:
        bad.write_bytes(content)
    check_documents([good], FIRST)
    for use in (lambda: check_documents([good, bad], FIRST), lambda: write_tables([good, bad], {FIRST: "NEW"})):
        with pytest.raises(RequestError, match=told):
            use()
    assert "old" in good.read_text()
    assert content is None or bad.read_bytes() == content


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_command_says_so_before_it_begins(command, exists, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    document = tmp_path / "plain.md"
    if exists:
        document.write_text("no marks\n")
    assert command(["--tables", str(document)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ("expected the mark" if exists else "plain.md") in line
    assert not exists or document.read_text() == "no marks\n"
