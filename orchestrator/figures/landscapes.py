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
from itertools import chain
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.panels import (
    BELOW,
    Grid,
    Place,
    make_panels,
    places_by_width,
    scene_domain,
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

COLOURS = "Viridis"
LINE = {"color": "rgba(255, 255, 255, 0.55)", "width": 0.6}
EDGE = {"color": "#9a9a9a", "width": 0.8}
"""Line where the blank begins."""

SYMBOLS = {"std": "√g", "variance": "g × 10⁻⁵"}
AXES = {"std": "Root of gradient variance √g", "variance": "Gradient variance g × 10⁻⁵"}
"""What is shown, in short and with its name, by quantity."""

FAR_EYE = {"x": -1.7, "y": -2.1, "z": 1.0}
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
    return _plot_flat(data, title, columns, notes, f"{images} loss (nat)", "loss", _add_contours)


def plot_variance_maps(data: Landscapes, title: str, *, columns: Columns = "auto") -> go.Figure:
    """Return the figure of heat maps, with a column to each width of cells for columns="width"."""
    notes, axis = _variance_notes(data), AXES[data.quantity]
    return _plot_flat(data, title, columns, notes, axis, "variance", _add_map)


def plot_variance_surfaces(data: Landscapes, title: str, *, columns: Columns = "auto") -> go.Figure:
    """Return the figure of surfaces, with a column to each width of cells for columns="width"."""
    scale = data.scale
    panels, flat, _ = _arrange(data.panels, columns)
    shape = replace(flat, scenes=True, between=0)
    figure = _make_figure(panels, shape, title, _variance_notes(data), scale)
    bar = _colour_bar(shape, scale, AXES[data.quantity]) if scale else None
    for number, panel in enumerate(panels):
        z = np.zeros((0, 0))
        if scale and not panel.plane.empty and not panel.plane.flat:
            z = _heights(panel, scale)
        drawn = bool(np.isfinite(z).any())
        if scale and drawn:
            _add_surface(figure, panel, z, scale, shape.place(number))
            if bar:
                figure.data[-1].update(showscale=True, colorbar=bar)
                bar = None
            _set_scene(figure, shape, number, panel.extent, scale, SYMBOLS[data.quantity])
        if text := describe_gap(panel, drawn, "variance"):
            domain = scene_domain(figure, number)
            (left, right), (bottom, top) = domain.x, domain.y
            figure.add_annotation(
                text=text, x=(left + right) / 2, y=bottom if drawn else (bottom + top) / 2,
                xref="paper", yref="paper", yanchor="bottom" if drawn else "middle",
                showarrow=False,
                font={"size": style.SMALL, "color": style.INK if drawn else style.GREY},
            )  # fmt: skip
    return figure


def _plot_flat(
    data: Landscapes,
    title: str,
    columns: Columns,
    notes: Sequence[str],
    bar_title: str,
    quantity: str,
    add_field: Callable[[go.Figure, SurfacePanel, LogScale, Place], bool],
) -> go.Figure:
    """Return a figure of square panels with a colour bar.

    `notes` are sentences below the panels, and `quantity` names in a word what is shown.
    `add_field` draws the numbers of a panel, and returns whether any is within the scale.
    """
    scale = data.scale
    panels, shape, alike = _arrange(data.panels, columns)
    figure = _make_figure(panels, shape, title, notes, scale)
    for number, panel in enumerate(panels):
        place = shape.place(number)
        drawn = False
        if scale and not panel.plane.empty:
            drawn = add_field(figure, panel, scale, place)
        _add_text(figure, describe_gap(panel, drawn, quantity), drawn, place)
        _set_axes(figure, panel, shape, number, numbered=not alike or place[1] == 1)
    if scale:
        low, high = scale.range
        # An invisible point carries the colour bar of all panels.
        figure.add_scatter(
            x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
            marker={
                "color": [low], "cmin": low, "cmax": high, "colorscale": COLOURS,
                "showscale": True, "colorbar": _colour_bar(shape, scale, bar_title),
            },
        )  # fmt: skip
    return figure


def _arrange(
    panels: Sequence[SurfacePanel], columns: Columns
) -> tuple[Sequence[SurfacePanel], Grid, bool]:
    """Return the panels in reading order, their places, and whether their axes are alike."""
    alike = len({panel.extent for panel in panels}) == 1
    between = 26 if alike else 44
    if columns == "width":
        places = places_by_width([panel.width for panel in panels])
        order = sorted(range(len(panels)), key=places.__getitem__)
        most = max(column for _, column in places)
        shape = Grid(len(panels), most, between, square=True, places=tuple(sorted(places)))
        return [panels[i] for i in order], shape, alike
    return panels, square_grid(panel_titles(panels), between), alike


def _make_figure(
    panels: Sequence[SurfacePanel],
    shape: Grid,
    title: str,
    notes: Sequence[str],
    scale: LogScale | None,
) -> go.Figure:
    note = " ".join([*notes, *warnings(panels)])
    # The colour bar stands in place of a legend of two lines.
    legends = [2] if scale else [0]
    return make_panels(shape, panel_titles(panels), title, subtitle(panels), note, legends)


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


def _add_contours(figure: go.Figure, panel: SurfacePanel, scale: LogScale, place: Place) -> bool:
    """Draw losses as bands with lines, or as squares where there is a single row or column."""
    plane = panel.plane
    low, high = scale.range
    heights = np.log10(np.maximum(plane.values["loss"].T, scale.low))
    finite = heights[np.isfinite(heights)]
    # What is not finite is beyond all that is, so that its edge is as smooth as that of the cut.
    top = max(high, float(finite.max()) if finite.size else high) + scale.step
    heights = np.where(np.isfinite(heights), heights, top)
    pairs = zip(plane.values["loss"].T, plane.values["accuracy"].T, strict=True)
    text = [
        [f"loss {a:.4g} nat<br>accuracy {100 * b:.2f} %" for a, b in zip(*pair, strict=True)]
        for pair in pairs
    ]
    if plane.flat:
        _add_squares(figure, panel, heights, text, scale, place)
    else:
        row, column = place
        first, last = scale.lines
        common = {"x": plane.alphas, "y": plane.betas, "z": heights, "showscale": False}
        figure.add_contour(
            **common, text=text, hovertemplate=hover_template(panel), colorscale=COLOURS,
            zmin=low, zmax=high, line=LINE,
            contours={"start": first, "end": last, "size": scale.step, "coloring": "fill"},
            row=row, col=column,
        )  # fmt: skip
        if heights.max() > high:
            # plotly fills where the constraint does not hold.
            figure.add_contour(
                **common, hoverinfo="skip", fillcolor="white", line=EDGE, showlegend=False,
                contours={"type": "constraint", "operation": "<", "value": high},
                row=row, col=column,
            )  # fmt: skip
    losses = plane.values["loss"]
    drawn = bool((np.isfinite(losses) & (losses <= scale.high)).any())
    if drawn:
        _add_centre(figure, panel, place)
    return drawn


def _add_squares(
    figure: go.Figure,
    panel: SurfacePanel,
    heights: np.ndarray,
    text: list[list[str]],
    scale: LogScale,
    place: Place,
) -> None:
    low, high = scale.range
    x, y = np.meshgrid(panel.plane.alphas, panel.plane.betas)
    shown = (heights <= high).ravel()
    figure.add_scatter(
        x=x.ravel()[shown], y=y.ravel()[shown], mode="markers", cliponaxis=False,
        text=[one for one, kept in zip(chain.from_iterable(text), shown, strict=True) if kept],
        hovertemplate=hover_template(panel), showlegend=False,
        marker={"symbol": "square", "size": 16, "color": heights.ravel()[shown],
                "colorscale": COLOURS, "cmin": low, "cmax": high},
        row=place[0], col=place[1],
    )  # fmt: skip


def _add_map(figure: go.Figure, panel: SurfacePanel, scale: LogScale, place: Place) -> bool:
    """Draw variances as a heat map."""
    low, high = scale.range
    z = _heights(panel, scale)
    step = 2 * panel.extent
    figure.add_heatmap(
        x=panel.plane.alphas, y=panel.plane.betas, z=z, zmin=low, zmax=high, colorscale=COLOURS,
        # A single row or column has no step of its own.
        dx=step, dy=step, zsmooth=False, showscale=False, hoverongaps=False,
        text=_variance_texts(panel), hovertemplate=hover_template(panel),
        row=place[0], col=place[1],
    )  # fmt: skip
    _add_centre(figure, panel, place)
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


def _add_centre(figure: go.Figure, panel: SurfacePanel, place: Place) -> None:
    """Add a white cross at the trained weights, with a rim that shows on white ground."""
    figure.add_scatter(
        x=[0], y=[0], mode="markers", showlegend=False,
        marker={"symbol": "x", "size": 8, "color": "white",
                "line": {"color": style.INK, "width": 0.7}},
        hovertext=[hover_centre(panel)], hoverinfo="text",
        row=place[0], col=place[1],
    )  # fmt: skip


def _add_text(figure: go.Figure, text: str, drawn: bool, place: Place) -> None:
    """Add text in the middle of an empty panel, or in the corner of one that is drawn."""
    # plotly leaves out a panel without a trace, and with it its axes and its text.
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        row=place[0], col=place[1],
    )  # fmt: skip
    if not text:
        return
    corner: dict[str, Any] = {
        "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom",
        "bgcolor": "rgba(255, 255, 255, 0.85)",
    }  # fmt: skip
    middle: dict[str, Any] = {"x": 0.5, "xanchor": "center", "y": 0.5, "yanchor": "middle"}
    figure.add_annotation(
        text=text, xref="x domain", yref="y domain", showarrow=False,
        font={"size": style.SMALL, "color": style.INK if drawn else style.GREY},
        **(corner if drawn else middle), row=place[0], col=place[1],
    )  # fmt: skip


