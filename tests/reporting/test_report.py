"""Numbers, pictures and files of a comparison."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from birdplane_keras.evaluation import evaluate_logits, report_text
from birdplane_keras.parity.core.disk import plain, sha256_of, write_atomically, write_json
from birdplane_keras.parity.core.samples import WeightSamples
from birdplane_keras.reporting import figures
from birdplane_keras.reporting.terminal import print_report

LOGITS = np.float32([[2, 1], [0, 1], [1, 0], [3, 2]])
LABELS = np.array([0, 1, 1, 0])


def test_scikit_learns_numbers_have_the_true_class_in_the_row():
    scores = evaluate_logits(LOGITS, LABELS)
    assert scores["accuracy"] == 0.75
    assert scores["confusion_matrix"] == [[2, 0], [1, 1]]
    assert scores["classification_report"]["bird"]["recall"] == 0.5
    assert "airplane" in report_text(LOGITS, LABELS)


def test_a_class_that_is_never_predicted_keeps_its_row():
    assert evaluate_logits(np.float32([[1, 0]] * 4), LABELS)["confusion_matrix"] == [[2, 0], [2, 0]]


def test_the_hash_depends_on_every_bit_and_on_the_order():
    a, b = np.float32([1, 2]), np.float32([3])
    assert sha256_of([a, b]) == sha256_of([a.copy(), b])
    assert sha256_of([a, b]) != sha256_of([b, a])
    assert sha256_of([a]) != sha256_of([np.nextafter(a, np.float32(9))])


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": np.float32(np.nan), "b": [np.int64(3), np.inf], "c": np.arange(2)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [3, None], "c": [0, 1]}
    assert plain((1, "x", None, True)) == [1, "x", None, True]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def side(history):
    return {
        "parameter_count": 3,
        "train_accuracy": 0.9,
        "validation_accuracy": 0.75,
        "confusion_matrix": [[2, 0], [1, 1]],
        "classification_report": evaluate_logits(LOGITS, LABELS)["classification_report"],
        "seconds_per_epoch": [1.0, 2.0],
        "weights_sha256": "0" * 64,
        "history": history,
    }


def distances(epochs=3, envelope=True):
    """The series of a report as far as the displays read them."""
    drift = [0.0, *(10.0 ** (epoch - 7) for epoch in range(1, epochs))]
    steps = [157 * (epoch + 1) for epoch in range(epochs)]
    return {"weight_distances": {"steps": steps, "sides": drift, "envelope": drift if envelope else None, "factor": 10}}


def report(epochs=3, source="cifar-10"):
    """The content of a report as far as the displays read it."""
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    history = {name: [0.5 / (epoch + 1) for epoch in range(epochs)] for name in names}
    check = {
        "name": "forward",
        "passed": False,
        "reason": "",
        "max_abs_difference": 1e-7,
        "bits_differing": 1234,
        "unit": "",
    }
    return {
        "verdict": "diverged",
        "preset": "narrow",
        "engine": "stock",
        "seed": 0,
        "epochs": epochs,
        "data": source,
        "environment": {"device": "cpu"},
        "keras": side(history),
        "torch": side(history),
        "churn": 1,
        "first_failure": {"rung": "forward", "reason": "too far", "tensor": "logits", "index": [0, 1]},
        "checks": [
            check | {"state": "failed", "tolerance": 1e-8, "reason": "x"},
            check | {"name": "loss", "state": "not reached", "tolerance": None, "max_abs_difference": None},
        ],
    }


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("envelope", [True, False])
def test_every_picture_is_drawn_and_opens(tmp_path, epochs, envelope):
    written = figures.save_figures(tmp_path, report(epochs), distances(epochs, envelope))
    assert sorted(path.stem for path in written) == sorted(figures.RENDERERS)
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 700
            assert len(picture.convert("L").getcolors()) > 20  # not an empty canvas


def test_pictures_of_the_stand_in_say_so():
    assert "SYNTHETIC" in figures.render_curves(report(source="synthetic"), distances()).get_suptitle()
    assert "SYNTHETIC" not in figures.render_curves(report(), distances()).get_suptitle()


def test_the_distances_are_drawn_on_a_log_axis_with_the_envelope():
    axis = figures.render_distances(report(), distances()).axes[0]
    assert axis.get_yscale() == "log"
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert any("noise envelope" in label for label in labels)


def test_the_terminal_names_what_broke():
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(report(source="synthetic"), console)
    text = console.export_text()
    assert "First broken rung: forward (tensor logits, index [0, 1]). too far" in text
    assert "BROKEN" in text
    assert "not reached" in text
    assert "SYNTHETIC DATA" in text
    assert "1,234" in text


def read_from(weights):
    """Returns what reads a run's tensors."""
    return lambda name, places: weights[name][places]


def test_samples_see_each_tensor_after_each_kept_step():
    start = {"w": np.zeros((3, 2), np.float32), "b": np.zeros((), np.float32)}
    samples = WeightSamples(start, 3)
    assert (samples.count, samples.steps) == (7, [0, 1, 2])  # all of so few
    samples.keep(1, read_from({"w": np.full((3, 2), 2, np.float32), "b": np.array(5, np.float32)}))
    moved = {"w": np.float32([[2, 2], [2, 2], [2, -1]]), "b": np.float32(6)}
    assert samples.distance(1, read_from(moved)) == 3
    assert samples.distance(1, read_from(moved | {"b": np.float32("nan")})) == np.inf
    assert samples.distance(1, read_from({"w": moved["w"].clip(2), "b": np.float32(5)})) == 0


def test_samples_of_a_long_run_end_with_its_last_step_and_are_told_in_few_points():
    samples = WeightSamples({"large": np.zeros((512, 3072), np.float32), "small": np.zeros(2, np.float32)}, 15_700)
    assert (samples.count, samples.every, len(samples.steps)) == (2048 + 2, 8, 1963)
    assert 15_699 in samples
    assert 15_698 not in samples
    told = samples.describe([float(step) for step in samples.steps], None)
    assert told["steps_per_point"] == 40
    assert told["steps"][-1] == 15_700
    assert told["sides"] == [step - 1 for step in told["steps"]]  # the largest of each stretch is its last
    assert told["envelope"] is None
