"""Who may import what. The rules keep the original readable alone, the judge fair, and `--help` quick."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PORT, ORIGINAL = ROOT / "birdplane_keras", ROOT / "torch_reference"
JUDGE = PORT / "parity"
CORE = JUDGE / "core"  # the only part of it that touches no framework
RESULT, EXPLANATION = CORE / "result.py", PORT / "torch_plugin" / "explanation.py"
DRAWING = ("notebook", "notebook_figures", "inline_figure")  # of `reporting`: what these two import when they are shown
JUDGES_CORE = sorted(
    ".".join(path.relative_to(PORT).with_suffix("").parts).removesuffix(".__init__") for path in CORE.rglob("*.py")
)


def imported(path: Path) -> set[str]:
    """Returns every module that a file imports, anywhere in it."""
    return imported_in(path, ast.walk(ast.parse(path.read_text())))


def imported_at_once(path: Path) -> set[str]:
    """Returns every module that a file imports when it is loaded itself: not in a function or for type checkers."""
    return imported_in(path, ast.parse(path.read_text()).body)


def imported_in(path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours_but_for_drawing(path: Path) -> set[str]:
    """Returns what of the project a file imports, without what may draw a result or an explanation when asked to."""
    names = {name for name in imported(path) if name.startswith("birdplane_keras.")}
    if path not in (RESULT, EXPLANATION):
        return names
    assert not any(name.startswith("birdplane_keras.reporting") for name in imported_at_once(path))
    drawing = tuple(f"birdplane_keras.reporting.{module}" for module in DRAWING)
    return {name for name in names if not name.startswith(drawing)}


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", files(ORIGINAL), ids=lambda path: path.name)
def test_the_original_imports_torch_torchvision_numpy_and_the_standard_library(path):
    allowed = {"torch", "torchvision", "numpy", "torch_reference"} | set(sys.stdlib_module_names)
    assert packages(path) <= allowed


@pytest.mark.parametrize("path", files(PORT), ids=lambda path: str(path.relative_to(PORT)))
def test_the_sides_meet_in_the_comparison_and_the_benchmark_only(path):
    if path.parent.name not in (
        "flagship",
        "benchmark",
        "zoo",
    ):  # which take its torchvision beside a torch without CUDA
        assert "torch_reference" not in packages(path)


@pytest.mark.parametrize("path", files(JUDGE), ids=lambda path: str(path.relative_to(JUDGE)))
def test_the_judge_imports_neither_a_side_nor_the_plugin(path):
    allowed = tuple(
        f"birdplane_keras.{name}" for name in ("parity", "errors", "keras_warnings", "torch_equivalents", "user_code")
    )
    assert all(name.startswith(allowed) for name in ours_but_for_drawing(path))


@pytest.mark.parametrize("path", files(PORT / "torch_equivalents"), ids=lambda path: path.name)
def test_the_equivalents_stand_alone(path):
    assert {name for name in imported(path) if name.startswith("birdplane_keras")} <= {
        name for name in imported(path) if name.startswith("birdplane_keras.torch_equivalents")
    }


@pytest.mark.parametrize("path", files(JUDGE), ids=lambda path: str(path.relative_to(JUDGE)))
def test_what_the_frameworks_do_not_publish_is_imported_in_one_module_each(path):
    private = {name for name in imported(path) if name.startswith(("keras.src", "torch._")) or "._" in name}
    assert not private or path.name in ("private_keras.py", "private_torch.py")


@pytest.mark.parametrize("path", files(CORE), ids=lambda path: path.name)
def test_the_judges_core_sees_numpy_only(path):
    allowed = {"numpy", "birdplane_keras"} | set(sys.stdlib_module_names)
    assert packages(path) <= allowed
    ours = ours_but_for_drawing(path)
    assert all(name.startswith(("birdplane_keras.parity.core", "birdplane_keras.errors")) for name in ours)


def test_the_ladder_and_what_climbs_it_are_in_the_core():
    assert {"parity.core.rungs", "parity.core.judge", "parity.core.trajectory"} <= set(JUDGES_CORE)


@pytest.mark.parametrize("path", [PORT / "evaluation.py", *files(PORT / "reporting")], ids=lambda path: path.name)
def test_evaluation_and_reporting_import_no_framework(path):
    assert not packages(path) & {"keras", "torch", "torchvision", "torch_reference"}


@pytest.mark.parametrize(
    ("package", "owners"),
    [
        ("tensorflow_datasets", {"builder.py", "dataframe.py", "loader.py"}),
        ("matplotlib", {"figures.py", "inline_figure.py", "notebook_figures.py"}),
        ("torchvision", {"networks.py"}),
        ("jinja2", {"model_card.py", "render.py"}),
        ("onnxruntime", {"onnx_graph.py"}),
        ("safetensors", {"state_dict.py"}),
        ("tensorflow", set()),
    ],
)
def test_a_heavy_import_has_one_owner(package, owners):
    assert {path.name for path in files(PORT) if package in packages(path)} == owners


@pytest.mark.parametrize("path", files(PORT / "torch_plugin"), ids=lambda path: path.name)
def test_the_plugin_stands_alone(path):
    allowed = tuple(f"birdplane_keras.{name}" for name in ("torch_plugin", "torch_equivalents", "errors", "user_code"))
    assert all(name.startswith(allowed) for name in ours_but_for_drawing(path))


def test_no_file_is_over_300_lines_or_named_for_nothing():
    ours = [path for folder in (PORT, ORIGINAL, ROOT / "scripts", ROOT / "tests") for path in files(folder)]
    assert [path.name for path in ours if len(path.read_text().splitlines()) > 300] == []
    assert not {path.name for path in ours} & {"utils.py", "common.py", "helpers.py", "misc.py"}


def test_the_rules_would_notice(tmp_path):
    """Negative control of this file's own reader."""
    guilty = tmp_path / "guilty.py"
    guilty.write_text("import jinja2\ndef f():\n    from keras.layers import Dense\n    import torch.nn as nn\n")
    assert packages(guilty) == {"jinja2", "keras", "torch"}
    assert imported_at_once(guilty) == {"jinja2"}


