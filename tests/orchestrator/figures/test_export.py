"""Files of a figure: a page that stands alone, pictures, and what happens without a browser."""

import os
import re
import struct
import subprocess

import psutil
import pytest

from orchestrator.figures import draw
from orchestrator.figures.export import Browser, find_browser, to_page, write_figure
from results_schema.errors import ConfigError, MachineError

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture
def figure(join, make_member):
    members = [make_member("DARTS", index) for index in range(14)]
    results = {m["trial_id"]: ("done", 0.97 - 0.001 * m["index"]) for m in members}
    return draw("accuracy_by_index", lambda _: join(members, results), "Accuracy")


@pytest.fixture
def installed():
    """The browser's path; a test that needs one is skipped where there is none."""
    try:
        return find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: the pictures of figures are not tested")


@pytest.fixture
def no_browser_left():
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert [process.cmdline() for process in left] == []


def collect():
    files = {}
    return files, files.__setitem__


def test_a_page_needs_no_network(figure):
    files, write = collect()
    assert write_figure(figure, write, ("html",)) == []
    page = files["html"].decode()
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", re.sub(r"(?s)<script>.*?</script>", "", page)
    )
    assert tags == []
    assert "Plotly.newPlot" in page
    assert '"showSendToCloud": false' in page
    assert "<title>Accuracy</title>" in page
    assert to_page(figure) == page


def test_several_pictures_come_from_one_browser(figure, installed, no_browser_left):
    files, write = collect()
    with Browser() as browser:
        assert write_figure(figure, write, ("png",), browser) == []
        children = psutil.Process().children(recursive=True)
        assert write_figure(figure, write, ("svg", "pdf"), browser) == []
        assert set(children) & set(psutil.Process().children(recursive=True))
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", files["png"][16:24]) == (1440, 2 * figure.layout.height)
    assert files["pdf"].startswith(b"%PDF")
    svg = files["svg"].decode()
    assert svg.startswith("<svg")
    assert "Index of the cell (0 = base)" in svg


def test_hostile_names_do_nothing_in_a_browser(join, make_member, installed, tmp_path):
    row = make_member(EVIL, 0, variant=EVIL, trial_id=EVIL, named_dataset=EVIL)
    page = to_page(draw("accuracy_by_index", lambda _: join([row], {EVIL: ("done", 0.9)}), EVIL))
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
    title = re.search(r"<title>(.*?)</title>", run.stdout, re.S)
    assert title
    assert title[1].startswith("&lt;script&gt;")
    assert 'class="hovertext"' in run.stdout
    assert "<img" not in run.stdout.replace("&lt;img", "")


@pytest.mark.parametrize("path", ["/nowhere/chromium", os.curdir])
def test_without_a_browser_there_is_the_page_and_one_line(figure, monkeypatch, path):
    monkeypatch.setenv("BROWSER_PATH", path)
    files, write = collect()
    notes = write_figure(figure, write, ("png", "html", "pdf"))
    assert list(files) == ["html"]
    assert notes == [
        f"PNG, PDF skipped: BROWSER_PATH {path} is no file; "
        "install one (Debian: apt-get install chromium) or set BROWSER_PATH"
    ]


def test_where_none_is_installed_the_line_says_what_to_install(figure, monkeypatch):
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setattr("orchestrator.figures.export.Chromium.find_browser", lambda **_: None)
    assert write_figure(figure, collect()[1], ("html", "png")) == [
        "PNG skipped: no Chromium or Chrome found; "
        "install one (Debian: apt-get install chromium) or set BROWSER_PATH"
    ]


def test_a_browser_that_hangs_is_given_up_once_for_all(
    figure, monkeypatch, tmp_path, no_browser_left
):
    program = tmp_path / "chromium"
    starts = tmp_path / "starts"
    program.write_text(f"#!/bin/sh\necho >> {starts}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(program))
    with Browser(timeout=1) as browser:
        (note,) = write_figure(figure, collect()[1], ("png",), browser)
        assert note.startswith(
            "PNG skipped: the browser did not answer within 1 s; set BROWSER_PATH"
        )
        before = starts.read_text() if starts.exists() else ""
        assert write_figure(figure, collect()[1], ("png",), browser) == [note]
        assert (starts.read_text() if starts.exists() else "") == before, "it is not tried again"


def test_a_program_that_is_no_browser_is_told(figure, monkeypatch, tmp_path, no_browser_left):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(program))
    files, write = collect()
    (note,) = write_figure(figure, write)
    assert "the browser closed as soon as it started" in note
    assert "\n" not in note
    assert list(files) == ["html"]


def test_an_unknown_format_is_an_error(figure):
    with pytest.raises(ConfigError, match="'gif'"):
        write_figure(figure, collect()[1], ("html", "gif"))
