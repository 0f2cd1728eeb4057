"""Files of a figure: a page that needs no network, and pictures where a browser is found.

Pictures come from one headless Chromium, which cannot make a launch wait for ever: kaleido's own
server for synchronous use waits without end for a browser that fails to start or to answer. Here
every wait has an end, and no process is left behind whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from html import escape
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import kaleido
import plotly.io as pio
import psutil
from choreographer.browsers import Chromium
from kaleido.errors import BrowserFailedError, JavascriptError, KaleidoError
from plotly.offline import get_plotlyjs

from results_schema.errors import ConfigError, MachineError

if TYPE_CHECKING:
    import plotly.graph_objects as go

T = TypeVar("T")

FORMATS = ("html", "png", "svg", "pdf")

CONFIG = {
    "displaylogo": False,
    # plotly would offer a button that uploads the figure to a service.
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "toImageButtonOptions": {"scale": 2},
}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ margin: 0; }} body > div {{ margin: 32px auto 0; width: fit-content; }}
.modebar-container {{ top: -30px !important; }}</style>
</head>
<body>
{script}
{figure}
</body>
</html>
"""

SCALE = 2
"""Pixels of a PNG to a pixel of the figure: 200 to the inch over a page."""

POINTS_A_PIXEL = 0.75
"""Size of a pixel in a PDF that is not scaled."""

CLOSING = 10.0
"""Seconds that a browser gets to close by itself."""

# It logs every browser that was killed or cut off; a `MachineError` has what matters.
logging.getLogger("choreographer").setLevel(logging.CRITICAL)


def draw_pictures(
    figure: go.Figure, formats: Sequence[str], browser: Browser
) -> tuple[dict[str, bytes], str]:
    """Return a figure's pictures by suffix, and a line on why some are left out, or an empty one.

    `formats` are some of `FORMATS`, without html.
    """
    pictures: dict[str, bytes] = {}
    for done, suffix in enumerate(formats):
        try:
            pictures[suffix] = browser.render(figure, suffix)
        except MachineError as error:
            skipped = ", ".join(formats[done:]).upper()
            return pictures, f"{skipped} skipped: {error.what}; {error.fix}"
    return pictures, ""


def check_suffix(path: Path) -> str:
    """Return the suffix of a figure's file, without its dot.

    Raises:
        ConfigError: It is not one of `FORMATS`.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"cannot draw to {str(path)!r}", fix=f"end its name in .{', .'.join(FORMATS)}"
        )
    return suffix


def save_figure(figure: go.Figure, path: Path) -> None:
    """Write a figure to a file in the format of its suffix.

    Raises:
        ConfigError: The suffix is not one of `FORMATS`, or the file cannot be written.
        MachineError: There is no browser for a picture.
    """
    if (suffix := check_suffix(path)) == "html":
        data = to_page(figure).encode()
    else:
        with Browser() as browser:
            data = browser.render(figure, suffix)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", where=str(path)) from error


def to_page(figure: go.Figure) -> str:
    """Return one HTML file with plotly inside it. The same figure gives the same bytes."""
    return page_around(to_body(figure), figure_title(figure))


def to_body(figure: go.Figure) -> str:
    """Return the element of a page that shows a figure."""
    return pio.to_html(
        figure, config=CONFIG, include_plotlyjs=False, full_html=False, div_id="figure"
    )


def page_around(body: str, title: str, plotly: str = "") -> str:
    """Return the page around `to_body`; `plotly` is where it finds plotly, by default inside it."""
    where = f' src="{quote(plotly)}"' if plotly else ""
    script = f"<script{where}>{'' if plotly else get_plotlyjs()}</script>"
    return PAGE.format(title=escape(title), script=script, figure=body)


def figure_title(figure: go.Figure) -> str:
    """Return the title that `style.meta` noted in a figure; another's is "Figure"."""
    return str(_meta(figure).get("title", "Figure"))


def _meta(figure: go.Figure) -> dict[str, Any]:
    """Return what `style.meta` noted in a figure; nothing for one drawn elsewhere."""
    found = figure.layout.meta
    return found if isinstance(found, dict) else {}


def _scale(figure: go.Figure, suffix: str) -> float:
    """Return the factor that a picture is enlarged by; a PDF is as wide as it is to be printed."""
    points = _meta(figure).get("points")
    return points / POINTS_A_PIXEL / figure.layout.width if suffix == "pdf" and points else SCALE


