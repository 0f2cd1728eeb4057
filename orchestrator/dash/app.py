"""The page's answers: what is drawn when something is chosen, or has changed in the store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, Patch, State, no_update

from orchestrator.dash.claims_panel import claims_table
from orchestrator.dash.curve_chart import plot_curves, renewed_traces
from orchestrator.dash.curves import COLUMNS
from orchestrator.dash.guard import guard
from orchestrator.dash.live import Live, title
from orchestrator.dash.page import ALL, INDEX, Filled, page
from orchestrator.dash.surface_chart import plot_surface, surface_ids, surface_stamp
from orchestrator.dash.turns import LISTEN, add_turns
from results_schema.errors import NasSweepError

IDS_OF_ROWS = """
(rows, before) => {
  const ids = (rows || []).map(row => row.trial_id);
  const same = before && before.length === ids.length && ids.every((id, i) => id === before[i]);
  return same ? dash_clientside.no_update : ids;
}
"""
"""Rows with new numbers are the same rows: nothing is asked for them."""

SET_FILTER = "(text, options) => ({...options, quickFilterText: text || ''})"


def build_app(live: Live) -> Dash:
    """The page of a store, for a server of one's own.

    Args:
        live: The store.
    """
    name = f"nas-sweep: {live.store.location.rpartition('/')[2]}"
    app = Dash(
        "nas-sweep",
        title=name,
        update_title="",
        serve_locally=True,
        include_assets_files=False,
        # Whatever lies in this folder would be served: it is not there.
        assets_folder=str(Path(__file__).parent / "no-assets"),
        index_string=INDEX,
        enable_mcp=False,
        add_log_handler=False,
    )
    guard(app.server)
    add_turns(app.server, live)
    app.layout = lambda: page(name, _fill(live))
    _add_table(app, live)
    _add_charts(app, live)
    return app


def _fill(live: Live) -> Filled:
    """The trials and their curves as they are when the page is opened."""
    had = _turn(live, ALL)
    rows = live.rows(None)
    shown = [row["trial_id"] for row in rows]
    drawn = [_mark(shown, [], COLUMNS[0], []), live.curves.version, had]
    figure = plot_curves(dict(live.curves.of), shown, [], COLUMNS[0], live.label)
    return Filled(rows, had, drawn, figure)


def _turn(live: Live, choice: str) -> list[Any]:
    """What a table shows: of which process, as of which turn, of which experiment."""
    return [live.name, live.look(), choice]


def _mark(*what: Any) -> str:
    """Short for what a chart shows: the same gives the same."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _add_table(app: Dash, live: Live) -> None:
    app.clientside_callback(LISTEN, Input("drawn", "data"))

    @app.callback(
        Output("trials", "rowData"),
        Output("trials", "rowTransaction"),
        Output("told", "children"),
        Output("trouble", "children"),
        Output("experiment", "options"),
        Output("had", "data"),
        Input("turn", "data"),
        Input("experiment", "value"),
        State("had", "data"),
    )
    def look(_: str | None, choice: str, had: list[Any]) -> tuple[Any, ...]:
        now = _turn(live, choice)
        experiment = _experiment(choice)
        counts = live.counts(experiment)
        told = f"{sum(counts.values())} trials: " + (
            ", ".join(f"{number} {state}" for state, number in counts.items()) or "none yet"
        )
        damaged = [f"{t}: {why}" for t, why in sorted(live.curves.damaged.items())]
        options = [
            {"label": "all experiments", "value": ALL},
            *({"label": title(name), "value": f":{name}"} for name in live.experiments()),
        ]
        trouble = "\n".join([*filter(None, [live.trouble]), *damaged[:5]])
        # A page has no rows of another process, nor of another experiment.
        known = had[0] == live.name and had[2] == choice
        news = live.news(experiment, had[1]) if known else None
        if news is None:
            return live.rows(experiment), no_update, told, trouble, options, now
        update = {"update": news, "async": False} if news else no_update
        return no_update, update, told, trouble, options, now

    for output, rows in (("shown", "virtualRowData"), ("chosen", "selectedRows")):
        app.clientside_callback(
            IDS_OF_ROWS, Output(output, "data"), Input("trials", rows), State(output, "data")
        )
    app.clientside_callback(
        SET_FILTER,
        Output("trials", "dashGridOptions"),
        Input("find", "value"),
        State("trials", "dashGridOptions"),
    )


def _add_charts(app: Dash, live: Live) -> None:
    @app.callback(
        Output("curves", "figure"),
        Output("drawn", "data"),
        Input("had", "data"),
        Input("shown", "data"),
        Input("chosen", "data"),
        Input("column", "value"),
        Input("log", "value"),
        State("drawn", "data"),
        prevent_initial_call=True,
    )
    def curves(
        had: list[Any],
        shown: list[str] | None,
        chosen: list[str] | None,
        column: str,
        log: list[str],
        drawn: list[Any],
    ) -> tuple[Any, Any]:
        if column not in COLUMNS or shown is None:
            return no_update, no_update
        # Read before the curves, which may grow meanwhile: then they are drawn once more.
        version = live.curves.version
        now, chosen = dict(live.curves.of), chosen or []
        after = [_mark(shown, chosen, column, log), version, had]
        mark, since, (name, *_) = drawn
        if (mark, name) != (after[0], live.name) or since < live.curves.gathered:
            return plot_curves(now, shown, chosen, column, live.label, log=bool(log)), after
        renewed = {t for t, number in dict(live.curves.renewed).items() if number > since}
        patch = Patch()
        for number, trace in renewed_traces(now, shown, chosen, column, renewed).items():
            for key, value in trace.items():
                patch["data"][number][key] = value
        return (patch if renewed else no_update), after

    @app.callback(
        Output("surface", "options"),
        Output("surface", "value"),
        Output("plane", "figure"),
        Output("seen", "data"),
        Input("turn", "data"),
        Input("surface", "value"),
        State("surface", "options"),
        State("seen", "data"),
    )
    def surface(
        _: str | None, chosen: str | None, before: list[str] | None, seen: list[Any] | None
    ) -> tuple[Any, ...]:
        try:
            names = surface_ids(live.store)
            chosen = chosen if chosen in names else next(iter(names), None)
            now = [chosen, surface_stamp(live.store, chosen)]
        except NasSweepError:  # it is told above the table
            return no_update, no_update, no_update, no_update
        options = names if names != before else no_update
        if now == seen:
            return options, no_update, no_update, no_update
        try:
            figure: Any = plot_surface(live.store, chosen)
        except NasSweepError as error:
            figure = plot_surface(live.store, None).update_layout(title_text=error.what)
        return options, chosen, figure, now

    @app.callback(
        Output("claims", "children"),
        Input("test", "n_clicks"),
        State("experiment", "value"),
        prevent_initial_call=True,
    )
    def claims(_: int | None, choice: str) -> Any:
        return claims_table(live.store, _experiment(choice) or None)


def _experiment(choice: str) -> str | None:
    return None if choice == ALL else choice.removeprefix(":")
