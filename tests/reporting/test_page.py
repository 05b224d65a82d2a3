"""The report page: its numbers are the report's, nothing is fetched, and its charts lie where they must."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from flagship.comparing import compare_by_rounding

from birdplane_keras.reporting.page.charts import Chart, Line, powers, ticks
from birdplane_keras.reporting.page.details import Details, load_details
from birdplane_keras.reporting.page.pictures import mosaic
from birdplane_keras.reporting.page.render import group_pictures, render_page

VOID = {"meta", "link", "br", "img", "path"}
SIDES = {"torch": "PyTorch", "keras": "Keras"}


class Checker(HTMLParser):
    """Collects what the page refers to, and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.targets, self.images, self.sources = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in named:
            self.ids.append(named["id"])
        if tag == "img":
            self.images.append(named.get("alt"))
        for key in ("src", "href"):
            if key in named:
                (self.targets if named[key].startswith("#") else self.sources).append(named[key])

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def compared(tmp_path_factory, data_dir):
    return compare_by_rounding(tmp_path_factory.mktemp("compared"), data_dir, epochs=2)


@pytest.fixture(scope="module")
def page(compared):
    return (compared / "report.html").read_text()


@pytest.mark.slow
def test_the_page_is_whole_and_fetches_nothing(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert {target.removeprefix("#") for target in checker.targets} <= set(checker.ids)
    assert all(source.startswith("data:") for source in checker.sources)
    assert len(checker.images) > 100
    assert all(checker.images)  # each has a text that stands for it
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(page) < 5_000_000


@pytest.mark.slow
def test_the_page_shows_the_reports_numbers(page, compared):
    report = json.loads((compared / "report.json").read_text())
    for check in report["checks"]:
        assert f'<th role="rowheader" scope="row">{check["name"]}</th>' in page
    for side in SIDES:
        assert f"{report[side]['validation_accuracy']:.4f}" in page
        assert report[side]["weights_sha256"] in page
    assert "rounding-only" in page
    assert "noise envelope" in page
    assert "Both sides name another class than the label" in page


@pytest.mark.slow
def test_the_certificate_in_the_page_is_the_report(page, compared):
    import base64

    encoded = re.search(r'download="report\.json" href="data:application/json;base64,([^"]+)"', page).group(1)
    assert json.loads(base64.b64decode(encoded)) == json.loads((compared / "report.json").read_text())


@pytest.mark.slow
def test_every_disagreement_is_shown(compared, images):
    details = load_details(compared / "details.npz", *images[1])
    groups = {group["id"]: group for group in group_pictures(details, SIDES)}
    said = {side: logits.argmax(axis=1) for side, logits in details.logits.items()}
    assert groups["between"]["count"] == (said["torch"] != said["keras"]).sum()
    wrong = (said["torch"] != images[1][1]) & (said["torch"] == said["keras"])
    assert groups["label"]["count"] == wrong.sum() > 200
    chances = [float(picture["said"][0].split()[-1]) for picture in groups["label"]["pictures"]]
    assert chances == sorted(chances, reverse=True)
    assert len(chances) == 120
    flipped = Details(
        logits={"torch": details.logits["torch"], "keras": details.logits["torch"][:, ::-1]},
        images=images[1][0],
        labels=images[1][1],
    )
    assert {group["id"]: group["count"] for group in group_pictures(flipped, SIDES)} == {"between": 2000, "label": 0}


@pytest.mark.slow
def test_what_users_named_is_escaped(compared, images):
    report = json.loads((compared / "report.json").read_text())
    report["notes"] = ["<script>alert(1)</script>"]
    page = render_page(report, load_details(compared / "details.npz", *images[1]))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.slow
def test_a_comparison_that_broke_before_training_has_a_page(tmp_path, images, compared):
    report = json.loads((compared / "report.json").read_text())
    report |= {"verdict": "diverged", "first_failure": {"rung": "forward", "reason": "apart"}, "churn": None}
    report |= {"time_ratio": None}
    for side in SIDES:
        report[side] = dict.fromkeys(report[side]) | {"parameter_count": 1, "parameter_counts": [1]}
    fixes = [{"text": "use tanh", "tried": True}, {"text": "in the second layer, too", "tried": False}]
    report["diagnosis"] = [{"cause": "activation", "text": "it is relu", "evidence": "numbers", "fixes": fixes}]
    page = render_page(report, Details(images=images[1][0], labels=images[1][1]))
    checker = Checker()
    checker.feed(page)
    assert {target.removeprefix("#") for target in checker.targets} <= set(checker.ids)
    for part in (
        "The first rung that broke: forward",
        "Cause: <code>activation</code>",
        "use tanh",
        "in the second layer, too (not tried)",
    ):
        assert part in page
    assert "Confusion" not in page


def chart(values, **settings):
    line = Line(name="a", kind="torch", values=values)
    return Chart(id="c", title="T", x_label="epoch", x=list(range(1, len(values) + 1)), lines=[line], **settings)


def test_points_lie_where_their_values_are():
    drawn = chart([0.0, 5.0, 10.0])
    low, high = drawn.bounds
    assert (drawn.across(1), drawn.across(2), drawn.across(3)) == (0, 50, 100)
    assert drawn.up(5.0) == pytest.approx(100 * (5 - low) / (high - low))
    assert drawn.path(drawn.lines[0]).startswith(f"M0.00 {100 - drawn.up(0.0):.2f} L50.00 ")


def test_equal_ratios_are_equal_heights_and_zero_is_at_the_foot():
    drawn = chart([1e-8, 1e-6, 1e-4], logarithmic=True)
    heights = [drawn.up(value) for value in (1e-8, 1e-6, 1e-4)]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1])
    assert drawn.up(0.0) == drawn.up(1e-30) == 0
    assert chart([0.0, 0.0], logarithmic=True).path(chart([0.0, 0.0]).lines[0]) == "M0.00 100.00 L100.00 100.00"


