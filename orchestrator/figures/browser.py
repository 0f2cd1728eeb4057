"""One headless Chromium for all pictures of a launch, which cannot make it wait for ever.

kaleido's own server for synchronous use waits without end for a browser that fails to start or
to answer. Here every wait has an end, and whatever happens no process is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import kaleido
import psutil
from choreographer.browsers import Chromium
from kaleido.errors import BrowserFailedError, JavascriptError, KaleidoError

from results_schema.errors import MachineError

if TYPE_CHECKING:
    import plotly.graph_objects as go

T = TypeVar("T")

SCALE = 2
"""Pixels of a PNG to a pixel of the figure: 260 to the inch on a column of 5.5 inches."""

CLOSING = 10.0
"""Seconds that a browser gets to close by itself."""

INSTALL = "install one (Debian: apt-get install chromium) or set BROWSER_PATH"
REPLACE = "set BROWSER_PATH to a Chromium or Chrome that works"

# It tells of browsers that were killed or cut off in a word; `MachineError` tells what matters.
logging.getLogger("choreographer").setLevel(logging.CRITICAL)


def find_browser() -> str:
    """The path of Chromium, Chrome or a relative: BROWSER_PATH, else what is installed.

    Raises:
        MachineError: There is none, or BROWSER_PATH names no file.
    """
    named = os.environ.get("BROWSER_PATH")
    path = named or Chromium.find_browser(skip_local=False)
    if path and Path(path).is_file():
        return path
    what = f"BROWSER_PATH {named} is no file" if named else "no Chromium or Chrome found"
    raise MachineError(what, fix=INSTALL)


class Browser:
    """Turns figures into pictures; starts at the first one, stops with its `with` block.

    Args:
        timeout: Seconds for the start, and again for each picture.
    """

    def __init__(self, timeout: float = 120.0) -> None:
        self._timeout = timeout
        self._worker: _Worker | None = None
        self._failure: MachineError | None = None

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def render(self, figure: go.Figure, suffix: str) -> bytes:
        """The picture as a file's bytes.

        Args:
            figure: What to draw.
            suffix: png, svg or pdf.

        Raises:
            MachineError: There is no browser, it does not start or answer, or it cannot draw
                the figure. After all but the last, every further picture fails at once.
        """
        if self._failure:
            raise self._failure
        try:
            return self._render(figure, suffix)
        except (JavascriptError, KaleidoError) as error:
            what = f"the browser cannot draw the figure ({_line(error)})"
            raise MachineError(what, fix="open the HTML in its place") from error
        except TimeoutError as error:
            what = f"the browser did not answer within {self._timeout:g} s"
            raise self._give_up(what, REPLACE) from error
        except MachineError as error:
            raise self._give_up(error.what, error.fix) from error
        except BrowserFailedError as error:
            raise self._give_up("the browser closed as soon as it started", REPLACE) from error
        except (Exception, CancelledError) as error:
            raise self._give_up(f"the browser stopped working ({_line(error)})", REPLACE) from error

    def close(self) -> None:
        """Ends the browser and all its processes; may be called twice."""
        worker, self._worker = self._worker, None
        if worker:
            worker.stop()

    def _render(self, figure: go.Figure, suffix: str) -> bytes:
        if self._worker is None:
            path = find_browser()
            self._worker = _Worker()
            self._worker.start(path, self._timeout)
        return self._worker.render(figure, {"format": suffix, "scale": SCALE}, self._timeout)

    def _give_up(self, what: str, fix: str) -> MachineError:
        """A browser that failed once would fail again, and cost its timeout each time."""
        if self._worker:
            self._worker.kill()
        self.close()
        self._failure = MachineError(what, fix=fix)
        return self._failure


class _Worker:
    """kaleido and its event loop on a thread, since the caller may have a running loop."""

    def __init__(self) -> None:
        self._kaleido: kaleido.Kaleido | None = None
        self._family: list[psutil.Process] = []
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = Thread(target=lambda: asyncio.run(_idle(ready)), daemon=True)
        self._thread.start()
        self._loop, self._ended = ready.result()

    def start(self, path: str, timeout: float) -> None:
        # Without `mathjax=False` every page would ask a server for it.
        self._kaleido = kaleido.Kaleido(path=path, mathjax=False)
        self._wait(self._kaleido.open(), timeout)

    def render(self, figure: go.Figure, options: Any, timeout: float) -> bytes:
        assert self._kaleido
        return self._wait(self._kaleido.calc_fig(figure, options), timeout)

    def stop(self) -> None:
        """Asks the browser to close, and kills what is left of it."""
        self._note_family()
        if self._kaleido:
            with suppress(Exception, CancelledError):
                self._wait(self._kaleido.close(), CLOSING)
        self.kill()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(CLOSING)

    def kill(self) -> None:
        self._note_family()
        _, alive = psutil.wait_procs(self._family, timeout=0.5)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=CLOSING)

    def _note_family(self) -> None:
        """Keeps the processes in mind: they cannot be found once their parent is gone."""
        child = getattr(self._kaleido, "subprocess", None)
        with suppress(psutil.NoSuchProcess):
            if child is not None:
                parent = psutil.Process(child.pid)
                self._family = [parent, *parent.children(recursive=True)]

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        finally:
            future.cancel()


async def _idle(ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    # A failure reaches the caller as an error; what it leaves behind in kaleido is no news.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    ended = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), ended))
    await ended.wait()


def _line(error: BaseException) -> str:
    """The error's first line, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
