"""Figures 6 to 8 and 17 to 24: loss and gradient variance on a plane through trained weights.

Contours (Figures 6, 17 to 20): the paper reads off how wide, smooth and convex the basin of a cell
is (Section 4.2.1, Appendix B.3): lighter is a larger loss, dense lines are a steep slope, blank is
extremely large.

Variance maps (Figure 7) and surfaces (Figures 8, 21 to 24): g(α, β) is the variance of the gradient
over instances. The region of low variance shrinks, and the surface rises, from the base to its
narrow variants. Figures 7 and 8 show √g (Section 4.2.2), Figures 21 to 24 g × 10⁻⁵ (Appendix B.4).

All panels of a figure share one logarithmic scale, so that their colours may be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.panels import (
    BELOW,
    Grid,
    Panel,
    make_panels,
    places_by_width,
    square_grid,
)
from orchestrator.figures.scales import (
    MOST_FOLD,
    LogScale,
    format_axis,
    format_number,
    log_ticks,
    shared_scale,
)
from orchestrator.figures.surfaces import (
    SurfacePanel,
    describe_gap,
    hover_centre,
    hover_template,
    panel_titles,
    read_panels,
    subtitle,
    warnings,
)

Columns = Literal["auto", "width"]
"""Arrangement of panels: in rows, or in columns by the width of their cell."""

LINE = {"color": "rgba(255, 255, 255, 0.55)", "width": 0.6}
EDGE = {"color": "#9a9a9a", "width": 0.8}
"""Line where the blank begins."""

AXES = {"std": "Root of gradient variance √g", "variance": "Gradient variance g × 10⁻⁵"}
"""What is shown, by quantity."""

FAR_EYE = {"x": -1.85, "y": -2.28, "z": 1.09}
EYE, CENTRE = {"x": -1.5, "y": -1.87, "z": 0.87}, {"x": -0.05, "y": 0.04, "z": -0.17}
"""Position of the eye and the point it looks at: far enough, and low enough, that no label is cut;
further off for a small panel, whose labels do not shrink with it."""


@dataclass(frozen=True)
class Landscapes:
    """Panels of all members and surfaces, in the experiment's order."""

    panels: tuple[SurfacePanel, ...]
    scale: LogScale | None  # of all that is shown; None while there is nothing finite
    quantity: Literal["loss", "std", "variance"]  # in nat, √g or g × 10⁻⁵


def contours_data(surfaces: pd.DataFrame, points: pd.DataFrame) -> Landscapes:
    """Return the losses of an experiment's contours.

    Raises:
        ConfigError: There is no contour, or a column is absent or has missing values.
    """
    panels = read_panels("contours", "contour", surfaces, points, ("loss", "accuracy"))
    return Landscapes(panels, shared_scale(panel.plane.values["loss"] for panel in panels), "loss")


def variances_data(
    surfaces: pd.DataFrame, points: pd.DataFrame, *, quantity: Literal["std", "variance"] = "std"
) -> Landscapes:
    """Return √g for the quantity "std", g × 10⁻⁵ for "variance"; raise as `contours_data` does."""
    panels = []
    for panel in read_panels("variances", "gradient_variance", surfaces, points, ("variance",)):
        variance = panel.plane.values["variance"]
        # A variance is never below 0; one that is stored as such is no number to draw.
        variance = np.where(variance >= 0, variance, np.nan)
        shown = np.sqrt(variance) if quantity == "std" else 1e-5 * variance
        plane = replace(panel.plane, values={"variance": variance, "shown": shown})
        panels.append(replace(panel, plane=plane))
    scale = shared_scale(panel.plane.values["shown"] for panel in panels)
    return Landscapes(tuple(panels), scale, quantity)


def plot_contours(data: Landscapes, title: str, *, columns: Columns = "auto") -> go.Figure:
    """Return the figure of contours, with a column to each width of cells for columns="width"."""
    notes: list[str] = []
    if scale := data.scale:
        cross = "White cross: the trained network."
        lines = f"Lines: {10**scale.step:.3g}-fold apart."
        notes = [cross, lines, _blank(scale, "loss ", " nat")]
    splits = " ".join(sorted({panel.split for panel in data.panels if panel.split}))
    images = {"test": "Test", "train": "Training"}.get(splits, "Mean")
    return _plot(data, title, columns, notes, f"{images} loss (nat)", _add_contours)


