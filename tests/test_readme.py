"""The README's code, run as it stands: every block, in order, in one folder."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MOST_LINES = 6  # of a block that shows a surface
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SURFACES = README.partition("## At home where you work")[2].partition("\n## ")[0]

# What a block calls "your own" is made here, and nothing else.
YOURS = """
import birdplane_keras
import keras, torch
import numpy as np
from examples.lenet import build_keras, build_torch
x = np.random.default_rng(0).normal(size=(128, 3, 32, 32)).astype(np.float32)
y = np.random.default_rng(1).integers(0, 2, 128)
module = build_torch(0)
model = build_keras(0, initialised=True, torch_adam=True)
"""
OTHERS = """
x = x.transpose(0, 2, 3, 1)
"""
NAMED = """
import birdplane_keras
import keras, torch
module = torch.nn.Sequential()
module.add_module("head", torch.nn.Sequential())
module.head.add_module("fc", torch.nn.Linear(4, 2))
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="dense_3")])
"""
BEFORE = {"check_parity(": YOURS, "keras_to_torch(": NAMED, "torch_plugin.attach(": YOURS + OTHERS}

# Lines that take long, or that another proof runs as they stand.
ELSEWHERE = {
    "pip install -c constraints.txt -e . && python scripts/compare.py": "the gate",
    "pip install -c constraints.txt -e '.[test]' && pytest": "the gate",
    "python scripts/compare.py --preset wide": "test_end_to_end.py",
    "python scripts/compare.py --engine fused": "test_end_to_end.py, for 20 epochs",
    "python scripts/reproduce.py": "test_reproduction.py, in part; it wrote the first table",
    "birdplane shift --preset narrow shifted convolution --seed 1": "test_article_commands.py; it drew the figure",
    "python -m torch_reference --preset narrow": "test_reference_data.py, for fewer epochs",
    "birdplane train --preset narrow": "test_train.py, for fewer epochs",
}


def lines_of(block):
    """Returns the commands of a block of shell, without remarks."""
    return [stripped for line in block.splitlines() if (stripped := re.sub(r"\s+#.*", "", line).strip())]


COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in lines_of(block)]


def test_a_surface_takes_at_most_six_lines():
    blocks = re.findall(r"^```\w+\n(.*?)^```", SURFACES, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    assert max(len(block.splitlines()) for block in blocks) <= MOST_LINES


def test_every_command_that_is_not_run_here_is_in_the_readme():
    assert set(ELSEWHERE) <= set(COMMANDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images):
    """Where a reader would stand: the project, a photograph and a folder of pictures."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("scripts", "examples", "docs", "birdplane_keras", "torch_reference", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pictures").mkdir()
    for index in range(3):
        Image.fromarray(images[1][0][index]).resize((200, 150)).save(folder / "pictures" / f"{index}.png")
    shutil.copy(folder / "pictures" / "0.png", folder / "photo.jpg")
    reports = os.environ.get("BIRDPLANE_GATE_REPORTS")  # what the gate has trained need not be trained again
    if reports:
        (folder / "runs").mkdir()
        shutil.copytree(Path(reports) / "narrow", folder / "runs" / "narrow")
    return folder


def run(command, folder, data_dir, **settings):
    environment = {
        **os.environ,
        "BIRDPLANE_DATA": str(data_dir),
        "TFDS_DATA_DIR": str(folder / "tfds"),
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, **settings)


@pytest.mark.slow
def test_every_block_runs_as_it_stands(folder, data_dir):
    """In order, since later blocks take what earlier ones have made."""
    ran = 0
    for kind, block in BLOCKS:
        if kind == "python":
            before = "".join(text for sign, text in BEFORE.items() if sign in block)
            done = run([sys.executable, "-c", before + block], folder, data_dir)
            assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
            ran += 1
            continue
        for line in lines_of(block):
            if line not in ELSEWHERE:
                done = run(line, folder, data_dir, shell=True)
                assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
                ran += 1
    assert ran >= 20
    assert (folder / "runs" / "first" / "model.onnx").exists()
    assert (folder / "runs" / "first" / "evaluation-validation" / "roc_curve.png").exists()


@pytest.mark.slow
def test_a_block_that_does_not_run_would_be_noticed(folder, data_dir):
    """Negative control."""
    assert (
        run([sys.executable, "-c", "import birdplane_keras; birdplane_keras.nothing"], folder, data_dir).returncode == 1
    )
    assert run(shlex.join(["birdplane", "fly"]), folder, data_dir, shell=True).returncode == 2
