"""What a notebook shows of a result: escaped, whole, in the notebook's own colours; and what it draws."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba
from PIL import Image

from birdplane_keras.errors import RequestError
from birdplane_keras.parity.core.check import Check, Place, State, failed, left_out, not_reached
from birdplane_keras.parity.core.finding import Finding, Fix
from birdplane_keras.parity.core.result import Result
from birdplane_keras.parity.core.rungs import names as rung_names
from birdplane_keras.reporting.figures import COLOURS
from birdplane_keras.reporting.inline_figure import INK
from birdplane_keras.reporting.notebook import render_explanation
from birdplane_keras.reporting.notebook_figures import draw_timings
from reporting.test_browser import contrast

LAYER = "<b>x</b>"
STEPS = list(range(1, 41))
RECIPE = left_out("recipe", "absent", "none is stated")
FINDING = Finding(
    cause="activation",
    rung="forward",
    text=f"in {LAYER} the port parts from the reference by its activation",
    evidence="the reference with this change computes what the port does at forward",
    fixes=[Fix(text="activation='tanh'", tried=True), Fix(text="in the second layer, too")],
    parting={"port": [f"relu(add), in ReLU {LAYER}, at port.py:7: h = relu(h)"], "reference": []},
)


def check(name, *, bits=0):
    return Check(
        name=name,
        state=State.PASSED,
        max_abs_difference=1e-7 * bool(bits),
        bits_differing=bits,
        tolerance=1e-6,
        reason="the noise that was measured",
    )


def result(verdict, checks, **more):
    settings = {"kind": "pair", "source": f"pairs:{LAYER}", "steps": 40, "seed": 0}
    shown = {"environment": {"torch": "2", "keras": "3"}, "hashes": {}, "diagnosis": [], "notes": []}
    return Result(verdict=verdict, checks=checks, settings=settings, **(shown | more))


def series(*, apart=0.0, bad=()):
    losses = np.exp(-np.array(STEPS) / 20)
    ours = losses + apart
    ours[list(bad)] = np.nan
    distances = [apart] * len(STEPS)
    sampled = {"weights": 100, "every": 1, "steps": STEPS, "steps_per_point": 1, "sides": distances}
    envelope = [2 * apart] * len(STEPS) if apart else None
    weights = {"steps": STEPS, "sides": distances, "envelope": envelope, "sampled": {**sampled, "envelope": envelope}}
    return {"losses": {"steps": STEPS, "torch": list(losses), "keras": list(ours)}, "weight_distances": weights}


def matching(apart=0.0, **more):
    checks = [
        left_out("recipe", "absent", "none is stated"),
        *(check(name, bits=apart > 0) for name in rung_names()[1:]),
    ]
    verdict = "rounding-only" if apart else "bit-exact"
    return result(verdict, checks, trajectory=series(apart=apart, **more), steps_made=40, churn=0)


def diverged():
    at = rung_names().index("forward")
    broken = failed("forward", "beyond", f"{LAYER} is 1 apart", Place(layer=LAYER))
    below, above = rung_names()[1:at], rung_names()[at + 1 :]
    checks = [RECIPE, *map(check, below), broken, *(not_reached(name, "forward") for name in above)]
    return result("diverged", checks, diagnosis=[FINDING], notes=[f"{LAYER} was not looked at"])


class Elements(HTMLParser):
    """Collects the elements of a fragment, and sees that each is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


SHOWN = {"diverged": diverged, "bit-exact": matching, "rounding-only": lambda: matching(1e-7)}


@pytest.mark.parametrize("name", SHOWN)
def test_html_is_whole_and_what_users_named_is_escaped(name):
    html = SHOWN[name]()._repr_html_()
    assert "b" not in Elements(html).seen
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert f"{name}</strong>" in html


def test_elements_see_what_is_not_closed_or_not_escaped():
    """Negative control."""
    assert "b" in Elements(f"<p>{LAYER}</p>").seen
    with pytest.raises(AssertionError):
        Elements("<p><i>")