def find_browser() -> str:
    """Return the path of a Chromium or Chrome: BROWSER_PATH, else what is installed.

    Raises:
        MachineError: No browser is found, or BROWSER_PATH does not name a file.
    """
    named = os.environ.get("BROWSER_PATH")
    path = named or Chromium.find_browser(skip_local=False)
    if path and Path(path).is_file():
        return path
    what = f"BROWSER_PATH {named} is no file" if named else "no Chromium or Chrome found"
    raise MachineError(
        what, fix="install one (Debian: apt-get install chromium) or set BROWSER_PATH"
    )


class Browser:
    """Turns figures into pictures; starts at the first one, stops with its `with` block.

    kaleido and its event loop are on a thread, since the caller may have a running loop.

    Args:
        timeout: Seconds for the start, and again for each picture.
    """

    def __init__(self, timeout: float = 120.0) -> None:
        self._timeout = timeout
        self._kaleido: kaleido.Kaleido | None = None
        self._processes: list[psutil.Process] = []
        self._failure: MachineError | None = None

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start, so that the first picture waits less; its `render` reports a failure."""
        if self._kaleido or self._failure:
            return
        try:
            # Without `mathjax=False` every page would ask a server for it.
            self._kaleido = kaleido.Kaleido(path=find_browser(), mathjax=False)
        except MachineError as error:
            self._failure = error
            return
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = Thread(target=lambda: asyncio.run(_idle(ready)), daemon=True)
        self._thread.start()
        self._loop, self._ended = ready.result()
        self._opened = asyncio.run_coroutine_threadsafe(self._kaleido.open(), self._loop)

    def render(self, figure: go.Figure, suffix: str) -> bytes:
        """Return the picture as the bytes of a png, svg or pdf.

        Raises:
            MachineError: No browser is found, it does not start or answer, or it cannot draw
                the figure. After all but the last, every further picture fails at once.
        """
        self.start()
        if self._failure:
            raise self._failure
        assert self._kaleido
        try:
            self._opened.result(self._timeout)
            options: Any = {"format": suffix, "scale": _scale(figure, suffix)}
            return self._wait(self._kaleido.calc_fig(figure, options), self._timeout)
        except (JavascriptError, KaleidoError) as error:
            what = f"the browser cannot draw the figure ({_first_line(error)})"
            raise MachineError(what, fix="open the HTML in its place") from error
        except TimeoutError:
            self._failure = _unusable(f"did not answer within {self._timeout:g} s")
        except BrowserFailedError:
            self._failure = _unusable("closed as soon as it started")
        except (Exception, CancelledError) as error:
            self._failure = _unusable(f"stopped working ({_first_line(error)})")
        # A browser that failed once would fail again, and cost its timeout each time.
        self._opened.cancel()
        self._kill()
        self.close()
        raise self._failure

    def close(self) -> None:
        """End the browser and all its processes; may be called twice."""
        if self._kaleido is None:
            return
        with suppress(Exception, CancelledError):
            # What is only starting can't be ended: its processes are not known yet.
            self._opened.result(CLOSING)
        self._note_processes()
        with suppress(Exception, CancelledError):
            self._wait(self._kaleido.close(), CLOSING)
        self._kill()
        self._kaleido = None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(CLOSING)

    def _kill(self) -> None:
        self._note_processes()
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        end = monotonic() + CLOSING
        while any(map(_runs, self._processes)) and monotonic() < end:
            sleep(0.01)

    def _note_processes(self) -> None:
        # Children cannot be found once their parent is gone.
        child = getattr(self._kaleido, "subprocess", None)
        # psutil finds nothing to parse in an entry of /proc whose process is ending: IndexError.
        with suppress(psutil.NoSuchProcess, IndexError):
            if child is not None:
                parent = psutil.Process(child.pid)
                self._processes = [parent]
                self._processes += parent.children(recursive=True)

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        finally:
            future.cancel()


def _runs(process: psutil.Process) -> bool:
    # A container's first process may be slow to take note of orphans that have ended, or never do.
    with suppress(psutil.NoSuchProcess, IndexError):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def _idle(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    # A failure reaches the caller as an error; what it leaves behind in kaleido is not reported.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    ended = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), ended))
    await ended.wait()


def _unusable(what: str) -> MachineError:
    return MachineError(
        f"the browser {what}", fix="set BROWSER_PATH to a Chromium or Chrome that works"
    )


def _first_line(error: BaseException) -> str:
    """Return the error's first line, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
