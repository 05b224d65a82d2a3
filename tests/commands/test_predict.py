"""Image files of every kind, asked about at the command line."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

from birdplane_keras import cli
from birdplane_keras.data.pictures import read_picture
from birdplane_keras.errors import DataError
from birdplane_keras.files import save_keras
from birdplane_keras.labels import CLASS_NAMES
from birdplane_keras.model import build_model
from birdplane_keras.prediction import ImageClassifier
from birdplane_keras.recipe import build_recipe
from birdplane_keras.training import stock_model, train


@pytest.fixture(scope="module")
def model(tmp_path_factory, port_data):
    """The file of a model that was trained for three epochs."""
    recipe = build_recipe("small", epochs=3)
    built = build_model(recipe)
    train(recipe, *port_data, model=built)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_keras(stock_model(built, recipe), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, images):
    """Files of every kind that the issue of this command named, made of one real image."""
    folder = tmp_path_factory.mktemp("pictures")
    bird = Image.fromarray(images[1][0][np.flatnonzero(images[1][1] == 1)[0]])
    bird.resize((4000, 3000)).save(folder / "large.jpg")
    bird.resize((300, 300)).quantize(16).save(folder / "palette.png")
    bird.resize((200, 200)).convert("CMYK").save(folder / "cmyk.jpg")
    grey = bird.convert("LA")
    grey.putalpha(Image.linear_gradient("L").resize(grey.size))
    grey.save(folder / "grey-alpha.png")
    frames = [bird.resize((64, 64)), Image.new("RGB", (64, 64), "red")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.txt").write_text("no image")
    many = folder / "many"
    (many / "deeper").mkdir(parents=True)
    for index in range(100):
        place = many / "deeper" if index % 10 == 0 else many
        Image.fromarray(images[1][0][index]).save(place / f"{index:03}.png")
    (many / "notes.txt").write_text("not an image, and not named as one")
    return folder


def ask(capsys, *flags):
    status = cli.main(["predict", *map(str, flags)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err.splitlines()


READABLE = ("large.jpg", "palette.png", "cmyk.jpg", "grey-alpha.png", "moving.gif")


def test_every_kind_of_image_is_answered_and_the_others_are_told(pictures, model, capsys):
    names = [*READABLE, "empty.png", "text.txt"]
    flags = [*(pictures / name for name in names), pictures / "many", "--model", model, "--format", "jsonl"]
    status, printed, errors = ask(capsys, *flags)
    assert status == 1
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [answer["file"] for answer in answers[:5]] == [str(pictures / name) for name in READABLE]
    assert len(answers) == 5 + 100
    for answer in answers:
        assert answer["label"] in CLASS_NAMES
        assert answer["probability"] == max(answer["probabilities"].values()) >= 0.5
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert len(errors) == 2
    assert "empty.png: the file is empty" in errors[0]
    assert "text.txt: no image that Pillow reads" in errors[1]


def test_a_folder_of_100_images_gets_what_the_arrays_get(pictures, model, images, capsys):
    status, printed, errors = ask(capsys, pictures / "many", "--model", model, "--format", "csv")
    assert (status, errors) == (0, [])
    rows = {row["file"].split("/")[-1]: row for row in csv.DictReader(io.StringIO(printed))}
    assert len(rows) == 100
    chances = ImageClassifier(model).probabilities(images[1][0][:100])
    for index, row in enumerate(chances):
        found = rows[f"{index:03}.png"]
        assert float(found["bird"]) == row[1]  # 32 x 32 pixels are taken as they are: not a bit is lost
        assert found["label"] == CLASS_NAMES[int(row.argmax())]


def test_the_table_is_for_people(pictures, model, capsys):
    status, printed, errors = ask(capsys, pictures / "large.jpg", "--model", model)
    assert (status, errors) == (0, [])
    assert "label" in printed
    assert "probability" in printed


def test_names_are_printed_as_they_are(pictures, model, tmp_path, capsys):
    name = tmp_path / "[red]\udcff.png"
    name.write_bytes((pictures / "palette.png").read_bytes())
    printed = {style: ask(capsys, name, "--model", model, "--format", style) for style in ("table", "jsonl", "csv")}
    assert all((status, errors) == (0, []) for status, _, errors in printed.values())
    expected = f"{tmp_path}/[red]\\xff.png"
    assert json.loads(printed["jsonl"][1])["file"] == expected
    assert next(csv.DictReader(io.StringIO(printed["csv"][1])))["file"] == expected
    assert "[red]" in printed["table"][1]


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_error(pictures, model):
    command = f"{sys.executable} -m birdplane_keras predict --model {model} --format csv {pictures}/many | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "file,label,probability,airplane,bird\n"
    assert "Traceback" not in done.stderr


def test_standard_input_is_an_image(pictures, model, capsys, monkeypatch):
    content = (pictures / "large.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    status, printed, _ = ask(capsys, "-", "--model", model, "--format", "jsonl")
    named = ask(capsys, pictures / "large.jpg", "--model", model, "--format", "jsonl")[1]
    assert status == 0
    assert json.loads(printed) == {**json.loads(named), "file": "-"}


def test_pixels_come_through_every_kind(pictures):
    plain = read_picture(str(pictures / "palette.png")).astype(int)
    for name in ("large.jpg", "cmyk.jpg", "moving.gif"):
        assert np.abs(read_picture(str(pictures / name)).astype(int) - plain).mean() < 30
    red = Image.new("RGB", (64, 64), "red")
    assert np.abs(np.asarray(red.resize((32, 32))).astype(int) - plain).mean() > 60  # control: the GIF's second frame


def save(tmp_path, image, name="image.png", **settings):
    image.save(tmp_path / name, **settings)
    return str(tmp_path / name)


def test_orientation_is_respected(tmp_path, images):
    image = Image.fromarray(images[1][0][0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    turned = read_picture(save(tmp_path, image, exif=exif))
    assert np.array_equal(turned, np.rot90(images[1][0][0], -1))
    assert np.array_equal(read_picture(save(tmp_path, image)), images[1][0][0])


def test_what_is_transparent_is_white_and_sixteen_bits_are_scaled(tmp_path):
    assert (read_picture(save(tmp_path, Image.new("RGBA", (40, 40), (255, 0, 0, 0)))) == 255).all()
    assert (read_picture(save(tmp_path, Image.new("LA", (40, 40), (10, 0)))) == 255).all()
    deep = Image.fromarray(np.full((40, 40), 0x80FF, np.uint16))
    assert (read_picture(save(tmp_path, deep)) == 0x80).all()


def test_the_middle_square_is_taken(tmp_path):
    stripes = np.zeros((32, 96, 3), np.uint8)
    stripes[:, 32:64] = 200
    assert (read_picture(save(tmp_path, Image.fromarray(stripes))) == 200).all()


def test_half_an_image_and_no_file_are_told(tmp_path, images, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as TFDS sets it, for the whole process
    whole = save(tmp_path, Image.fromarray(images[1][0][0]).resize((200, 200)), "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    read_picture(whole)
    with pytest.raises(DataError, match="no image that Pillow reads"):
        read_picture(str(tmp_path / "half.jpg"))
    with pytest.raises(DataError, match="there is no such file"):
        read_picture(str(tmp_path / "none.jpg"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["x.png", "--format", "xml"], "expected a format among table, jsonl, csv, received 'xml'"),
        (["x.png", "--engine", "warp"], "expected an engine among"),
        (["x.png", "--model", "none.keras"], "expected a trained model, received none.keras"),
        (["x.png"], "expected a trained model, received runs/train-narrow/model.keras"),
        (["x.png", "--model", "model.pt"], "is a pickle, which can run any code"),
        (["empty"], "expected images in the folder empty"),
    ],
)
def test_a_bad_request_is_one_line(flags, expected, tmp_path, monkeypatch, capsys, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.pt").write_bytes(b"")
    if flags == ["empty"]:
        flags = ["empty", "--model", str(model)]
    status, printed, errors = ask(capsys, *flags)
    assert (status, printed, len(errors)) == (2, "", 1)
    assert expected in errors[0]
