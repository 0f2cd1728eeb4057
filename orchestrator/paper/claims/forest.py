"""All claims in one figure: each effect with its interval, against no effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.panels import add_key
from orchestrator.paper.claims.claim import (
    CONTRADICTED,
    COUNTED,
    NO_EFFECT,
    NOT_TESTABLE,
    SUPPORTED,
    VERDICTS,
    Finding,
)
from orchestrator.paper.claims.description import entries, interval, p_value, positions

_COLOURS = {SUPPORTED: style.PALETTE[0], CONTRADICTED: style.PALETTE[1], NO_EFFECT: style.INK}
_ROW, _ABOVE, _BELOW, _LEFT, _RIGHT = 24, 30, 50, 250, 190


def plot_forest(found: Sequence[Finding]) -> go.Figure | None:
    """Return the figure of all main findings that have an interval; None if there are none.

    Every row has its effect's own scale, which `position` centres on no effect: correlations reach
    from −1 to 1, shares from 0 to 1, odds are logarithmic, points end where the interval does.
    """
    main = [entry.main for entry in entries(found)]
    shown = [one for one in main if not math.isnan(one.low + one.null)]
    if not shown:
        return None
    figure = go.Figure()
    texts: list[Any] = []
    for row, one in enumerate(shown):
        low, high, size, null = positions(one)
        marker = _marker(one.verdict)
        name = f"{one.claim}{' (substitute)' * one.substitute}"
        said = "<br>".join(
            map(style.escape_template, (one.statement, one.verdict, one.data, one.reading))
        )
        line = {"color": marker["color"], "width": 2}
        figure.add_scatter(
            x=[low, high], y=[row, row], mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
        said = f"{said}<extra></extra>"
        figure.add_scatter(
            x=[size], y=[row], mode="markers", showlegend=False, marker=marker, hovertemplate=said
        )
        line = {"color": style.GREY, "width": 1, "dash": "dot"}
        figure.add_shape(
            type="line", x0=null, x1=null, y0=row - 0.5, y1=row + 0.5, line=line, layer="below"
        )
        label = f"{interval(one)} {p_value(one)}"
        side = {"yref": "y", "y": row, "showarrow": False, "xref": "paper"}
        side |= {"font": {"size": style.SMALL}}
        texts += [
            {**side, "x": 0, "xanchor": "right", "xshift": -8, "text": style.escape(name)},
            {**side, "x": 1, "xanchor": "left", "xshift": 8, "text": style.escape(label)},
        ]
    for verdict in (*VERDICTS, COUNTED):
        if any(one.verdict == verdict for one in shown):
            add_key(figure, verdict, _marker(verdict))
    figure.update_layout(
        template=style.template(),
        legend={
            "orientation": "h",
            "x": -_LEFT / (style.PAGE_WIDTH - _LEFT - _RIGHT),
            "y": 1,
            "yanchor": "bottom",
        },
        width=style.PAGE_WIDTH,
        height=_ROW * len(shown) + _ABOVE + _BELOW,
        margin={"l": _LEFT, "r": _RIGHT, "t": _ABOVE, "b": _BELOW},
        annotations=texts,
        xaxis={
            "range": [-0.02, 1.02],
            "tickvals": [0, 0.5, 1],
            "ticktext": ["against", "no effect", "as claimed"],
            "zeroline": False,
        },
        yaxis={"range": [len(shown) - 0.5, -0.5], "visible": False},
    )
    return figure


def _marker(verdict: str) -> dict[str, Any]:
    symbol = "circle-open" if verdict == NOT_TESTABLE else "circle"
    return {"color": _COLOURS.get(verdict, style.GREY), "size": 9, "symbol": symbol}
