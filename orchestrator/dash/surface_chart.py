"""One surface as it fills: a heat map of the points that are measured."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from orchestrator.figures import style
from results_schema import layout, tables
from results_schema.errors import MissingKey
from results_schema.store import Store
from results_schema.tables import POINTS


def surface_ids(store: Store) -> list[str]:
    """Surfaces of which there are points on a grid, by trial."""
    names = layout.names([k for k in store.list(layout.POINTS) if k.endswith(".parquet")])
    return sorted(name for name in names if "-curvature-" not in name)


def surface_stamp(store: Store, surface_id: str | None) -> str:
    """What changes with the table of a surface's points; empty without one."""
    told = store.stat(layout.points(surface_id)) if surface_id else None
    return told.mark if told else ""


def plot_surface(store: Store, surface_id: str | None) -> go.Figure:
    """The heat map: log₁₀ of the loss of a contour, of √variance of a gradient variance.

    Args:
        store: Whose.
        surface_id: Which; None for an empty chart.

    Raises:
        CorruptData: The file of its points is damaged.
    """
    figure = go.Figure()
    told = "No surface has a point yet"
    if surface_id is not None and surface_id in surface_ids(store):
        key = layout.points(surface_id)
        try:
            points = tables.from_parquet(store.get(key), POINTS, key)
        except MissingKey:
            points = POINTS.empty_table()
        told = f"{len(points)} point{'s' * (len(points) != 1)}"
        variance = "-gradient_variance-" in surface_id
        name = "√variance" if variance else "loss"
        values = np.asarray(points["variance" if variance else "loss"].to_numpy(), float)
        values = np.sqrt(values) if variance else values
        alphas, rows = np.unique(points["alpha"].to_numpy(), return_inverse=True)
        betas, columns = np.unique(points["beta"].to_numpy(), return_inverse=True)
        grid = np.full((len(betas), len(alphas)), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(values)
        grid[columns, rows] = np.where(np.isfinite(logs), logs, np.nan)
        figure.add_heatmap(
            x=alphas, y=betas, z=grid, colorscale="Viridis",
            colorbar={"title": {"text": f"log₁₀ {name}"}, "thickness": 14},
            hovertemplate="α %{x:.3g}, β %{y:.3g}: 10^%{z:.3g}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        template=style.template(),
        uirevision=surface_id,
        height=430,
        margin={"l": 56, "r": 16, "t": 34, "b": 46},
        title={"text": style.escape(told), "font": {"size": 13}, "x": 0.01},
    )
    figure.update_xaxes(title_text="α", constrain="domain")
    figure.update_yaxes(title_text="β", scaleanchor="x", constrain="domain")
    if not figure.data:
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure
