"""The workflows that the README and the documentation show, run in another repository as GitHub would run them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from documentation.blocks import run, write_own_pair
from documentation.prose import ROOT

PAGES = ["README.md", "docs/how-to/ci.md"]
CONDITION = "always() && hashFiles('parity/report.md') != ''"
CLONE = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "birdplane_keras", "torch_reference")


def steps_of(page: str) -> list[dict]:
    """Returns the steps of a page's workflow."""
    import yaml

    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    content = yaml.safe_load(block)
    return content if isinstance(content, list) else content["jobs"]["judge"]["steps"]


def carry_out(steps: list[dict], folder: Path, data_dir: Path, **more: str) -> tuple[int, str]:
    """Carries out the steps that run something; returns the exit status of the first that failed, and the summary."""
    summary, status, printed = folder / "summary.md", 0, ""
    for step in steps:
        condition = step.get("if", "success()")
        assert condition in ("success()", "always()", CONDITION), condition
        due = status == 0 if condition == "success()" else condition == "always()" or report_of(folder).exists()
        if "run" in step and due:
            done = run(step["run"], folder, data_dir, GITHUB_STEP_SUMMARY=str(summary), **more)
            status, printed = status or done.returncode, printed + done.stdout + done.stderr
    assert summary.exists() or not report_of(folder).exists(), printed
    return status, summary.read_text() if summary.exists() else printed


def report_of(folder: Path) -> Path:
    return folder / "parity" / "report.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Another repository with a clone of this one, installed from its path: (where the clone is, how to find it)."""
    repository = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    clone = repository / "vendor" / "birdplane-keras"
    clone.mkdir(parents=True)
    for name in CLONE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name)
    site = repository.parent / "site"
    (step,) = [each["run"] for each in steps_of(PAGES[1]) if each.get("run", "").startswith("pip ")]
    # The requirements are in this environment; the package itself is installed into a folder that comes before it.
    alone = ["--no-deps", "--quiet", "--target", str(site)]
    done = run([sys.executable, "-m", *step.split(), *alone], repository, repository)
    assert done.returncode == 0, done.stdout + done.stderr
    return repository, {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("right", [True, False, None], ids=["right", "diverged", "unusable"])
def test_the_summary_has_the_verdict(page, right, installed, data_dir):
    folder, found_by = installed
    for name in ("mine", "parity"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "summary.md").unlink(missing_ok=True)
    write_own_pair(folder)
    pairs = folder / "mine" / "pairs.py"
    if right is not True:
        changed = pairs.read_text().replace("LeakyReLU(0.01)", "LeakyReLU(0.3)" if right is False else "LeakyReLu()")
        assert changed != pairs.read_text()
        pairs.write_text(changed)
    steps = [step for step in steps_of(page) if not step.get("run", "").startswith("pip ")]
    status, told = carry_out(steps, folder, data_dir, **found_by)
    if right is None:
        assert status == 2
        assert "mine/pairs.py:" in told
        assert not report_of(folder).exists()
    else:
        assert status == (0 if right else 1)
        assert ("rounding-only" in told or "bit-exact" in told) if right else "LeakyReLU(negative_slope=0.01)" in told


@pytest.mark.slow
def test_the_package_that_runs_is_the_installed_one(installed):
    folder, found_by = installed
    where = run(
        [sys.executable, "-c", "import birdplane_keras; print(birdplane_keras.__file__)"], folder, folder, **found_by
    )
    assert where.stdout.startswith(found_by["PYTHONPATH"]), where.stdout + where.stderr