def _set_axes(
    figure: go.Figure, panel: SurfacePanel, shape: Grid, number: int, *, numbered: bool
) -> None:
    """Let axes run from minus to plus the panel's extent, β's with numbers if `numbered`."""
    row, column = shape.place(number)
    parts = (-1, -0.5, 0, 0.5, 1) if shape.panel_width > 200 else (-1, 0, 1)
    ticks = [part * panel.extent for part in parts]
    common = {
        "range": [-panel.extent, panel.extent], "constrain": "domain", "mirror": True,
        "tickvals": ticks, "ticktext": [f"{tick:g}".replace("-", "−") for tick in ticks],
        "showgrid": False, "zeroline": False, "tickfont_size": style.SMALL,
    }  # fmt: skip
    title = "α" if shape.is_lowest(number) else None
    figure.update_xaxes(**common, title_text=title, row=row, col=column)
    figure.update_yaxes(
        **common, title_text="β" if column == 1 else None,
        showticklabels=numbered, ticks="outside" if numbered else "",
        scaleanchor="x" if number == 0 else f"x{number + 1}", title_standoff=2,
        row=row, col=column,
    )  # fmt: skip


def _colour_bar(shape: Grid, scale: LogScale, title: str) -> dict[str, Any]:
    """Return a colour bar below all panels, with numbers along colours that are log₁₀ of them."""
    numbers = log_ticks(scale.low, scale.high)
    return {
        "orientation": "h", "thickness": 12, "len": 0.62, "x": 0.5, "xanchor": "center",
        "y": -(BELOW + 2) / shape.height, "yanchor": "top", "ypad": 0, "outlinewidth": 0,
        "tickvals": [float(np.log10(number)) for number in numbers],
        "ticktext": format_axis(numbers),
        "tickfont": {"size": style.SMALL}, "ticks": "outside",
        "title": {"text": title, "side": "right", "font": {"size": 13}},
    }  # fmt: skip


