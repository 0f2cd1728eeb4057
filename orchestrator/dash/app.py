"""The live page: what is on it, and what its callbacks answer when a choice or the store changes.

The page keeps what it shows in `dcc.Store` elements: `version`, the newest version of the store
that it was sent; `table-state`, the session, version and choice of the table; `curves-state` and
`surface-state`, what the charts show. A callback compares them, and sends only what is new.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import dash_ag_grid
from dash import Dash, Input, Output, Patch, State, dcc, html, no_update

from orchestrator.dash.charts import (
    COLUMN_TITLES,
    curve_traces,
    plot_curves,
    plot_surface,
    surface_fingerprint,
    surface_ids,
)
from orchestrator.dash.live import COLUMNS, Live
from orchestrator.dash.server import add_events, guard
from orchestrator.figures import export
from orchestrator.housekeeping.status import experiment_title
from results_schema.errors import NasSweepError
from results_schema.program import added_metrics
from results_schema.results import Results
from results_schema.store import Store

ALL = "all"
"""The choice of all experiments; a single one's is its name after a colon."""
CLAIM_COLUMNS = {
    "claim": "claim",
    "statement": "the paper says",
    "effect": "effect",
    "measure": "measured",
    "verdict": "verdict",
    "summary": "size [95 %]",
    "data": "data",
    "reading": "reading",
    "trials": "trials",
}
"""Entries of a finding's record, with their headings."""

_CONFIG: Any = export.CONFIG
_HERE = Path(__file__).parent
_TRIAL_COLUMNS = (
    ("state", "state", "text", 92),
    ("base", "base", "text", 110),
    ("variant", "variant", "text", 110),
    ("index", "index", "number", 84),
    ("dataset", "data set", "text", 110),
    ("learning_rate", "rate", "number", 84),
    ("seed", "seed", "number", 80),
    ("width", "width", "number", 84),
    ("depth", "depth", "number", 84),
    ("epoch", "epoch", "number", 88),
    ("test_accuracy", "test accuracy", "number", 132),
    ("best_test_accuracy", "best", "number", 92),
    ("test_loss", "test loss", "number", 104),
    ("train_loss", "train loss", "number", 106),
    ("trial_id", "trial", "text", 330),
)
"""Field, heading, kind and width in pixels of each column of the table of trials."""

_IDS_OF_ROWS = """
(rows, before) => {
  const ids = (rows || []).map(row => row.trial_id);
  const same = before && before.length === ids.length && ids.every((id, i) => id === before[i]);
  return same ? dash_clientside.no_update : ids;
}
"""
"""The ids of rows; no update if only numbers in the rows have changed."""

_SET_FILTER = "(text, options) => ({...options, quickFilterText: text || ''})"


def build_app(live: Live) -> Dash:
    """Return the page of a store, for a server of its own."""
    title = f"nas-sweep: {live.store.location.rpartition('/')[2]}"
    app = Dash(
        "nas-sweep",
        title=title,
        update_title="",
        serve_locally=True,
        include_assets_files=False,
        # Dash would serve every file of this folder: it does not exist.
        assets_folder=str(_HERE / "no-assets"),
        index_string=(_HERE / "page.html").read_text("utf-8"),
        enable_mcp=False,
        add_log_handler=False,
    )
    guard(app.server)
    add_events(app.server, live)
    app.layout = lambda: _page(title, live)
    _answer_table(app, live)
    _answer_charts(app, live)
    return app


def claims_table(store: Store, experiment: str | None) -> Any:
    """Return a table with a row for each claim on an experiment, or on all if it is None.

    If nothing can be tested, return a text.
    """
    from orchestrator.paper.claims import description, findings  # slow to import, seldom needed

    try:
        found = findings(Results(store), [experiment] if experiment else None)
    except NasSweepError as error:
        return html.P(str(error))
    if not found:
        return html.P("There is nothing to test yet.")

    def text(value: Any) -> str:
        if value is None:
            return ""
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    head = html.Tr([html.Th(heading) for heading in CLAIM_COLUMNS.values()])
    records = [description.record(entry.main) for entry in description.entries(found)]
    rows = [html.Tr([html.Td(text(record[name])) for name in CLAIM_COLUMNS]) for record in records]
    return html.Table([html.Thead(head), html.Tbody(rows)], className="claims")


