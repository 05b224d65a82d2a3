"""The report page in a real browser: Chromium, without a screen."""

import json
import os
import shutil
import time

import pytest
from flagship.comparing import compare_by_rounding

pytestmark = pytest.mark.slow
WIDTHS = (1280, 768, 360)  # pixels: a screen, a tablet, a phone


@pytest.fixture(scope="module")
def compared(tmp_path_factory, data_dir):
    return compare_by_rounding(tmp_path_factory.mktemp("compared"), data_dir, epochs=8)


@pytest.fixture(scope="module")
def browser():
    """Chromium; a machine without it fails here, it does not skip."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("BIRDPLANE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "expected Chromium: apt-get install chromium, or BIRDPLANE_CHROMIUM with its path"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, compared):
    """Opens the page at a width; afterwards there must have been no error and no request."""
    pages, seen = [], []

    def opened(width=1280, scheme="light", path=compared / "report.html"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True)
        pages.append(page)
        page.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert seen == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_width_in_light_and_dark(visit, width, scheme):
    page = visit(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".plot").count() == 4
    for index in range(4):
        box = page.locator(".plot").nth(index).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 150
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert contrast(ink, paper) > 7
    assert (luminance(paper) < 0.1) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visit, scheme):
    page = visit(scheme=scheme)
    found = page.evaluate(
        """() => [...document.querySelectorAll("p, td, th, a, li, span, dt, dd, figcaption, summary, strong")]
            .filter((element) => element.innerText && element.offsetParent)
            .map((element) => {
              let behind = element, paper = "rgba(0, 0, 0, 0)";
              while (behind && paper === "rgba(0, 0, 0, 0)") {
                paper = getComputedStyle(behind).backgroundColor;
                behind = behind.parentElement;
              }
              return [element.innerText.slice(0, 30), getComputedStyle(element).color, paper];
            })"""
    )
    plain = [entry for entry in found if entry[1].startswith("rgb(") and entry[2].startswith("rgb(")]
    assert len(plain) > 200
    assert [entry for entry in plain if contrast(*entry[1:]) < 4.5] == []


def test_pictures_and_lines_are_there(visit):
    page = visit()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.locator(".pictures img").count() > 100
    assert page.locator(".mosaic img").count() == 4
    for line in page.locator("path.line").all():
        assert line.get_attribute("d").startswith("M")
    lengths = page.evaluate("[...document.querySelectorAll('path.line')].map((line) => line.getTotalLength())")
    assert min(lengths) > 50


def test_values_are_told_under_the_pointer_and_by_the_keyboard(visit, compared):
    report = json.loads((compared / "report.json").read_text())
    page = visit()
    plot, readout = page.locator("#chart-loss .plot"), page.locator("#chart-loss .readout")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 50)
    first = report["torch"]["history"]["loss"][0]
    assert readout.inner_text().startswith(f"epoch 1: PyTorch, train {first:.4g}; Keras, train ")
    page.mouse.move(0, 0)
    plot.focus()
    assert readout.inner_text().startswith("epoch 1: ")  # where the pointer was
    page.keyboard.press("End")
    assert readout.inner_text().startswith("epoch 8: ")
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text().startswith("epoch 7: ")
    page.keyboard.press("Home")
    assert readout.inner_text().startswith("epoch 1: ")


def test_the_keyboard_reaches_everything(visit):
    page = visit()
    reached = set()
    while True:
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        if "BODY" in reached:  # all round
            break
        visible = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert visible != "none"
    assert {"skip", "A", "plot", "SUMMARY", "button"} <= reached


def test_every_figure_has_a_text_that_stands_for_it(visit):
    page = visit()
    for plot in page.locator(".plot").all():
        label = plot.get_attribute("aria-label")
        assert " from " in label
        assert " to " in label
    for image in page.locator("img").all():
        assert image.get_attribute("alt")
    assert page.locator("figure details table").count() == 4


def test_the_certificate_downloads_and_parses(visit, compared, tmp_path):
    page = visit()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download report.json").click()
    assert download.value.suggested_filename == "report.json"
    download.value.save_as(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads((compared / "report.json").read_text())


def test_the_page_is_small_and_loads_fast(visit, compared):
    assert (compared / "report.html").stat().st_size < 5_000_000
    started = time.perf_counter()
    page = visit()
    page.wait_for_load_state("load")
    assert time.perf_counter() - started < 2


def test_the_checks_would_notice(browser, tmp_path):
    """Negative control: a page with an error, a request, and text that cannot be read."""
    (tmp_path / "bad.html").write_text("<img src='http://127.0.0.1:9/x.png'><script>throw Error('no')</script>")
    page, seen = browser.new_page(), []
    page.on("pageerror", lambda error: seen.append("error"))
    page.on("request", lambda request: seen.append("request") if request.url.startswith("http") else None)
    page.goto((tmp_path / "bad.html").as_uri())
    page.wait_for_timeout(300)
    assert set(seen) == {"error", "request"}
    assert contrast("rgb(153, 153, 153)", "rgb(170, 170, 170)") < 4.5
    page.close()


def luminance(colour):
    """The relative luminance of WCAG 2 of a colour `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, paper):
    """The contrast ratio of WCAG 2; 4.5 is what text needs."""
    low, high = sorted((luminance(ink), luminance(paper)))
    return (high + 0.05) / (low + 0.05)
