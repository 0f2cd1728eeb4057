"""Serve the live page of a store to this machine's own browser, and to nobody else.

The page listens on 127.0.0.1 alone. A site elsewhere can still make a browser ask it, under a name
that the site lets point here (DNS rebinding): such a request names that site as its host or origin,
and is refused.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from results_schema.errors import MachineError
from results_schema.store import Store

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.serving import BaseWSGIServer

    from orchestrator.dash.live import Live

LOCAL = "127.0.0.1"
POLL_SECONDS = 0.15
"""Seconds between two checks of the store, for each page that listens."""
KEEP_ALIVE_SECONDS = 5.0
"""Seconds without news after which an empty event is sent, to notice that the page has gone."""

_HOSTS = frozenset({LOCAL, "localhost"})
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "worker-src 'self' blob:; frame-ancestors 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""A browser then loads nothing from elsewhere, and shows the page in no other."""


def make_server(store: Store, port: int) -> BaseWSGIServer:
    """Return a server of a store's page, which listens already.

    Its `serve_forever` ends by Ctrl-C alone. Port 0 stands for any that is free.

    Raises:
        MachineError: Dash is not installed, or the port is in use.
    """
    if not (find_spec("dash") and find_spec("dash_ag_grid")):
        raise MachineError(
            "the live page needs Dash, which is not installed",
            fix="pip install 'nas-sweep[dash]', or uv sync --extra dash",
        )
    with _listen(port) as listener:
        from orchestrator.dash.live import Live

        live = Live(store)
        # Dash takes a second to import, in which the store is read.
        threading.Thread(target=live.refresh, daemon=True).start()
        from werkzeug import serving

        from orchestrator.dash.app import build_app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        # The server duplicates the descriptor.
        app, descriptor = build_app(live).server, listener.fileno()
        return serving.make_server(LOCAL, 0, app, threaded=True, fd=descriptor)


def guard(server: Flask) -> None:
    """Refuse requests under any other name than this machine's, and keep the page to itself."""
    from flask import abort, request

    @server.before_request
    def _check() -> None:
        if urlsplit(f"//{request.host}").hostname not in _HOSTS:
            abort(403, "open the page as http://127.0.0.1")
        origin = request.headers.get("Origin")
        if origin and urlsplit(origin).netloc != request.host:
            abort(403, "this page answers no other")

    @server.after_request
    def _seal(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response


def add_events(server: Flask, live: Live) -> None:
    """Serve `events` to the pages that listen."""
    from flask import Response

    def answer() -> Response:
        headers = {"Cache-Control": "no-store"}
        return Response(events(live), mimetype="text/event-stream", headers=headers)

    server.add_url_rule("/events", "events", answer)


def events(live: Live) -> Iterator[str]:
    """Yield server-sent events: the version, and each later one, until nobody listens."""
    sent, since = None, time.monotonic()
    while True:
        version, now = live.refresh(), time.monotonic()
        if version != sent:
            yield f"data: {live.session} {version}\n\n"
            sent, since = version, now
        elif now - since >= KEEP_ALIVE_SECONDS:
            yield ":\n\n"
            since = now
        time.sleep(POLL_SECONDS)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOCAL, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise MachineError(
            f"port {port} can't be used: {error}", fix="name another one, such as --port 0"
        ) from error
    return listener