def _page(title: str, live: Live) -> html.Div:
    """Return the page, filled with the store's trials and their curves as it is opened."""
    table_state = _table_state(live, ALL)
    rows = live.rows(None)
    shown = [row["trial_id"] for row in rows]
    curves_state = [_digest(shown, [], COLUMNS[0], []), live.curves.version, table_state]
    traces = curve_traces(dict(live.curves.by_trial), shown, [], COLUMNS[0], live.label)
    figure = plot_curves(traces, COLUMNS[0])
    metrics = added_metrics(live.store).values()
    shown_columns = [*_TRIAL_COLUMNS[:-1], *((m.name, m.name, "number", 120) for m in metrics)]
    grid = dash_ag_grid.AgGrid(
        id="trials",
        columnDefs=[
            {
                "field": field,
                "headerName": heading,
                "filter": f"ag{kind.title()}ColumnFilter",
                "width": width,
            }
            for field, heading, kind, width in [*shown_columns, _TRIAL_COLUMNS[-1]]
        ],
        rowData=rows,
        getRowId="params.data.trial_id",
        defaultColDef={"sortable": True, "resizable": True},
        dashGridOptions={
            "rowSelection": {"mode": "multiRow"},
            "animateRows": False,
            "rowHeight": 28,
            "headerHeight": 32,
            # A dot in a field's name is part of the name.
            "suppressFieldDotNotation": True,
        },
        style={"height": "330px"},
    )
    find = dcc.Input(id="find", type="text", placeholder="filter the table", debounce=0.3)
    experiments = [{"label": "all experiments", "value": ALL}]
    titles = COLUMN_TITLES | {m.name: m.name + f" ({m.unit})" * bool(m.unit) for m in metrics}
    column = dcc.Dropdown(titles, COLUMNS[0], id="column", clearable=False, className="wide")
    log = dcc.Checklist([{"label": " logarithmic", "value": "log"}], [], id="log")
    curves = [
        html.H2("Curves"),
        _choices(column, log),
        dcc.Graph(id="curves", figure=figure, config=_CONFIG),
    ]
    surfaces = [
        html.H2("Surfaces as they fill"),
        _choices(dcc.Dropdown([], None, id="surface", className="wide")),
        dcc.Graph(id="plane", config=_CONFIG),
    ]
    return html.Div(
        [
            html.H1(title),
            html.P(id="counts", className="counts"),
            html.P(id="problems", className="problems"),
            dcc.Store(id="version"),
            dcc.Store(id="table-state", data=table_state),
            dcc.Store(id="curves-state", data=curves_state),
            dcc.Store(id="surface-state"),
            dcc.Store(id="shown"),
            dcc.Store(id="chosen"),
            _choices(
                dcc.Dropdown(experiments, ALL, id="experiment", clearable=False, className="wide"),
                html.Div(find, className="wide"),
            ),
            grid,
            html.Div([html.Div(curves), html.Div(surfaces)], className="pair"),
            html.H2("Claims so far"),
            html.Button("Test the claims", id="test"),
            dcc.Loading(html.Div(id="claims")),
        ]
    )  # fmt: skip


def _choices(*children: Any) -> html.Div:
    return html.Div(list(children), className="choices")


def _table_state(live: Live, choice: str) -> list[Any]:
    return [live.session, live.refresh(), choice]


def _digest(*shown: Any) -> str:
    """Return a short text that is the same for the same content of a chart."""
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def _experiment(choice: str) -> str | None:
    return None if choice == ALL else choice.removeprefix(":")


