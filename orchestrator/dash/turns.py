"""How an open page hears that something is new: the server tells it, and it asks for the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Flask, Response

from orchestrator.dash.live import Live

ADDRESS = "turns"

EVERY = 0.15
"""Seconds between two glances at the store, of each page that listens."""

SILENCE = 5.0
"""Seconds without news after which something is said, to notice that nobody listens any more."""

LISTEN = f"""
() => {{
  // Pages that are drawn slowly, or of a store that changes often, skip turns.
  const pause = 300, patience = 10000;
  const turns = window.turns ??= {{latest: null, shown: null, busy: false}};
  const free = () => {{ turns.busy = false; turns.next(); }};
  if (!turns.next) {{
    turns.next = () => {{
      if (turns.busy || turns.latest === turns.shown) return;
      turns.busy = true;
      turns.shown = turns.latest;
      dash_clientside.set_props('turn', {{data: turns.shown}});
      turns.timer = setTimeout(free, patience);
    }};
    let source = null;
    const listen = () => {{
      source?.close();
      source = document.hidden ? null : new EventSource('{ADDRESS}');
      if (source) source.onmessage = told => {{ turns.latest = told.data; turns.next(); }};
    }};
    document.addEventListener('visibilitychange', listen);
    listen();
  }} else if (turns.busy) {{
    clearTimeout(turns.timer);
    turns.timer = setTimeout(free, pause);
  }}
  return dash_clientside.no_update;
}}
"""
"""Sets the page's turn to what the server tells, once the turn before is drawn.

It is called when the page is there, and whenever a turn has been drawn. A page that is hidden
listens no longer, and costs nothing.
"""


def add_turns(server: Flask, live: Live) -> None:
    """Tells who asks of each turn as it comes."""

    def answer() -> Response:
        headers = {"Cache-Control": "no-store"}
        return Response(events(live), mimetype="text/event-stream", headers=headers)

    server.add_url_rule(f"/{ADDRESS}", ADDRESS, answer)


def events(live: Live) -> Iterator[str]:
    """Server-sent events: the turn, and whatever comes after it, until nobody listens."""
    told, since = None, time.monotonic()
    while True:
        turn, now = live.look(), time.monotonic()
        if turn != told:
            yield f"data: {live.name} {turn}\n\n"
            told, since = turn, now
        elif now - since >= SILENCE:
            yield ":\n\n"
            since = now
        time.sleep(EVERY)
