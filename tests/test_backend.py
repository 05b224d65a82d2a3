"""The package chooses the torch backend, and says so where it is too late."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import birdplane_keras

ROOT = Path(__file__).parent.parent
# Keras' other backends need packages of their own; what matters is what the loaded module says of itself.
OTHER_BACKEND = (
    "import sys, types; sys.modules['keras'] = keras = types.ModuleType('keras')\n"
    "keras.config = types.SimpleNamespace(backend=lambda: 'jax')\n"
)


def python(program: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=clean | environment,
    )


def test_keras_runs_on_torch_once_the_package_is_imported():
    result = python("import birdplane_keras, keras; print(keras.config.backend())")
    assert result.stdout.strip() == "torch"
    assert "Warning" not in result.stderr


@pytest.mark.slow
def test_a_backend_set_in_the_environment_is_overruled_with_a_warning():
    result = python("import birdplane_keras, keras; print(keras.config.backend())", KERAS_BACKEND="numpy")
    assert result.stdout.strip() == "torch"
    assert "KERAS_BACKEND=numpy is set; birdplane_keras needs torch" in result.stderr


def test_keras_imported_first_without_tensorflow_can_be_imported_after_the_package():
    """Keras itself says no more than that TensorFlow is missing; the documentation says what to do."""
    program = (
        "try:\n    import keras\nexcept ImportError:\n    import birdplane_keras, keras\nprint(keras.config.backend())"
    )
    assert python(program, KERAS_BACKEND="tensorflow").stdout.strip() in ("torch", "tensorflow")
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
    assert "No module named 'tensorflow'" in page


def test_keras_loaded_with_another_backend_is_an_error_that_says_how_to_fix_it():
    result = python(OTHER_BACKEND + "import birdplane_keras")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "already loaded with 'jax'" in last
    assert "import birdplane_keras before keras, or set KERAS_BACKEND=torch" in last


def test_the_script_turns_that_into_one_line_and_exit_status_2():
    result = python(OTHER_BACKEND + "import runpy; runpy.run_path('scripts/compare.py', run_name='__main__')")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "already loaded with 'jax'" in result.stderr


def test_public_names_load_when_they_are_used():
    assert all(callable(getattr(birdplane_keras, name)) for name in ("load_data", "build_model", "train", "Recipe"))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = birdplane_keras.nothing