def _answer_table(app: Dash, live: Live) -> None:
    listen = (_HERE / "listen.js").read_text("utf-8")
    app.clientside_callback(listen, Input("curves-state", "data"))

    @app.callback(
        Output("trials", "rowData"),
        Output("trials", "rowTransaction"),
        Output("counts", "children"),
        Output("problems", "children"),
        Output("experiment", "options"),
        Output("table-state", "data"),
        Input("version", "data"),
        Input("experiment", "value"),
        State("table-state", "data"),
    )
    def update_table(_: str | None, choice: str, before: list[Any]) -> tuple[Any, ...]:
        now = _table_state(live, choice)
        experiment = _experiment(choice)
        counts = live.counts(experiment)
        states = ", ".join(f"{number} {state}" for state, number in counts.items()) or "none yet"
        text = f"{sum(counts.values())} trials: {states}"
        damaged = [f"{t}: {why}" for t, why in sorted(live.curves.damaged.items())]
        problems = "\n".join([*filter(None, [live.problem]), *damaged[:5]])
        options = [
            {"label": "all experiments", "value": ALL},
            *({"label": experiment_title(e), "value": f":{e}"} for e in live.experiments()),
        ]
        # The page may have rows of an earlier process, or of another experiment.
        known = before[0] == live.session and before[2] == choice
        changed = live.changed_rows(experiment, before[1]) if known else None
        if changed is None:
            return live.rows(experiment), no_update, text, problems, options, now
        update = {"update": changed, "async": False} if changed else no_update
        return no_update, update, text, problems, options, now

    for output, rows in (("shown", "virtualRowData"), ("chosen", "selectedRows")):
        app.clientside_callback(
            _IDS_OF_ROWS, Output(output, "data"), Input("trials", rows), State(output, "data")
        )
    app.clientside_callback(
        _SET_FILTER,
        Output("trials", "dashGridOptions"),
        Input("find", "value"),
        State("trials", "dashGridOptions"),
    )


def _answer_charts(app: Dash, live: Live) -> None:
    @app.callback(
        Output("curves", "figure"),
        Output("curves-state", "data"),
        Input("table-state", "data"),
        Input("shown", "data"),
        Input("chosen", "data"),
        Input("column", "value"),
        Input("log", "value"),
        State("curves-state", "data"),
        prevent_initial_call=True,
    )
    def update_curves(
        table_state: list[Any],
        shown: list[str] | None,
        chosen: list[str] | None,
        column: str,
        log: list[str],
        before: list[Any],
    ) -> tuple[Any, Any]:
        if shown is None or column not in (*COLUMNS, *added_metrics(live.store)):
            return no_update, no_update
        # Read before the curves, which may grow meanwhile: then they are drawn once more.
        version = live.curves.version
        curves, chosen = dict(live.curves.by_trial), chosen or []
        now = [_digest(shown, chosen, column, log), version, table_state]
        digest, since, (session, *_) = before
        same = (digest, session) == (now[0], live.session)
        same = same and since >= live.curves.trials_changed_at
        changed = {t for t, at in dict(live.curves.changed_at).items() if at > since}
        if same and changed.isdisjoint(shown):
            return no_update, now
        traces = curve_traces(curves, shown, chosen, column, live.label)
        if not same:
            return plot_curves(traces, column, log=bool(log)), now
        patch = Patch()
        for number, trace in enumerate(traces):
            if trace["meta"].get("trial") in changed | {None}:
                patch["data"][number].update(trace)
        return patch, now

    @app.callback(
        Output("surface", "options"),
        Output("surface", "value"),
        Output("plane", "figure"),
        Output("surface-state", "data"),
        Input("version", "data"),
        Input("surface", "value"),
        State("surface", "options"),
        State("surface-state", "data"),
    )
    def update_surface(
        _: str | None, chosen: str | None, before: list[str] | None, state: list[Any] | None
    ) -> tuple[Any, ...]:
        try:
            ids = surface_ids(live.store)
            chosen = chosen if chosen in ids else next(iter(ids), None)
            now = [chosen, surface_fingerprint(live.store, chosen)]
        except NasSweepError:  # shown above the table
            return no_update, no_update, no_update, no_update
        options = ids if ids != before else no_update
        if now == state:
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
    def test_claims(_: int | None, choice: str) -> Any:
        return claims_table(live.store, _experiment(choice) or None)