def loaded_by(program: str, *, folder: Path = ROOT) -> set[str]:
    """Returns the modules that a new interpreter has loaded after a program, with only `folder` added to its path."""
    report = "\nimport sys; print('LOADED', *sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", program + report],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert result.returncode == 0, result.stderr
    return set(next(line for line in result.stdout.splitlines() if line.startswith("LOADED")).split()[1:])


def test_the_original_alone_on_the_path_loads_no_keras_tensorflow_or_port(tmp_path):
    (tmp_path / "torch_reference").symlink_to(ORIGINAL)
    modules = "data, model, recipe, training, __main__"
    loaded = loaded_by(f"from torch_reference import {modules}", folder=tmp_path)
    assert "torchvision" in loaded
    assert not {name.split(".")[0] for name in loaded} & {"keras", "tensorflow", "birdplane_keras"}


@pytest.mark.parametrize(
    "door", ["compare(['--help'])", "main(['--help'])", "main(['shift', '--help'])", "main(['predict', '--help'])"]
)
def test_help_loads_nothing_heavy(door):
    loaded = loaded_by(f"from birdplane_keras.cli import compare, main\ntry: {door}\nexcept SystemExit: pass")
    heavy = {"keras", "torch", "torchvision", "tensorflow_datasets", "matplotlib", "sklearn", "numpy", "rich"}
    assert not loaded & heavy


def test_evaluation_and_reporting_load_no_framework():
    loaded = loaded_by("import birdplane_keras.evaluation\nfrom birdplane_keras.reporting import figures, terminal")
    assert not loaded & {"keras", "torch", "matplotlib"}


@pytest.mark.slow
def test_the_judge_loads_no_plugin_even_at_work():
    judged = """
import birdplane_keras.parity
from birdplane_keras.catalogue.networks import vector_pair
assert birdplane_keras.parity.check_parity(vector_pair(0), steps=3).verdict != "diverged"
"""
    loaded = loaded_by(judged)
    assert "birdplane_keras.parity.sides.keras_run" in loaded
    assert not [name for name in loaded if name.startswith("birdplane_keras.torch_plugin")]


def test_the_judges_core_loads_no_framework_and_nothing_that_draws():
    modules = ", ".join(f"birdplane_keras.{name}" for name in JUDGES_CORE)
    loaded = loaded_by(f"import {modules}")
    assert not loaded & {"keras", "torch", "jinja2", "matplotlib"}
    assert not any(name.startswith("birdplane_keras.reporting") for name in loaded)