def plot_variance_maps(data: Landscapes, title: str, *, columns: Columns = "auto") -> go.Figure:
    """Return the figure of heat maps, with a column to each width of cells for columns="width"."""
    return _plot(data, title, columns, _variance_notes(data), AXES[data.quantity], _add_map)


def plot_variance_surfaces(data: Landscapes, title: str, *, columns: Columns = "auto") -> go.Figure:
    """Return the figure of surfaces, with a column to each width of cells for columns="width"."""

    def add_surface(place: Panel, panel: SurfacePanel, scale: LogScale) -> bool:
        z = _heights(panel, scale)
        if panel.plane.flat or not np.isfinite(z).any():
            return False
        place.add(
            "surface", x=panel.plane.alphas, y=panel.plane.betas, z=z, coloraxis="coloraxis",
            lighting={"ambient": 0.75, "specular": 0.05}, connectgaps=False,
            text=_variance_texts(panel), hovertemplate=hover_template(panel),
        )  # fmt: skip
        _set_scene(place, panel.extent, scale)
        return True

    notes, axis = _variance_notes(data), AXES[data.quantity]
    return _plot(data, title, columns, notes, axis, add_surface, scenes=True)


def _plot(
    data: Landscapes,
    title: str,
    columns: Columns,
    notes: Sequence[str],
    bar_title: str,
    add_field: Callable[[Panel, SurfacePanel, LogScale], bool],
    *,
    scenes: bool = False,
) -> go.Figure:
    """Return a figure of square panels with one colour bar.

    `notes` are sentences below the panels. `add_field` draws the numbers of a panel, and returns
    whether any is within the scale.
    """
    scale, panels = data.scale, data.panels
    alike = len({panel.extent for panel in panels}) == 1
    between = 26 if alike else 44
    if columns == "width":
        # In reading order.
        places = places_by_width([panel.cell.width for panel in panels], between)
        panels = [panels[i] for i in sorted(range(len(panels)), key=places.__getitem__)]
        shape = Grid(sorted(places), between, square=True)
    else:
        shape = square_grid(panel_titles(panels), between)
    if scenes:
        shape = replace(shape, scenes=True, between=0)
    figure, drawn_on = make_panels(
        shape,
        panel_titles(panels),
        title,
        subtitle(panels),
        " ".join([*notes, *warnings(panels)]),
        # The colour bar stands in place of a legend of two lines.
        [2] if scale else [0],
    )
    for panel, place in zip(panels, drawn_on, strict=True):
        drawn = bool(scale and not panel.plane.empty and add_field(place, panel, scale))
        text = describe_gap(panel, drawn, "loss" if data.quantity == "loss" else "variance")
        _add_text(place, text, drawn)
        if not scenes:
            _set_axes(place, panel.extent, numbered=not alike or place.column == 1)
    if scale:
        low, high = scale.range
        figure.update_layout(
            coloraxis={
                "cmin": low, "cmax": high, "colorscale": "Viridis",
                "colorbar": _colour_bar(shape, scale, bar_title),
            }
        )  # fmt: skip
    return figure


def _blank(scale: LogScale, quantity: str = "", unit: str = "") -> str:
    """Return the sentence about what is left blank."""
    if not scale.cut:
        return f"Blank: {quantity}not finite."
    high = f"{scale.high:,g}" if unit else format_number(scale.high)
    return (
        f"Blank: {quantity}above {high}{unit} ({MOST_FOLD:,.0f} times the least of a median "
        "panel, rounded up) or not finite."
    )


def _variance_notes(data: Landscapes) -> list[str]:
    notes = ["g: variance of the gradient over instances, summed over parameters. Logarithmic."]
    return [*notes, _blank(data.scale)] if data.scale else notes


