"""The documentation as a site: it builds without a warning, and its pages need no network."""

import re
import subprocess
import sys

import pytest

from documentation.prose import ROOT

FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="(https?:)?//[^"]+"|<link\b[^>]*\bhref="(?:https?:)?//[^"]+\""""
)


def build(source, target):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_offline(tmp_path):
    done = build(ROOT / "docs", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= 90
    for page in pages:
        assert FETCHED.search(page.read_text()) is None, page.name
    assert "check_parity" in (tmp_path / "reference" / "parity.html").read_text()


@pytest.mark.slow
def test_a_broken_link_stops_the_build(tmp_path):
    """Negative control."""
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text('extensions = ["myst_parser"]\n')
    (source / "index.md").write_text("# Index\n\n[nowhere](nothing.md)\n")
    done = build(source, tmp_path / "html")
    assert done.returncode != 0
    assert "nothing" in done.stderr


def test_a_page_that_fetches_something_would_be_noticed():
    """Negative control."""
    assert FETCHED.search('<script src="https://cdn.example/a.js"></script>')
    assert FETCHED.search('<link rel="stylesheet" href="//fonts.example/a.css">')
    assert not FETCHED.search('<a href="https://example.org">a link</a><script src="_static/a.js"></script>')
