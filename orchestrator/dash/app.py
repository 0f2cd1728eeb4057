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
    FEW_EPOCHS,
    OUTCOMES,
    curve_traces,
    plot_curves,
    plot_outcomes,
    plot_surface,
    surface_fingerprint,
    surface_ids,
)
from orchestrator.dash.live import COLUMNS, FIRST, NAMES, Live, Row
from orchestrator.dash.server import LOCAL, add_events, guard
from orchestrator.figures import export
from orchestrator.housekeeping.status import experiment_title
from orchestrator.output.text import duration
from results_schema.errors import NasSweepError
from results_schema.program import added_metrics
from results_schema.results import Results
from results_schema.store import Store

ALL = "all"
"""The choice of all experiments; a single one's is its name after a colon."""
CLAIM_COLUMNS = {"claim": "claim", "verdict": "verdict", "summary": "size [95 %]", "data": "data"}
"""Entries of a finding's record that have a column, with their headings."""
CLAIM_DETAILS = ("statement", "effect", "measure", "reading", "trials")
"""Entries that are shown while the mouse is on the claim."""

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
"""Field, heading, kind and width in pixels of each column of the table of trials; those of further
axes follow the seed."""

_IDS_OF_ROWS = """
(rows, before) => {
  const ids = (rows || []).map(row => row.trial_id);
  const same = before && before.length === ids.length && ids.every((id, i) => id === before[i]);
  return same ? dash_clientside.no_update : ids;
}
"""
"""The ids of rows; no update if only numbers in the rows have changed."""

_SET_FILTER = "(text, options) => ({...options, quickFilterText: text || ''})"


def build_app(live: Live, host: str = LOCAL, token: str = "") -> Dash:
    """Return the page of a store, for a server of its own at an address; see `server.guard`."""
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
    guard(app.server, host, token)
    add_events(app.server, live)
    app.layout = lambda: _page(title, live)
    _answer_table(app, live)
    _answer_charts(app, live)
    return app


def claims_table(store: Store, experiment: str | None) -> Any:
    """Return a table with a line for each claim on an experiment, or on all if it is None.

    If nothing can be tested, return a text.
    """
    from orchestrator.paper.claims import description, findings  # slow to import, seldom needed

    try:
        names = [experiment] if experiment else None
        found = description.bears_on(findings(Results(store), names), untested=True)
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
    rows = [
        html.Tr(
            [html.Td(text(record[name])) for name in CLAIM_COLUMNS],
            title="\n".join(f"{name}: {text(record[name])}" for name in CLAIM_DETAILS),
        )
        for record in records
    ]
    return html.Table([html.Thead(head), html.Tbody(rows)], className="claims")


