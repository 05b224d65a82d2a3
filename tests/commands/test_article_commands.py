"""`birdplane show`, `parameters` and `shift`: what they answer, and how they refuse."""

import csv
import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from birdplane_keras import cli
from birdplane_keras.commands import article
from birdplane_keras.flagship.answers import by_distance, count_parameters, look_at, measure_translation
from birdplane_keras.flagship.trained import load_trained
from birdplane_keras.recipe import PRESETS, build_recipe
from birdplane_keras.reporting.article import describe_bytes, render_picture

TOTALS = {  # preset -> parameters at 32, 224 and 1024 pixels
    "narrow": (1_574_402, 77_071_874, 1_610_614_274),
    "wide": (3_737_474, 154_732_418, 3_221_817_218),
    "small": (393_602, 128 * (3 * 224**2) + 128 + 258, 128 * (3 * 1024**2) + 128 + 258),
    "convolution": (18_090, 804_522, 16_778_922),
}
EPOCH = ["--epochs", "1"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, data_dir):
    """A comparison of one epoch of `small`, made by the command that needed it."""
    folder = tmp_path_factory.mktemp("run")
    flags = ["show", "0", "--preset", "small", *EPOCH, "--run", str(folder), "--data-dir", str(data_dir)]
    assert cli.main(flags) == 0
    return folder


@pytest.fixture(scope="module")
def trained(run_folder, data_dir):
    recipe = build_recipe("small", epochs=1)
    return load_trained(run_folder, recipe, data_dir=data_dir, engine="exact", device="cpu", synthetic=False)


def refused(capsys, *flags):
    """Runs a command that must be refused; returns its one line."""
    try:
        status = cli.main(list(flags))
    except SystemExit as stopped:
        status = stopped.code
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert (status, printed.out, len(lines)) == (2, "", 1), printed
    return lines[0]


@pytest.mark.slow
def test_show_trains_what_is_not_trained_and_then_no_more(run_folder, data_dir, capsys, monkeypatch):
    monkeypatch.setattr(article, "preset_command", lambda *_: pytest.fail("trained again"))
    flags = ["show", "3", "--split", "validation", "--preset", "small", *EPOCH]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the article's warning about clipping is one
        assert cli.main([*flags, "--run", str(run_folder), "--data-dir", str(data_dir)]) == 0
    printed = capsys.readouterr().out
    assert "image 3 of the validation split, " in printed
    assert (run_folder / "validation-image-3.png").stat().st_size > 5_000


@pytest.mark.slow
def test_probabilities_are_probabilities_and_both_sides_say_the_same(trained, images):
    for index in (0, 5, 9_999):
        looked = look_at(trained, "train", index)
        label = int(images[0][1][index])
        assert looked["label"] == ("airplane", "bird")[label]
        for answers in looked["answers"].values():
            assert answers["torch"]["probabilities"] == pytest.approx(answers["keras"]["probabilities"], rel=1e-5)
            assert answers["torch"]["loss"] == pytest.approx(answers["keras"]["loss"], rel=1e-4, abs=1e-7)
            for answer in answers.values():
                chances = np.array(answer["probabilities"])
                assert chances.sum() == pytest.approx(1, abs=1e-6)
                assert ((chances >= 0) & (chances <= 1)).all()
                assert answer["predicted"] == ("airplane", "bird")[int(chances.argmax())]
                assert answer["loss"] == pytest.approx(-np.log(chances[label]), abs=1e-5)
    assert looked["answers"]["trained"] != looked["answers"]["untrained"]


@pytest.mark.slow
def test_the_picture_is_the_image_as_it_is(trained, images):
    image = images[0][0][0]
    figure = render_picture(look_at(trained, "train", 0), image, "small", synthetic=False)
    shown = figure.axes[0].images[0].get_array()
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, image)
    assert "SYNTHETIC" in render_picture(look_at(trained, "train", 0), image, "x", synthetic=True).get_suptitle()


