"""The pages of causes: each has the source of a planted mistake as it stands, and what the judge prints of it."""

import random
import re

import pytest

from birdplane_keras.catalogue.records import source_of
from birdplane_keras.catalogue.registry import FAULTS
from birdplane_keras.commands.faults import example_of, write_causes
from birdplane_keras.errors import RequestError
from birdplane_keras.parity import check_parity
from birdplane_keras.reporting.cause_pages import render_contents
from birdplane_keras.reporting.markdown import CAUSES_MARKS, EXAMPLE_MARKS
from documentation.prose import ROOT

FOLDER = ROOT / "docs" / "causes"
BY_NAME = {fault.name: fault for fault in FAULTS}
CAUSES = sorted({fault.cause for fault in FAULTS})
JUDGED = 8  # pages whose example is judged again
HEAD = re.compile(
    r"## An example\n\n(.*) The pair is `(\w+)` in `(.*)`:\n\n```\{code-block\} python\n(.*?)```", re.DOTALL
)


def example_on(page):
    """Returns the mistake, the name, the file, the source and the printed lines of a page's example."""
    text = (FOLDER / f"{page}.md").read_text().partition(EXAMPLE_MARKS.begin)[2].partition(EXAMPLE_MARKS.end)[0]
    (printed,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    return *HEAD.search(text).groups(), printed.splitlines()


@pytest.mark.parametrize("cause", CAUSES)
def test_the_source_on_a_page_is_the_one_that_is_judged(cause):
    mistake, name, file, source, printed = example_on(cause)
    fault = BY_NAME[name]
    assert (fault.cause, fault.mistake) == (cause, mistake)
    path, text = source_of(fault)
    assert (path, text.strip()) == (ROOT / file, source.strip())
    assert any(line.startswith(f"Cause: {cause}.") for line in printed)


def test_the_contents_list_every_cause():
    rungs = {cause: [fault.rung for fault in FAULTS if fault.cause == cause] for cause in CAUSES}
    written = (FOLDER / "index.md").read_text().partition(CAUSES_MARKS.begin)[2].partition(CAUSES_MARKS.end)[0]
    assert written.strip() == render_contents(FOLDER, rungs)


@pytest.mark.slow
@pytest.mark.parametrize("cause", random.Random(0).sample(CAUSES, JUDGED))
def test_what_a_page_prints_is_what_the_judge_says(cause):
    """Numbers aside: another machine rounds otherwise, and Keras counts the layers of a process."""
    *_, printed = example_on(cause)
    told = without_numbers(str(check_parity(BY_NAME[example_on(cause)[1]].make(0))))
    for line in printed:
        assert without_numbers(line.removesuffix(" …"))[:150] in told, line


def without_numbers(text):
    return re.sub(r"_?\d[\d.e-]*", "#", re.sub(r"(\b[a-z]\w*?)_\d+\b", r"\1", text))


def page_in(folder, name, marks):
    (folder / f"{name}.md").write_text(f"# A heading\n\n{marks.begin}\nold\n{marks.end}\n\nThe end\n")


@pytest.mark.slow
def test_the_command_writes_the_pages(tmp_path, monkeypatch):
    faults = [BY_NAME["tanh_for_relu"], BY_NAME["momentum_missing"]]
    monkeypatch.setattr("birdplane_keras.catalogue.registry.FAULTS", faults)
    page_in(tmp_path, "index", CAUSES_MARKS)
    page_in(tmp_path, "activation", EXAMPLE_MARKS)
    with pytest.raises(RequestError, match=r"momentum\.md"):  # before any is judged
        write_causes(tmp_path)
    page_in(tmp_path, "momentum", EXAMPLE_MARKS)
    assert write_causes(tmp_path) == 0
    for cause in ("activation", "momentum"):
        text = (tmp_path / f"{cause}.md").read_text()
        assert f"Cause: {cause}." in text
        assert text.endswith(f"{EXAMPLE_MARKS.end}\n\nThe end\n")
    assert "| [`momentum`](momentum.md) | A heading | `optimizer_state` |" in (tmp_path / "index.md").read_text()


@pytest.mark.slow
def test_an_example_that_is_called_otherwise_is_not_written():
    with pytest.raises(ValueError, match="momentum"):
        example_of("momentum", [BY_NAME["tanh_for_relu"]])