def _page(title: str, live: Live) -> html.Div:
    """Return the page, filled with the store's trials and their curves as it is opened."""
    table_state = _table_state(live, ALL)
    rows = live.rows(None)
    shown, last = [row["trial_id"] for row in rows], _last_epoch(rows)
    state = _digest(shown, [], FIRST, [], last <= FEW_EPOCHS)
    curves_state = [state, live.curves.version, table_state]
    traces = curve_traces(dict(live.curves.by_trial), rows, [], FIRST)
    figure = plot_curves(traces, FIRST, last=last)
    metrics = added_metrics(live.store)
    further = [name for name in live.axes() if name not in NAMES]
    seed = [field for field, *_ in _TRIAL_COLUMNS].index("seed") + 1
    columns = [
        *_TRIAL_COLUMNS[:seed],
        *((name, name.replace("_", " "), "text", 120) for name in further),
        *_TRIAL_COLUMNS[seed:-1],
        *((name, name, "number", 120) for name in metrics),
        _TRIAL_COLUMNS[-1],
    ]
    grid = dash_ag_grid.AgGrid(
        id="trials",
        columnDefs=[
            {
                "field": field,
                "headerName": heading,
                "filter": f"ag{kind.title()}ColumnFilter",
                "width": width,
            }
            for field, heading, kind, width in columns
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
    units = {name: f" ({one.unit})" * bool(one.unit) for name, one in metrics.items()}
    titles = COLUMNS | {name: name + unit for name, unit in units.items()}
    column = dcc.Dropdown(titles, FIRST, id="column", clearable=False, className="wide")
    ways = {"log": " logarithmic", "mean": " mean ± over seeds"}
    log = dcc.Checklist(ways, [], id="log", inline=True)
    curves = [
        html.H2("Curves"),
        _choices(column, log),
        dcc.Graph(id="curves", figure=figure, config=_CONFIG),
    ]
    plane = [
        html.H2("Surfaces as they fill"),
        _choices(dcc.Dropdown([], None, id="surface", className="wide")),
        dcc.Graph(id="plane", config=_CONFIG),
    ]
    surfaces = html.Div(plane, id="surfaces", hidden=True)
    # First what was varied on purpose.
    first = ("learning_rate", "dataset", "index", "base")
    named = list(dict.fromkeys([*further, *first, *NAMES]))
    varied = [name for name in named if len({str(row.get(name)) for row in rows}) > 1]
    over, *others = [*varied, "index", "base"]
    kinds = {"dots": " dots", "parallel": " parallel axes"}
    outcomes = [
        html.H2("Outcomes over axes"),
        _choices(
            _picker("x", named, over, "over"),
            _picker("y", [*OUTCOMES, *metrics], OUTCOMES[0], "outcome"),
            _picker("colour", named, others[0], "coloured by"),
            dcc.RadioItems(kinds, "dots", id="kind", inline=True),
        ),
        dcc.Graph(id="outcomes", config=_CONFIG),
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
            dcc.Store(id="outcomes-state"),
            dcc.Store(id="shown"),
            dcc.Store(id="chosen"),
            _choices(
                dcc.Dropdown(experiments, ALL, id="experiment", clearable=False, className="wide"),
                html.Div(find, className="wide"),
            ),
            grid,
            html.Div([html.Div(curves), html.Div(outcomes), surfaces], className="pair"),
            html.H2("Claims so far"),
            html.Button("Test the claims", id="test"),
            dcc.Loading(html.Div(id="claims")),
        ]
    )  # fmt: skip


def _choices(*children: Any) -> html.Div:
    return html.Div(list(children), className="choices")


def _picker(name: str, options: Any, value: str, heading: str) -> html.Label:
    labels = [{"label": one.replace("_", " "), "value": one} for one in options]
    picker = dcc.Dropdown(labels, value, id=name, clearable=False)
    return html.Label([html.Span(heading), picker], className="picker")


def _last_epoch(rows: list[Row]) -> int:
    return max((row["epoch"] for row in rows), default=0)


def _rows_of(live: Live, trials: list[str]) -> list[Row]:
    """Return the rows of some trials in their order; those that are gone are left out."""
    found = {row["trial_id"]: row for row in live.rows(None, set(trials))}
    return [found[trial_id] for trial_id in trials if trial_id in found]


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
        if (left := live.seconds_left(experiment)) is not None:
            text += f"; about {duration(left)} left"
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
        rows = _rows_of(live, shown)
        last = _last_epoch(rows)
        now = [_digest(shown, chosen, column, log, last <= FEW_EPOCHS), version, table_state]
        digest, since, (session, *_) = before
        same = (digest, session) == (now[0], live.session)
        same = same and since >= live.curves.trials_changed_at
        changed = {t for t, at in dict(live.curves.changed_at).items() if at > since}
        if same and changed.isdisjoint(shown):
            return no_update, now
        mean = "mean" in log
        traces = curve_traces(curves, rows, chosen, column, mean=mean)
        # Means may gain a band, and with it change the number of traces.
        if not same or mean:
            return plot_curves(traces, column, log="log" in log, last=last), now
        patch = Patch()
        for number, trace in enumerate(traces):
            if trace["meta"].get("trial") in changed | {None}:
                patch["data"][number].update(trace)
        return patch, now

    @app.callback(
        Output("outcomes", "figure"),
        Output("outcomes-state", "data"),
        Input("table-state", "data"),
        Input("shown", "data"),
        Input("x", "value"),
        Input("y", "value"),
        Input("colour", "value"),
        Input("kind", "value"),
        State("outcomes-state", "data"),
    )
    def update_outcomes(
        _: list[Any], shown: list[str] | None, x: str, y: str, colour: str, kind: str, before: Any
    ) -> tuple[Any, Any]:
        rows = _rows_of(live, shown or [])
        now = _digest(rows, x, y, colour, kind)
        if now == before:
            return no_update, no_update
        return plot_outcomes(rows, x, y, colour, parallel=kind == "parallel"), now

    @app.callback(
        Output("surface", "options"),
        Output("surface", "value"),
        Output("plane", "figure"),
        Output("surface-state", "data"),
        Output("surfaces", "hidden"),
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
            return (no_update,) * 5
        options = ids if ids != before else no_update
        if now == state:
            return options, *(no_update,) * 4
        try:
            figure: Any = plot_surface(live.store, chosen)
        except NasSweepError as error:
            figure = plot_surface(live.store, None).update_layout(title_text=error.what)
        return options, chosen, figure, now, not ids

    @app.callback(
        Output("claims", "children"),
        Input("test", "n_clicks"),
        State("experiment", "value"),
        prevent_initial_call=True,
    )
    def test_claims(_: int | None, choice: str) -> Any:
        return claims_table(live.store, _experiment(choice) or None)
