"""Serve the live page of a store to this machine's own browser, or to those who have its token.

By default the page listens on 127.0.0.1 alone. A site elsewhere can still make a browser ask it,
under a name that the site lets point here (DNS rebinding): such a request names that site as its
host or origin, and is refused. At any other address, every request needs the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from results_schema.errors import ConfigError, MachineError
from results_schema.store import Store

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.serving import BaseWSGIServer

    from orchestrator.dash.live import Live

LOCAL = "127.0.0.1"
TOKEN = "NAS_SWEEP_DASH_TOKEN"
"""Variable of the environment with the token; without it, each start makes one."""
SHORTEST_TOKEN = 16
_COOKIE = "nas_sweep_dash"
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


def token_for(host: str) -> str:
    """Return the token that a page at an address asks for; empty for this machine's own addresses.

    Raises:
        ConfigError: The token of the environment is too short.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return ""
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    if len(token) < SHORTEST_TOKEN:
        what = f"the token has {len(token)} characters"
        fix = f"use at least {SHORTEST_TOKEN}, or leave it out"
        raise ConfigError(what, where=TOKEN, fix=fix)
    return token


def make_server(store: Store, port: int, host: str = LOCAL, token: str = "") -> BaseWSGIServer:
    """Return a server of a store's page, which listens already.

    Its `serve_forever` ends by Ctrl-C alone. Port 0 stands for any that is free; `token` is that of
    `token_for`.

    Raises:
        MachineError: Dash is not installed, or the address or port can't be used.
    """
    if not (find_spec("dash") and find_spec("dash_ag_grid")):
        raise MachineError(
            "the live page needs Dash, which is not installed",
            fix="pip install 'nas-sweep[dash]', or uv sync --extra dash",
        )
    with _listen(host, port) as listener:
        from orchestrator.dash.live import Live

        live = Live(store)
        # Dash takes a second to import, in which the store is read.
        threading.Thread(target=live.refresh, daemon=True).start()
        from werkzeug import serving

        from orchestrator.dash.app import build_app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        # The server duplicates the descriptor.
        app, descriptor = build_app(live, host, token).server, listener.fileno()
        return serving.make_server(host, 0, app, threaded=True, fd=descriptor)


def guard(server: Flask, host: str = LOCAL, token: str = "") -> None:
    """Refuse requests under another name than this machine's, or without the token if there is one.

    A browser gives the token once, as `/?token=…`, and keeps it in a cookie.
    """
    from flask import abort, make_response, redirect, request

    def fits(given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), token.encode())

    @server.before_request
    def _check() -> Any:
        origin = request.headers.get("Origin")
        try:
            foreign = origin and urlsplit(origin).netloc != request.host
            name = urlsplit(f"//{request.host}").hostname
        except ValueError:  # such as http://[
            abort(403, "Host or Origin is no address")
        if foreign:
            abort(403, "this page answers no other")
        if not token:
            if name not in {*_HOSTS, host}:
                abort(403, "open the page as http://127.0.0.1")
            return None
        if fits(request.args.get("token")):
            # The address without the token, so that it stays out of bookmarks and screenshots.
            answer = make_response(redirect(request.path, 303))
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="Strict")
            return answer
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if not fits(request.cookies.get(_COOKIE)) and not (scheme == "Bearer" and fits(bearer)):
            abort(401, "open the page by the address that nas-sweep dash printed")
        return None

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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        fix = "name another port, such as --port 0, or an address of this machine after --host"
        raise MachineError(f"{host} port {port} can't be used: {error}", fix=fix) from error
    return listener