def test_html_has_the_rung_the_cause_both_sides_and_the_fixes():
    html = diverged()._repr_html_()
    for part in (
        "First broken rung: forward",
        "<code>activation</code>",
        FINDING.evidence,
        "In the port</th><td><code>relu(add), in ReLU &lt;b&gt;x&lt;/b&gt;, at port.py:7: h = relu(h)</code>",
        "In the reference</th><td>nothing that the other lacks",
        "activation=&#39;tanh&#39;<br>in the second layer, too (not tried)",
        "was not looked at",
    ):
        assert part in html


def test_a_match_shows_no_cause():
    html = matching()._repr_html_()
    assert "Cause" not in html
    assert "First broken rung" not in html
    assert "The sides agree in every bit." in html


def test_every_rung_is_shown_with_its_state_and_those_not_reached_share_a_line():
    html = diverged()._repr_html_()
    rows = re.findall(r'<th scope="row">([\w, ]+)</th><td class="state">(. [a-z ]+)</td>', html)
    assert ", ".join(names for names, _ in rows).split(", ") == rung_names()
    assert [state for _, state in rows][-2:] == ["✗ broken", "· not reached"]
    assert rows[0] == ("recipe", "- left out")
    assert rows[1] == ("data", "✓ passed")


def fixed_colours(html):
    return re.findall(r"#[0-9a-f]{3,6}\b|\brgb|\bwhite\b(?!-)|\bblack\b|background: (?!none)", html)


@pytest.mark.parametrize("name", SHOWN)
def test_html_has_no_colour_of_its_own(name):
    assert fixed_colours(SHOWN[name]()._repr_html_()) == []
    assert len(fixed_colours("p { color: #fff; background: white }")) == 3  # negative control


def test_a_preset_shows_what_both_programs_report():
    side = {
        "parameter_count": 1_574_402,
        "train_accuracy": 0.9,
        "validation_accuracy": 0.8125,
        "seconds_per_epoch": [1.0],
    }
    settings = {"kind": "preset", "preset": "narrow", "engine": "exact", "seed": 0, "epochs": 1, "data": "synthetic"}
    html = replace(matching(), settings=settings, sides={"keras": side, "torch": side})._repr_html_()
    assert html.count("0.8125") == 2
    assert "1,574,402" in html
    assert "SYNTHETIC DATA" in html
    assert "SYNTHETIC DATA" not in matching()._repr_html_()


class Printer(list):
    text = list.append


@pytest.mark.parametrize("name", SHOWN)
def test_where_ipython_shows_text_it_is_the_verdict(name):
    made, printer = SHOWN[name](), Printer()
    made._repr_pretty_(printer, cycle=False)
    assert printer == [str(made)]


def pixels(figure):
    """Returns the picture that a notebook shows: (H, W, 4) from 0 to 1."""
    return np.asarray(Image.open(io.BytesIO(figure._repr_png_())).convert("RGBA"), np.float64) / 255


def count(figure, side):
    """Returns how many pixels have a side's colour."""
    picture = pixels(figure)
    return int(((np.abs(picture[..., :3] - to_rgb(COLOURS[side])).max(-1) < 0.02) & (picture[..., 3] > 0.98)).sum())


def test_curves_that_are_one_can_be_told_apart():
    figure = matching().plot()
    theirs, ours = figure.axes[0].lines
    assert np.array_equal(theirs.get_ydata(), ours.get_ydata())
    assert (theirs.get_linestyle(), ours.get_linestyle()) == ("-", "--")
    assert theirs.get_linewidth() > 2 * ours.get_linewidth()
    seen = count(figure, "keras")
    assert min(count(figure, "torch"), seen) > 100
    ours.set_zorder(0)  # negative control: under the wide line none of the dashes is seen, but in the legend
    assert count(figure, "keras") < seen / 2


def test_distances_lie_in_the_noise_envelope():
    axis = matching(1e-7).plot().axes[1]
    assert len(axis.collections) == 1
    assert "noise envelope" in axis.get_legend().get_texts()[0].get_text()
    assert list(axis.lines[-1].get_ydata()) == [1e-7] * len(STEPS)
    assert axis.get_yscale() == "log"