def test_the_foot_of_a_logarithmic_chart_is_marked_zero_where_zeros_lie_on_it():
    assert chart([0.0, 0.0], logarithmic=True).y_ticks == [(0.0, "0")]  # no bit differs: nowhere near 1
    mixed = chart([0.0, 1e-8, 2e-7], logarithmic=True)
    assert [label for _, label in mixed.y_ticks] == ["0", "1e-08", "1e-07", "1e-06"]
    assert [mixed.up(0.0), mixed.up(1e-8)] == pytest.approx([0, 100 / 3])
    assert [label for _, label in chart([1e-8, 2e-7], logarithmic=True).y_ticks] == ["1e-08", "1e-07", "1e-06"]


def test_what_is_not_a_number_leaves_a_gap():
    assert chart([1.0, float("nan"), 2.0, 3.0]).path(chart([1.0, float("nan"), 2.0, 3.0]).lines[0]).count("M") == 2
    assert chart([None, 1.0]).path(chart([None, 1.0]).lines[0]).startswith("M100.00")


def test_a_chart_of_one_epoch_is_drawn():
    drawn = chart([0.5])
    assert drawn.path(drawn.lines[0]) == "M50.00 50.00 h0.01"
    assert drawn.rows() == [["1", "0.5"]]


def test_ticks_are_round_and_few():
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0.41, 0.93) == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert powers(1e-9, 1e3)[0] == 1e-9
    assert all(len(ticks(0, high)) <= 7 for high in np.geomspace(1e-6, 1e6, 50))


def test_a_long_chart_has_a_short_table():
    rows = chart(list(range(1, 1001))).rows()
    assert len(rows) == 25
    assert (rows[0][0], rows[-1][0]) == ("1", "1,000")


def test_a_mosaic_has_a_tile_for_each_unit():
    weights = np.zeros((5, 3, 32, 32), np.float32)
    weights[4, 0] = 2.0
    sheet = mosaic(weights)
    assert sheet.shape == (2 * 33 - 1, 3 * 33 - 1, 3)
    assert (sheet[33:65, 33:65] == [255, 128, 128]).all()
    assert (sheet[:32, :32] == 128).all()