def _add_surface(
    figure: go.Figure, panel: SurfacePanel, z: np.ndarray, scale: LogScale, place: Place
) -> None:
    low, high = scale.range
    figure.add_surface(
        x=panel.plane.alphas, y=panel.plane.betas, z=z, cmin=low, cmax=high, colorscale=COLOURS,
        showscale=False, lighting={"ambient": 0.75, "specular": 0.05}, connectgaps=False,
        text=_variance_texts(panel), hovertemplate=hover_template(panel),
        row=place[0], col=place[1],
    )  # fmt: skip


def _set_scene(
    figure: go.Figure, shape: Grid, number: int, extent: float, scale: LogScale, symbol: str
) -> None:
    wide = shape.panel_width > 200
    # The lowest number would cover those of β.
    above = scale.low * (scale.high / scale.low) ** 0.12
    numbers = log_ticks(above, scale.high)
    numbers = numbers[:: -(-len(numbers) // (6 if wide else 3))]
    common = {"tickfont": {"size": 11 if wide else 10}, "showspikes": False, "showbackground": True,
              "backgroundcolor": "#f7f7f7", "gridcolor": "#dddddd"}  # fmt: skip

    def side(name: str) -> dict[str, Any]:
        # A small scene has no space for titles: there the name replaces the 0 in the middle.
        middle, text = ("0", name) if wide else (name, "")
        return {
            "range": [-extent, extent], "tickvals": [-extent, 0, extent],
            "ticktext": [f"−{extent:g}", middle, f"{extent:g}"], **common,
            "title": {"text": text, "font": {"size": 12}},
        }  # fmt: skip

    row, column = shape.place(number)
    figure.update_scenes(
        xaxis=side("α"), yaxis=side("β"),
        zaxis={**common, "range": list(scale.range),
               "tickvals": [float(np.log10(number)) for number in numbers],
               "ticktext": format_axis(numbers, most=1e3),
               "title": {"text": symbol if wide else "", "font": {"size": 12}}},
        aspectmode="cube", camera={"eye": EYE if wide else FAR_EYE, "center": CENTRE},
        row=row, col=column,
    )  # fmt: skip