def _add_contours(place: Panel, panel: SurfacePanel, scale: LogScale) -> bool:
    """Draw losses as bands with lines, or as squares where there is a single row or column."""
    plane = panel.plane
    _, high = scale.range
    losses, accuracies = plane.values["loss"].T, plane.values["accuracy"].T
    heights = np.log10(np.maximum(losses, scale.low))
    # What is not finite is beyond all that is, so that its edge is as smooth as that of the cut.
    top = max(high, float(heights[np.isfinite(heights)].max(initial=high))) + scale.step
    heights = np.where(np.isfinite(heights), heights, top)
    text = [
        [f"loss {a:.4g} nat<br>accuracy {100 * b:.2f} %" for a, b in zip(*pair, strict=True)]
        for pair in zip(losses, accuracies, strict=True)
    ]
    hover = hover_template(panel)
    if plane.flat:
        x, y = np.meshgrid(plane.alphas, plane.betas)
        shown = (heights <= high).ravel()
        place.add_scatter(
            x=x.ravel()[shown], y=y.ravel()[shown], mode="markers", cliponaxis=False,
            text=np.ravel(text)[shown], hovertemplate=hover,
            marker={"symbol": "square", "size": 16, "color": heights.ravel()[shown],
                    "coloraxis": "coloraxis"},
        )  # fmt: skip
    else:
        first, last = scale.lines
        common = {"x": plane.alphas, "y": plane.betas, "z": heights}
        place.add(
            "contour", **common, text=text, hovertemplate=hover, coloraxis="coloraxis", line=LINE,
            contours={"start": first, "end": last, "size": scale.step, "coloring": "fill"},
        )  # fmt: skip
        if heights.max() > high:
            # plotly fills where the constraint does not hold.
            place.add(
                "contour", **common, hoverinfo="skip", fillcolor="white", line=EDGE,
                showscale=False, showlegend=False,
                contours={"type": "constraint", "operation": "<", "value": high},
            )  # fmt: skip
    drawn = bool((np.isfinite(losses) & (losses <= scale.high)).any())
    if drawn:
        _add_centre(place, panel)
    return drawn


def _add_map(place: Panel, panel: SurfacePanel, scale: LogScale) -> bool:
    """Draw variances as a heat map."""
    z = _heights(panel, scale)
    # A single row or column has no step of its own.
    step = 2 * panel.extent
    place.add(
        "heatmap", x=panel.plane.alphas, y=panel.plane.betas, z=z, coloraxis="coloraxis",
        dx=step, dy=step, zsmooth=False, hoverongaps=False,
        text=_variance_texts(panel), hovertemplate=hover_template(panel),
    )  # fmt: skip
    _add_centre(place, panel)
    return bool(np.isfinite(z).any())


def _heights(panel: SurfacePanel, scale: LogScale) -> np.ndarray:
    """Return log₁₀ of what a panel shows, float64 [betas, alphas]; NaN where beyond the scale."""
    shown = panel.plane.values["shown"].T
    inside = np.isfinite(shown) & (shown <= scale.high * (1 + 1e-9))
    return np.log10(np.maximum(np.where(inside, shown, np.nan), scale.low))


def _variance_texts(panel: SurfacePanel) -> list[list[str]]:
    """Return variance and its root at each point, a list per beta."""
    variances = panel.plane.values["variance"].T
    return [[f"g {g:.4g}<br>√g {np.sqrt(g):.4g}" for g in row] for row in variances]


def _add_centre(place: Panel, panel: SurfacePanel) -> None:
    """Add a white cross at the trained weights, with a rim that shows on white ground."""
    place.add_scatter(
        x=[0], y=[0], mode="markers",
        marker={"symbol": "x", "size": 8, "color": "white",
                "line": {"color": style.INK, "width": 0.7}},
        hovertext=[hover_centre(panel)], hoverinfo="text",
    )  # fmt: skip