def test_bit_exact_sides_are_said_to_be_no_distance_apart():
    axis = matching().plot().axes[1]
    assert [text.get_text() for text in axis.texts] == ["0 after every step"]
    assert not axis.lines
    assert not len(axis.get_yticks())


def test_a_loss_that_is_no_number_leaves_a_gap():
    drawn = matching(1e-7, bad=[3]).plot().axes[0].lines[1].get_ydata()
    assert np.isnan(drawn[3])
    assert np.isfinite(np.delete(drawn, 3)).all()


def test_a_result_without_series_says_why_it_cannot_be_drawn():
    with pytest.raises(RequestError, match="received one that ended before them, at the rung forward"):
        diverged().plot()
    with pytest.raises(RequestError, match="received one that trains nothing"):
        replace(matching(), trajectory=None).plot()


def layer(at, kind, apart):
    words = {"name": at, "at": at, "kind": kind, "text": ""}
    return words | {"passed": apart < 1e-6, "max_abs_difference": apart, "tolerance": 1e-6}


def test_the_layers_of_a_failed_forward_pass_are_drawn_beside_their_tolerances():
    rows = [layer("conv", "between", 0.0), layer("conv", "alone", 1e-8), layer("act", "between", 0.5)]
    axis = replace(diverged(), layers=rows).plot().axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["conv (between)", "conv (alone)", "act (between)"]
    widths = {bar.get_y() + bar.get_height() / 2: bar.get_width() for bar in axis.patches}
    assert [round(widths[place], 9) for place in (0, 1, 2)] == [0.0, 1e-8, 0.5]
    assert [bar.get_facecolor() == to_rgba(COLOURS["torch"]) for bar in axis.patches] == [False, False, True]


def test_of_many_layers_those_around_the_first_that_differs_are_drawn():
    rows = [layer(f"l{place}", "between", 1.0 if place >= 60 else 0.0) for place in range(100)]
    labels = [label.get_text() for label in replace(diverged(), layers=rows).plot().axes[0].get_yticklabels()]
    assert (labels[0], len(labels)) == ("l40 (between)", 40)


def test_a_picture_has_no_background_and_its_ink_reads_on_light_and_dark():
    picture = pixels(matching().plot())
    assert (picture[0, :, 3] == 0).all()
    assert (picture[:, 0, 3] == 0).all()
    ink = f"rgb({', '.join(str(round(255 * part)) for part in to_rgb(INK))})"
    assert min(contrast(ink, "rgb(255, 255, 255)"), contrast(ink, "rgb(17, 17, 17)")) > 4
    assert contrast("rgb(51, 51, 51)", "rgb(17, 17, 17)") < 4  # negative control


TIMINGS = [
    {"kind": kind, "batch": f"(8, 6) float32{more}", "engine": "exact", "stock_seconds": stock, "traced_seconds": 1e-3}
    for kind, more, stock in (("train", LAYER, 4e-3), ("test", "", 2e-3))
]
TEXT = f"{LAYER} is attached, engine exact.\ntrain, (8, 6): exact.\n    update: {LAYER}\npredict: no batch yet."


def test_an_explanation_is_whole_escaped_and_has_every_line():
    html = render_explanation(TEXT, TIMINGS)
    assert Elements(html).seen.count("li") == 3
    assert html.count("&lt;b&gt;x&lt;/b&gt;") == 3
    for part in ("predict: no batch yet.", "4.00 ms", "1.00 ms", '<td class="n">4.00</td>'):
        assert part in html
    assert "<table" not in render_explanation(TEXT, [])
    assert fixed_colours(html) == []


def test_bars_are_what_the_steps_took():
    axis = draw_timings(TIMINGS, "net").axes[0]
    assert [round(bar.get_width(), 9) for bar in axis.patches] == [4.0, 2.0, 1.0, 1.0]
    assert [label.get_text() for label in axis.get_legend().get_texts()] == ["stock", "traced"]
    assert axis.get_yticklabels()[1].get_text() == "test, exact\n(8, 6) float32"


def test_without_a_timed_step_there_are_no_bars():
    with pytest.raises(RequestError, match="expected a model of which an audit has timed a step"):
        draw_timings([], "net")
