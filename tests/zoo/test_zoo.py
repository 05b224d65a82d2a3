"""Pairs of other people's models. `scripts/zoo.py` judges all of them; docs/zoo.md has what it found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from birdplane_keras.commands.zoo import add_arguments
from birdplane_keras.zoo.judging import Row
from birdplane_keras.zoo.telling import render, summary

ROOT = Path(__file__).parents[2]
FINDING = {
    "cause": "epsilon",
    "proved": True,
    "text": "epsilon is 1e-12 in one, 1e-5 in the other",
    "port": "native_layer_norm(eps=1e-12)",
    "reference": "native_layer_norm(eps=1e-5)",
}


def needs_the_libraries():
    from torch_reference.torchvision_on_cpu import import_torchvision

    import_torchvision()
    for library in ("keras_hub", "transformers", "timm"):
        pytest.importorskip(library)


def test_the_document_tells_what_was_found():
    rows = [
        Row(name="same", torch="a 1", keras="b 2", weights=3, shipped="rounding-only"),
        Row(name="other", shipped="diverged", differs=[FINDING], advice="eps=1e-5", advised="rounding-only", lines=1),
        Row(name="doubtful", shipped="diverged", differs=[FINDING | {"proved": False}]),
        Row(name="broken", error="ValueError: no"),
    ]
    assert [row.settled for row in rows] == [True, True, False, False]
    text = render(rows, "2026-01-01")
    assert "4 pairs" in text
    assert "2 are matched without a mapping" in text
    assert "2 are the same in the end, or what differs is proved" in text
    assert "| same | a 1 | b 2 | 3 | by use | **rounding-only** |" in text
    assert "epsilon (not proved)" in text
    assert "- port: `native_layer_norm(eps=1e-12)`" in text


def test_the_summary_has_the_rows_that_it_shows():
    rows = [Row(name="gpt2", torch="a 1", keras="b 2", shipped="rounding-only"), Row(name="other", shipped="diverged")]
    text = summary(rows)
    assert text.startswith("| reference | port | mapping |")
    assert "| a 1 | b 2 | by use | **rounding-only** |  |  |" in text
    assert "diverged" not in text


@pytest.mark.slow
def test_a_wrong_name_is_one_line():
    done = subprocess.run(
        [sys.executable, "scripts/zoo.py", "--only", "no_such_pair"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert add_arguments.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "gpt2", "gemma", "bart", "clip", "vit_timm", "mnist_network"])
def test_a_pair_is_the_same_in_the_end_or_what_differs_is_proved(name):
    needs_the_libraries()
    from birdplane_keras.parity.core.judge import MATCHES
    from birdplane_keras.zoo.judging import judge_pair
    from birdplane_keras.zoo.registry import load

    row = judge_pair(load()[name])
    assert not row.error
    assert row.settled
    assert (row.advised or row.shipped) in MATCHES
    assert row.lines == 0


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_a_bert_is_right_in_every_precision_and_another_epsilon_is_not(policy):
    needs_the_libraries()
    from keras_hub.models import BertBackbone

    from birdplane_keras.parity import check_forward
    from birdplane_keras.parity.core.judge import MATCHES
    from birdplane_keras.zoo.registry import load

    arguments = dict(load()["bert"].make(True))  # with the gelu that the port has
    if not policy.startswith("mixed"):
        arguments["torch_module"] = arguments["torch_module"].to(getattr(torch, policy))
    settings = arguments["keras_model"].get_config() | {"dtype": policy}
    arguments["keras_model"] = BertBackbone(**{name: settings[name] for name in settings if name != "name"})
    assert check_forward(**arguments).verdict in MATCHES
    for module in arguments["torch_module"].modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 0.1
    wrong = check_forward(**arguments)
    assert [finding.cause for finding in wrong.diagnosis] == ["epsilon"]


@pytest.mark.slow
def test_the_example_of_the_document_is_short_and_runs(capfd):
    needs_the_libraries()
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "how-to" / "forward.md").read_text(), re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line]) <= 14
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT)
    assert "rounding-only" in done.stdout, done.stderr[-2000:]
