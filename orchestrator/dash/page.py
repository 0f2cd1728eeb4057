"""What stands on the page: a table of trials, their curves, a surface, the claims."""

from __future__ import annotations

from typing import Any, NamedTuple

import dash_ag_grid
import plotly.graph_objects as go
from dash import dcc, html

from orchestrator.dash.curve_chart import WORDS
from orchestrator.figures import export

CONFIG: Any = export.CONFIG

ALL = "all"
"""The choice of all experiments; an experiment's is its name behind a colon."""

INDEX = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{%title%}</title>
{%metas%}{%favicon%}{%css%}
<style>
body { margin: 0 auto; max-width: 1440px; padding: 12px 20px; color: #222222;
  font: 14px Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 20px; margin: 4px 0; } h2 { font-size: 15px; margin: 18px 0 6px; }
.told { color: #6b6b6b; margin: 2px 0 10px; } .trouble { color: #B00020; white-space: pre-wrap; }
.choices { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; margin: 8px 0; }
.choices > .wide { flex: 0 1 420px; width: 420px; }
.choices input { padding: 7px; font: inherit; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: 16px; }
.claims { border-collapse: collapse; } .claims td, .claims th { text-align: left;
  padding: 3px 12px 3px 0; border-bottom: 1px solid #e9e9e9; vertical-align: top; }
button { font: inherit; padding: 6px 12px; }
</style>
</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>
"""

FIELDS = (
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
"""Field, heading, kind and width in pixels of each column of the table."""


class Filled(NamedTuple):
    """What a page that is opened shows at once.

    Attributes:
        rows: Of the table.
        had: What `rows` show, as the page's callbacks tell it.
        drawn: What `figure` shows, likewise.
        figure: The curves.
    """

    rows: list[dict[str, Any]]
    had: list[Any]
    drawn: list[Any]
    figure: go.Figure


def page(title: str, filled: Filled) -> html.Div:
    """The whole page.

    Args:
        title: Plain text.
        filled: What it shows before the first answer to its questions.
    """
    return html.Div(
        [
            html.H1(title),
            html.P(id="told", className="told"),
            html.P(id="trouble", className="trouble"),
            dcc.Store(id="turn"),
            dcc.Store(id="had", data=filled.had),
            dcc.Store(id="drawn", data=filled.drawn),
            dcc.Store(id="seen"),
            dcc.Store(id="shown"),
            dcc.Store(id="chosen"),
            html.Div(
                [
                    dcc.Dropdown(
                        [{"label": "all experiments", "value": ALL}], ALL, id="experiment",
                        clearable=False, className="wide",
                    ),
                    html.Div(
                        dcc.Input(
                            id="find", type="text", placeholder="filter the table", debounce=0.3
                        ),
                        className="wide",
                    ),
                ],
                className="choices",
            ),
            _table(filled.rows),
            html.Div([_curves(filled.figure), _surface()], className="pair"),
            html.H2("Claims so far"),
            html.Button("Test the claims", id="test"),
            dcc.Loading(html.Div(id="claims")),
        ]
    )  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> Any:
    columns = [
        {
            "field": field,
            "headerName": name,
            "filter": f"ag{kind.title()}ColumnFilter",
            "width": width,
        }
        for field, name, kind, width in FIELDS
    ]
    return dash_ag_grid.AgGrid(
        id="trials",
        columnDefs=columns,
        rowData=rows,
        getRowId="params.data.trial_id",
        defaultColDef={"sortable": True, "resizable": True},
        dashGridOptions={
            "rowSelection": {"mode": "multiRow"},
            "animateRows": False,
            "rowHeight": 28,
            "headerHeight": 32,
            # Points in a field's name are part of it.
            "suppressFieldDotNotation": True,
        },
        style={"height": "330px"},
    )


def _curves(figure: go.Figure) -> html.Div:
    return html.Div(
        [
            html.H2("Curves"),
            html.Div(
                [
                    dcc.Dropdown(
                        WORDS, "test_accuracy", id="column", clearable=False, className="wide"
                    ),
                    dcc.Checklist([{"label": " logarithmic", "value": "log"}], [], id="log"),
                ],
                className="choices",
            ),
            dcc.Graph(id="curves", figure=figure, config=CONFIG),
        ]
    )


def _surface() -> html.Div:
    return html.Div(
        [
            html.H2("Surfaces as they fill"),
            html.Div([dcc.Dropdown([], None, id="surface", className="wide")], className="choices"),
            dcc.Graph(id="plane", config=CONFIG),
        ]
    )