@pytest.mark.parametrize(
    "softmax",
    [lambda x: torch.softmax(torch.from_numpy(x), 1).numpy(), lambda x: keras_softmax(x)],
    ids=["torch", "keras"],
)
def test_softmax_has_the_properties_that_the_article_asks_for(softmax, rng):
    x = rng.normal(size=(50, 2)).astype(np.float32) * 5
    chances = softmax(x)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(softmax(x + np.float32(7)), chances, atol=1e-6)  # a shift changes nothing
    assert softmax(np.float32([[1000.0, 0.0], [1000.0, 1000.0]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert np.allclose(softmax(np.float32([[1, 2, 3]])), [[0.0900, 0.2447, 0.6652]], atol=5e-5)  # the article's line


def keras_softmax(x):
    import keras

    return keras.ops.convert_to_numpy(keras.ops.softmax(x))


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_counted_alike_on_both_sides_and_at_every_size(preset):
    counted = count_parameters(PRESETS[preset])
    for row in counted["tensors"]:
        assert row["count"]["torch"] == row["count"]["keras"] == np.prod(row["torch_shape"])
        assert sorted(row["torch_shape"]) == sorted(row["keras_shape"])
        assert row["trainable"] == {"torch": True, "keras": True}
    for totals in counted["totals"].values():
        assert totals["torch"] == totals["keras"]
    sums = tuple(totals["torch"]["trainable"] for totals in counted["totals"].values())
    assert sums[0] == sum(row["count"]["torch"] for row in counted["tensors"])
    assert sums == TOTALS.get(preset, sums)


def test_parameters_are_printed(capsys):
    assert cli.main(["parameters", "--preset", "wide"]) == 0
    printed = capsys.readouterr().out
    for part in ("0.weight 1024x3072", "dense", "3,145,728", "3,737,474", "3,221,817,218", "12.9 GB"):
        assert part in printed
    assert [describe_bytes(count) for count in (72_360, 2_000_000_000)] == ["0.1 MB", "2.0 GB"]


@pytest.mark.slow
def test_the_unmoved_images_score_what_the_report_says(trained, run_folder):
    report = json.loads((run_folder / "report.json").read_text())
    measured = measure_translation(trained, range(-1, 2))
    for side in ("torch", "keras"):
        assert measured[side][1][1] == report[side]["validation_accuracy"]
        assert len({accuracy for row in measured[side] for accuracy in row}) > 1
    assert measured["torch"] == measured["keras"]
    distances = by_distance(measured, "torch")
    assert distances[0] == measured["torch"][1][1]
    assert distances[1] == pytest.approx((np.sum(measured["torch"]) - distances[0]) / 8)


@pytest.mark.slow
def test_shift_writes_every_number_and_a_picture(run_folder, data_dir, tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "small").symlink_to(run_folder)
    flags = ["shift", "--preset", "small", *EPOCH, "--runs", str(tmp_path / "runs"), "--largest", "2"]
    assert cli.main([*flags, "--out", str(tmp_path / "out"), "--data-dir", str(data_dir)]) == 0
    with (tmp_path / "out" / "translation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 5
    middle = [row for row in rows if row["down"] == row["right"] == "0"]
    report = json.loads((run_folder / "report.json").read_text())
    assert [float(row["accuracy"]) for row in middle] == [report[s]["validation_accuracy"] for s in ("torch", "keras")]
    with Image.open(tmp_path / "out" / "translation.png") as picture:
        assert picture.width > 400
    assert "moved down" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_weights_that_are_not_the_reports_are_refused(run_folder, data_dir, tmp_path, capsys):
    other = tmp_path / "run"
    other.mkdir()
    (other / "report.json").write_bytes((run_folder / "report.json").read_bytes())
    with np.load(run_folder / "weights.npz") as file:
        weights = {name: file[name] for name in file.files}
    weights["keras/2.bias"] = weights["keras/2.bias"] + np.float32(1e-3)
    np.savez(other / "weights.npz", **weights)
    flags = ["show", "0", "--preset", "small", "--run", str(other), "--data-dir", str(data_dir)]
    assert "expected the weights that" in refused(capsys, *flags, *EPOCH)
    assert "expected a run of this very recipe" in refused(capsys, *flags, "--epochs", "2")
    (other / "weights.npz").write_bytes(b"half a fi")
    assert "expected a trained comparison in" in refused(capsys, *flags, *EPOCH)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["show", "10000"], "expected an image from 0 to 9999 of the train split, received 10000"),
        (["show", "-1"], "expected an image from 0 to 9999 of the train split, received -1"),
        (["show", "2000", "--split", "validation"], "expected an image from 0 to 1999 of the validation split"),
        (["show", "0", "--split", "test"], "expected a split among train, validation, received 'test'"),
        (["show", "bird"], "argument INDEX: invalid int value: 'bird'"),
        (["show", "0", "--preset", "huge"], "expected a preset among narrow, wide"),
        (["show", "0", "--engine", "warp"], "expected an engine among stock, exact, fused"),
        (["parameters", "--preset", "huge"], "expected a preset among narrow, wide"),
        (["shift", "--preset", "narrow", "huge"], "expected a preset among narrow, wide"),
        (["shift", "--largest", "32"], "expected a shift from 0 to 31 pixels"),
        (["shift", "--largest", "-1"], "expected a shift from 0 to 31 pixels"),
    ],
)
def test_a_bad_request_is_one_line(flags, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(capsys, *flags)
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    below = str(tmp_path / "file" / "below")
    assert "expected a writable folder" in refused(capsys, "show", "0", "--run", below)
    assert "expected a writable folder" in refused(capsys, "shift", "--out", below)
