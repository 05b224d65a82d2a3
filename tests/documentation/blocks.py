"""The blocks of code on the documentation's pages, and how to run them as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

from documentation.prose import ROOT

BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINKED = ("scripts", "examples", "docs", "birdplane_keras", "torch_reference", "constraints.txt")

# What a page calls "your own" is made here, and nothing else.
YOURS = """
import birdplane_keras
import keras, torch
import numpy as np
from birdplane_keras.torch_equivalents import Adam
x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
y = np.random.default_rng(1).integers(0, 2, 64)
module = torch.nn.Linear(8, 2)
start = keras.initializers.RandomUniform(-(8**-0.5), 8**-0.5)
head = keras.layers.Dense(2, kernel_initializer=start, bias_initializer=start)
model = keras.Sequential([keras.layers.Input((8,)), head])
model.compile(Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
"""
NAMED = """
import birdplane_keras
import keras, torch
module = torch.nn.Sequential()
module.add_module("head", torch.nn.Sequential())
module.head.add_module("fc", torch.nn.Linear(4, 2))
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="dense_3")])
"""
BEFORE = {"README.md": YOURS, "docs/how-to/weights.md": NAMED}
AFTER = {"README.md": "test_the_port_is_the_original()", "docs/how-to/ci.md": "test_the_port_is_the_original()"}

# Lines that take long, or that another proof runs as they stand.
ELSEWHERE = {
    "pip install -c constraints.txt -e . && python scripts/compare.py": "the gate",
    "pip install -c constraints.txt -e '.[test]' && pytest": "the gate",
    "python scripts/compare.py --preset wide": "test_end_to_end.py",
    "python scripts/compare.py --engine fused": "test_end_to_end_fused.py, for 20 epochs",
    "python scripts/reproduce.py": "test_reproduction.py, in part; it wrote the table of the README",
    "birdplane shift --preset narrow shifted convolution --seed 1": "test_article_commands.py; it drew the figure",
    "python -m torch_reference --preset narrow": "test_reference_data.py, for fewer epochs",
    "birdplane train --preset narrow": "test_train.py, for fewer epochs",
    "birdplane show 0": "test_article_commands.py; it trains narrow first",
}


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Returns the language and the text of each block that is to be run, in order."""
    return BLOCK.findall((ROOT / page).read_text())


def lines_of(block: str) -> list[str]:
    """Returns the commands of a block of shell, without remarks."""
    return [stripped for line in block.splitlines() if (stripped := re.sub(r"\s+#.*", "", line).strip())]


def program_of(page: str) -> str:
    """Returns the Python blocks of a page as one program."""
    blocks = [block for kind, block in blocks_of(page) if kind == "python"]
    return "\n".join([BEFORE.get(page, ""), *blocks, AFTER.get(page, "")]) if blocks else ""


def commands_of(page: str) -> list[str]:
    """Returns the commands of a page."""
    return [line for kind, block in blocks_of(page) if kind == "bash" for line in lines_of(block)]


def prepare(folder: Path) -> Path:
    """Links the project into a folder: where a reader would stand."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def write_own_pair(folder: Path) -> None:
    """Writes `mine.pairs` of the porter's first page, as it is once the mistake is fixed."""
    (folder / "mine").mkdir()
    program = program_of("docs/start/porter.md").partition("report = ")[0]
    right = program.replace("keras.layers.LeakyReLU()", "keras.layers.LeakyReLU(0.01)")
    (folder / "mine" / "pairs.py").write_text(right)


def run(command: str | list[str], folder: Path, data_dir: Path, **more: str) -> subprocess.CompletedProcess:
    """Runs a command in a folder, with its own cache of data sets."""
    environment = {
        **os.environ,
        "BIRDPLANE_DATA": str(data_dir),
        "TFDS_DATA_DIR": str(folder / "tfds"),
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **more,
    }
    shell = isinstance(command, str)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, shell=shell
    )
