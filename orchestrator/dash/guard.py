"""Lets nobody in but this machine's own browser.

The page listens on 127.0.0.1 alone. A site elsewhere can still make a browser ask it, under a name
that it lets point here (DNS rebinding): such a request has that site's name as its host or origin.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

HOSTS = frozenset({"127.0.0.1", "localhost"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "worker-src 'self' blob:; frame-ancestors 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What a browser is told: load nothing from elsewhere, and show the page in no other."""


def guard(server: Flask) -> None:
    """Refuses requests under any other name, and keeps the page to itself."""

    @server.before_request
    def _check() -> None:
        if urlsplit(f"//{request.host}").hostname not in HOSTS:
            abort(403, "open the page as http://127.0.0.1")
        origin = request.headers.get("Origin")
        if origin and urlsplit(origin).netloc != request.host:
            abort(403, "this page answers no other")

    @server.after_request
    def _seal(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response
