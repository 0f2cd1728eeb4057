"""Files of a figure: a page that stands alone, pictures, and what happens without a browser."""

import math
import os
import re
import struct
import subprocess

import psutil
import pytest
from figure_parts import EVIL, plot
from marks import children
from sweeps import wait_for

from orchestrator.figures import export
from orchestrator.figures.export import Browser, draw_pictures, find_browser, to_page
from results_schema.errors import MachineError


@pytest.fixture
def figure(join, make_member):
    row = make_member("DARTS", 0)
    return plot("accuracy_by_index", join([row], {row["trial_id"]: ("done", 0.9)}), "Accuracy")


@pytest.fixture
def installed():
    """The browser's path; a test that needs one is skipped where there is none."""
    try:
        return find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: the pictures of figures are not tested")


@pytest.fixture
def no_browser_left():
    before = children()
    yield
    left = children() - before
    assert [process.cmdline() for process in left] == []


@pytest.fixture
def fake_browser(monkeypatch, tmp_path):
    """Puts a shell script in the place of the browser."""

    def make(script):
        program = tmp_path / "chromium"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("BROWSER_PATH", str(program))

    return make


def test_a_page_needs_no_network(figure):
    page = to_page(figure)
    without_scripts = re.sub(r"(?s)<script>.*?</script>", "", page)
    assert re.findall(r"<(?:script|link|img|iframe)\b", without_scripts) == []
    assert "Plotly.newPlot" in page
    assert '"showSendToCloud": false' in page
    assert "<title>Accuracy</title>" in page
    assert to_page(figure) == page


def test_what_has_ended_is_not_waited_for_though_nobody_takes_note_of_it(monkeypatch):
    monkeypatch.setattr(export, "CLOSING", math.inf)
    ended, browser = subprocess.Popen(["true"]), Browser()
    browser._processes = [psutil.Process(ended.pid)]
    wait_for(lambda: browser._processes[0].status() == psutil.STATUS_ZOMBIE)
    browser._kill()
    assert ended.wait() == 0


@pytest.mark.browser
def test_several_pictures_come_from_one_browser(figure, installed, no_browser_left):
    with Browser() as browser:
        files, problem = draw_pictures(figure, ["png"], browser)
        before = children()
        more, further = draw_pictures(figure, ["svg", "pdf"], browser)
        assert before & children() and not problem + further
    files |= more
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", files["png"][16:24]) == (1440, 2 * figure.layout.height)
    assert files["pdf"].startswith(b"%PDF")
    [width] = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ", files["pdf"])
    assert float(width) == pytest.approx(514.3, abs=1), "as wide as it is printed, in points"
    svg = files["svg"].decode()
    assert svg.startswith("<svg")
    assert "Index of the cell (0 = base)" in svg


@pytest.mark.browser
def test_hostile_names_do_nothing_in_a_browser(join, make_member, installed, tmp_path):
    row = make_member(EVIL, 0, variant=EVIL, trial_id=EVIL, named_dataset=EVIL)
    page = to_page(plot("accuracy_by_index", join([row], {EVIL: ("done", 0.9)}), EVIL))
    point = "{curveNumber: 0, pointNumber: 0}"
    hover = f"<script>setTimeout(() => Plotly.Fx.hover('figure', [{point}]), 300)</script>"
    file = tmp_path / "figure.html"
    file.write_text(page.replace("</body>", f"{hover}</body>"))
    run = subprocess.run(
        [installed, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=3000", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert "<title>&lt;img" in run.stdout
    assert 'class="hovertext"' in run.stdout
    assert "<img" not in run.stdout.replace("&lt;img", "")


@pytest.mark.parametrize("path", ["/nowhere/chromium", os.curdir, None])
def test_without_a_browser_one_line_says_what_is_left_out(figure, monkeypatch, path):
    what = "no Chromium or Chrome found"
    if path:
        monkeypatch.setenv("BROWSER_PATH", path)
        what = f"BROWSER_PATH {path} is no file"
    else:
        monkeypatch.delenv("BROWSER_PATH", raising=False)
        monkeypatch.setattr("orchestrator.figures.export.Chromium.find_browser", lambda **_: None)
    files, note = draw_pictures(figure, ["png", "pdf"], Browser())
    assert not files
    assert note.startswith(f"PNG, PDF skipped: {what}; install one (Debian: apt-get install")


@pytest.mark.browser
def test_a_browser_that_hangs_is_given_up_once_for_all(
    figure, fake_browser, tmp_path, no_browser_left
):
    starts = tmp_path / "starts"
    starts.touch()
    fake_browser(f"echo >> {starts}\nexec sleep 600")
    with Browser(timeout=1) as browser:
        _, note = draw_pictures(figure, ["png"], browser)
        assert "the browser did not answer within 1 s; set BROWSER_PATH" in note
        before = starts.read_text()
        assert draw_pictures(figure, ["png"], browser) == ({}, note)
        assert starts.read_text() == before, "it is not tried again"


@pytest.mark.browser
def test_a_program_that_is_no_browser_is_named(figure, fake_browser, no_browser_left):
    fake_browser("exit 3")
    with Browser() as browser:
        files, note = draw_pictures(figure, ["png"], browser)
    assert "the browser closed as soon as it started" in note
    assert "\n" not in note
    assert not files


@pytest.mark.browser
def test_a_browser_that_is_only_starting_is_ended(installed, no_browser_left):
    with Browser() as browser:
        browser.start()
