"""What `nas-sweep dash` does: serve the live page of a store on this machine."""

from __future__ import annotations

import logging
import socket
import threading
import webbrowser
from importlib.util import find_spec

import click

from results_schema.errors import MachineError
from results_schema.store import existing_store

LOCAL = "127.0.0.1"


def serve(location: str, port: int, *, show: bool) -> None:
    """Serves the page until it is interrupted.

    Args:
        location: The store's folder or `s3://bucket/prefix`.
        port: To listen on; 0 for any that is free.
        show: Whether to open a browser.

    Raises:
        StoreError: There is no store.
        MachineError: Dash is not installed, or the port is in use.
    """
    store = existing_store(location)
    if not (find_spec("dash") and find_spec("dash_ag_grid")):
        raise MachineError(
            "the live page needs Dash, which is not installed",
            fix="pip install 'nas-sweep[dash]', or uv sync --extra dash",
        )
    with _listen(port) as listener:
        # Slow to import; a second of it is saved by reading the store meanwhile.
        from orchestrator.dash.live import Live

        live = Live(store)
        threading.Thread(target=live.look, daemon=True).start()
        from werkzeug.serving import make_server

        from orchestrator.dash.app import build_app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server(LOCAL, 0, build_app(live).server, threaded=True, fd=listener.fileno())
        address = f"http://{LOCAL}:{listener.getsockname()[1]}"
        click.echo(f"{address} shows {store.location}; Ctrl-C ends it")
        if show:
            webbrowser.open(address)
        with server:
            server.serve_forever()
        # It ends by an interrupt alone, and keeps that to itself.
        raise KeyboardInterrupt


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