def _add_text(place: Panel, text: str, drawn: bool) -> None:
    """Add text in the middle of an empty panel, or at the lower edge of one that is drawn."""
    look: dict[str, Any] = {
        "font": {"size": style.SMALL, "color": style.INK if drawn else style.GREY},
        "yanchor": "bottom" if drawn else "middle",
    }
    if place.grid.scenes:
        (left, right), (bottom, top) = place.domain
        if text:
            place.figure.add_annotation(
                text=text, x=(left + right) / 2, y=bottom if drawn else (bottom + top) / 2,
                xref="paper", yref="paper", showarrow=False, **look,
            )  # fmt: skip
        return
    # plotly leaves out a panel without a trace, and with it its axes and its text.
    place.add_scatter(x=[None], y=[None], mode="markers", hoverinfo="skip")
    if text:
        look |= {"x": 0.5, "xanchor": "center", "y": 0.5}
        if drawn:
            look |= {"x": 0, "xanchor": "left", "y": 0, "bgcolor": "rgba(255, 255, 255, 0.85)"}
        place.add_text(text, xref="x domain", yref="y domain", **look)


def _set_axes(place: Panel, extent: float, *, numbered: bool) -> None:
    """Let axes run from minus to plus the panel's extent, β's with numbers if `numbered`."""
    parts = (-1, -0.5, 0, 0.5, 1) if place.grid.panel_width > 200 else (-1, 0, 1)
    ticks = [part * extent for part in parts]
    both = {
        "range": [-extent, extent], "constrain": "domain", "mirror": True,
        "tickvals": ticks, "ticktext": [f"{tick:g}".replace("-", "−") for tick in ticks],
        "showgrid": False, "zeroline": False, "tickfont_size": style.SMALL,
    }  # fmt: skip
    beta = {
        "showticklabels": numbered, "ticks": "outside" if numbered else "", "title_standoff": 2,
        "scaleanchor": place.axes["xref"],
    }  # fmt: skip
    place.set_axes(both, both | beta, ("α", "β"))


def _colour_bar(shape: Grid, scale: LogScale, title: str) -> dict[str, Any]:
    """Return a colour bar below all panels, with numbers along colours that are log₁₀ of them."""
    numbers, wide = log_ticks(scale.low, scale.high), style.page_width() > 500
    return {
        "orientation": "h", "thickness": 12, "len": 0.62 if wide else 1,
        "x": 0.5, "xanchor": "center",
        "y": -(BELOW + 2) / shape.height, "yanchor": "top", "ypad": 0, "outlinewidth": 0,
        "tickvals": [float(np.log10(number)) for number in numbers],
        "ticktext": format_axis(numbers),
        "tickfont": {"size": style.SMALL}, "ticks": "outside",
        "title": {"text": title, "side": "right" if wide else "top", "font": {"size": 13}},
    }  # fmt: skip


def _set_scene(place: Panel, extent: float, scale: LogScale) -> None:
    wide = place.grid.panel_width > 200
    # The lowest number would cover those of β.
    above = scale.low * (scale.high / scale.low) ** 0.12
    numbers = log_ticks(above, scale.high)
    numbers = numbers[:: -(-len(numbers) // (6 if wide else 3))]
    common = {"tickfont": {"size": 11 if wide else 10}, "showspikes": False, "showbackground": True,
              "backgroundcolor": "#f7f7f7", "gridcolor": "#dddddd"}  # fmt: skip

    def side(name: str) -> dict[str, Any]:
        # Titles would reach into the next scene: the name replaces the 0 in the middle.
        return {
            "range": [-extent, extent], "tickvals": [-extent, 0, extent],
            "ticktext": [f"−{extent:g}", f"<b>{name}</b>", f"{extent:g}"], **common,
            "title_text": "",
        }  # fmt: skip

    place.figure.update_scenes(
        xaxis=side("α"), yaxis=side("β"),
        zaxis={**common, "range": list(scale.range),
               "tickvals": [float(np.log10(number)) for number in numbers],
               "ticktext": format_axis(numbers, most=1e3),
               "title_text": ""},
        aspectmode="cube", camera={"eye": EYE if wide else FAR_EYE, "center": CENTRE},
        row=place.row, col=place.column,
    )  # fmt: skip
