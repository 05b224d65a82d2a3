"""The documentation's notebooks: what they show was shown by the code that is there, and is so today."""

import base64
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST_PICTURE = 100_000  # bytes
MACHINE = re.compile(r"/(home|root|tmp|work|usr|opt|Users)/|https?://(?!github\.com)")
KEPT = {
    "porting": ["diverged: ", "First broken rung: forward", "Cause: activation", "bit-exact or rounding-only"],
    "plugin": ["small is attached, engine exact", "train, (64, 20) float32, (64,) int64: exact", "bits that differ: 0"],
}


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def faults(notebook):
    """Returns what must not be in a notebook that is kept: an error, a warning, a path, a cell that was not run."""
    found = [f"{out['output_type']} {out.get('name', '')}" for out in outputs(notebook) if is_bad(out)]
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found += ["was not run in order"] * ([cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)))
    for out in outputs(notebook):
        picture = out.get("data", {}).get("image/png", "")
        found += ["a large picture"] * (len(base64.b64decode(picture)) > LARGEST_PICTURE)
        words = {kind: text for kind, text in out.get("data", {}).items() if kind != "image/png"}
        found += ["a path or an address"] * bool(MACHINE.search(json.dumps([words, out.get("text", "")])))
    return found


def is_bad(output):
    return output["output_type"] == "error" or output.get("name") == "stderr"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_kept_notebook_was_run_and_is_clean(path):
    notebook = json.loads(path.read_text())
    assert faults(notebook) == []
    kinds = {kind for out in outputs(notebook) for kind in out.get("data", ())}
    assert {"text/plain", "text/html", "image/png"} <= kinds


def test_the_faults_of_a_notebook_would_be_noticed():
    """Negative control."""
    shown = [
        {"output_type": "stream", "name": "stderr", "text": "a warning in /tmp/somewhere"},
        {"output_type": "error", "ename": "E", "evalue": ""},
        {"output_type": "display_data", "data": {"image/png": base64.b64encode(bytes(LARGEST_PICTURE + 1)).decode()}},
    ]
    notebook = {"cells": [{"cell_type": "code", "execution_count": None, "outputs": shown}]}
    assert faults(notebook) == [
        "stream stderr",
        "error ",
        "was not run in order",
        "a path or an address",
        "a large picture",
    ]


def made_of(folder, source, text=""):
    """Returns the path of a new notebook of one cell, that once showed a text."""
    import nbformat
    from nbformat import v4

    shown = [v4.new_output("stream", name="stdout", text=text)] if text else []
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source, execution_count=1, outputs=shown)])
    nbformat.write(notebook, folder / "made.ipynb")
    return folder / "made.ipynb"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_run_again_says_what_it_said(path):
    from birdplane_keras.notebooks import execute, kept_lines, read

    before = kept_lines(read(path))
    for line in KEPT[path.stem]:
        assert line in before
    again = execute(path)
    assert kept_lines(again) == before
    assert not [out for out in again.cells if any(map(is_bad, out.get("outputs", ())))]


@pytest.mark.slow
def test_a_cell_that_fails_is_noticed(tmp_path):
    """Negative control."""
    from nbclient.exceptions import CellExecutionError

    from birdplane_keras.notebooks import execute

    with pytest.raises(CellExecutionError, match="no such port"):
        execute(made_of(tmp_path, "raise ValueError('no such port')"))


@pytest.mark.slow
def test_a_verdict_that_has_changed_is_noticed(tmp_path):
    """Negative control."""
    from birdplane_keras.notebooks import execute, kept_lines, read

    path = made_of(tmp_path, "print('diverged: the sides are not the same.')", text="bit-exact: the sides agree.")
    assert (kept_lines(read(path)), kept_lines(execute(path))) == (["bit-exact or rounding-only"], ["diverged: "])


@pytest.mark.slow
def test_the_script_writes_what_cells_show_and_nothing_where_one_fails(tmp_path):
    import subprocess
    import sys

    command = [sys.executable, str(FOLDER.parent.parent / "scripts" / "notebooks.py")]
    path = made_of(tmp_path, "print('six'.upper())")
    assert subprocess.run([*command, str(path)], timeout=300).returncode == 0
    (shown,) = outputs(json.loads(path.read_text()))
    assert shown["text"] == ["SIX\n"]
    before = made_of(tmp_path, "1 / 0").read_text()
    failed = subprocess.run([*command, str(path)], timeout=300, capture_output=True, text=True)
    assert (failed.returncode, "ZeroDivisionError" in failed.stderr) == (1, True)
    assert path.read_text() == before
    path.write_text("no notebook")
    assert subprocess.run([*command, str(path)], timeout=300).returncode == 2
