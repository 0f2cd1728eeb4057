"""The page's answers: what is drawn when something is chosen, or has changed in the store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, no_update

from orchestrator.dash.claims_panel import claims_table
from orchestrator.dash.curve_chart import plot_curves
from orchestrator.dash.curves import COLUMNS
from orchestrator.dash.guard import guard
from orchestrator.dash.live import Live, title
from orchestrator.dash.page import ALL, INDEX, Filled, page
from orchestrator.dash.surface_chart import plot_surface, surface_ids
from results_schema.errors import NasSweepError

IDS_OF_ROWS = "rows => (rows || []).map(row => row.trial_id)"
SET_FILTER = "(text, options) => ({...options, quickFilterText: text || ''})"


def build_app(live: Live) -> Dash:
    """The page of a store, for a server of one's own.

    Args:
        live: The store.
    """
    name = f"nas-sweep: {live.store.root.name}"
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
    app.layout = lambda: page(name, _fill(live))
    _add_table(app, live)
    _add_charts(app, live)
    return app


def _fill(live: Live) -> Filled:
    """The trials and their curves as they are when the page is opened."""
    turn = [live.look(), ALL]
    rows = live.rows(None)
    shown = [row["trial_id"] for row in rows]
    figure = plot_curves(dict(live.curves.of), shown, [], COLUMNS[0], live.label)
    return Filled(rows, _mark(turn, shown, [], COLUMNS[0], []), figure)


def _mark(*what: Any) -> str:
    """Short for what a chart shows: the same gives the same."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _add_table(app: Dash, live: Live) -> None:
    @app.callback(
        Output("turn", "data"),
        Output("trials", "rowData"),
        Output("told", "children"),
        Output("trouble", "children"),
        Output("experiment", "options"),
        Input("tick", "n_intervals"),
        Input("experiment", "value"),
        State("turn", "data"),
    )
    def look(_: int | None, choice: str, before: list[Any] | None) -> tuple[Any, ...]:
        turn = [live.look(), choice]
        if turn == before:
            return (no_update,) * 5
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
        return turn, live.rows(experiment), told, trouble, options

    app.clientside_callback(IDS_OF_ROWS, Output("shown", "data"), Input("trials", "virtualRowData"))
    app.clientside_callback(IDS_OF_ROWS, Output("chosen", "data"), Input("trials", "selectedRows"))
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
        Input("turn", "data"),
        Input("shown", "data"),
        Input("chosen", "data"),
        Input("column", "value"),
        Input("log", "value"),
        State("drawn", "data"),
        prevent_initial_call=True,
    )
    def curves(
        turn: Any,
        shown: list[str] | None,
        chosen: list[str] | None,
        column: str,
        log: list[str],
        drawn: str | None,
    ) -> tuple[Any, Any]:
        mark = _mark(turn, shown, chosen or [], column, log)
        # A new look sets off both the table and this, and the table this once more.
        if column not in COLUMNS or shown is None or mark == drawn:
            return no_update, no_update
        now = dict(live.curves.of)
        return plot_curves(now, shown, chosen or [], column, live.label, log=bool(log)), mark

    @app.callback(
        Output("surface", "options"),
        Output("surface", "value"),
        Output("plane", "figure"),
        Output("seen", "data"),
        Input("tick", "n_intervals"),
        Input("surface", "value"),
        State("surface", "options"),
        State("seen", "data"),
    )
    def surface(
        _: int | None, chosen: str | None, before: list[str] | None, seen: str | None
    ) -> tuple[Any, ...]:
        names = surface_ids(live.store)
        chosen = chosen if chosen in names else next(iter(names), None)
        try:
            figure: Any = plot_surface(live.store, chosen)
        except NasSweepError as error:
            figure = plot_surface(live.store, None).update_layout(title_text=error.what)
        # The title tells the number of points, and a measured point never changes.
        told = f"{chosen}: {figure.layout.title.text}"
        options = names if names != before else no_update
        return (options, chosen, *((no_update, no_update) if told == seen else (figure, told)))

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
