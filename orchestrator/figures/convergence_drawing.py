"""Drawing of Figures 3 to 5 and 12 to 16: loss and accuracy over the epochs of training.

The paper reads off that the base converges fastest and most stably, and that variants approach it
as they get wider and shallower (Section 4.1, Appendix B.2). Names at the ends of the curves, their
dashes and a colour that darkens with the width distinguish them; the base is black.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from orchestrator.figures import style
from orchestrator.figures.convergence import Convergence, Curve, CurvePanel, Track
from orchestrator.figures.members import name_cell, name_datasets
from orchestrator.figures.panels import Grid, Place, add_annotations, axes_of, grid, make_panels
from orchestrator.figures.scales import (
    END_LABEL_HEIGHT,
    choose_end_labels,
    spread_end_labels,
    ticks,
)

MOST_RAW = 60_000
"""Epochs of all panels up to which each is drawn, and not the smoothed curves alone."""

MOST_POINTS = 400
"""Points of a smoothed curve; a longer one is drawn at evenly chosen epochs."""

FEW_EPOCHS = 12
"""Up to so many, each epoch has a marker, so that one alone can be seen."""

MARGIN, NARROW_MARGIN = 76, 46
"""Space for names beside the curves, in pixels; the second where panels are narrow."""

QUANTITIES = {
    "test_loss": "Test loss (nat)",
    "test_accuracy": "Test accuracy (%)",
    "train_loss": "Training loss (nat)",
    "train_accuracy": "Training accuracy (%)",
}
"""Titles of the y axis."""

DASHES = ("solid", "7px,3px", "2px,2px", "9px,3px,2px,3px")

LIGHTEST = 0.74
"""Place of the narrowest cell along the colour scale: yellow beyond it is lost on white."""

Cell = tuple[str, int, str]
"""Base, index and variant."""


class LineStyle(NamedTuple):
    """Line of one cell in all panels."""

    colour: str
    dash: str
    width: float


class Frame(NamedTuple):
    """What a panel shows and its size in pixels.

    The x axis shows epochs 0 to `last` and a margin for names, the y axis `low` to `high`.
    """

    last: int
    low: float
    high: float
    width: float
    height: float
    margin: float

    @property
    def right(self) -> float:
        """The right end of the x axis, in epochs."""
        return self.last * self.width / (self.width - self.margin)

    def pixels(self, y: float) -> float:
        """Return the height of a value above the x axis; beyond the range, that of its end."""
        inside = min(max(y, self.low), self.high)
        return (inside - self.low) / (self.high - self.low) * self.height

    def value(self, pixels: float) -> float:
        """Return the value at a height; the inverse of `pixels`."""
        return self.low + pixels / self.height * (self.high - self.low)


def plot_convergence(data: Convergence, title: str) -> go.Figure:
    """Return the figure."""
    panels = data.panels
    shape = grid(len(panels), _columns(panels))
    styles = line_styles(data)
    raw = sum(len(track.epochs) for panel in panels for track in panel.tracks) <= MOST_RAW
    margin = MARGIN if shape.panel_width > 200 else NARROW_MARGIN
    unnamed = max(len(panel.curves) for panel in panels) > shape.panel_height // END_LABEL_HEIGHT
    note = _note(data, raw=raw, unnamed=unnamed)
    figure = make_panels(shape, _panel_titles(panels), title, _subtitle(data), note, (0,))
    last, names = max(data.epochs, 1), []
    for number, panel in enumerate(panels):
        place = shape.place(number)
        frame = Frame(
            last, *data.ranges[panel.scale], shape.panel_width, shape.panel_height, margin
        )
        lines = [styles[panel.base, curve.index, curve.variant] for curve in panel.curves]
        # Bases last, so that none of their variants covers them.
        pairs = sorted(zip(panel.curves, lines, strict=True), key=lambda pair: -pair[0].index)
        for curve, line in pairs:
            _add_curve(figure, panel, curve, line, place, raw=raw)
        names += _add_ends(figure, panel, lines, frame, place)
        _add_crosses(figure, panel, frame, place)
        if not any(len(track.epochs) for track in panel.tracks):
            x, y = axes_of(figure, *place)
            names.append({
                "text": "no epoch yet", "x": 0.5, "xref": f"{x} domain", "y": 0.5,
                "yref": f"{y} domain", "showarrow": False,
                "font": {"size": style.SMALL, "color": style.GREY},
            })  # fmt: skip
        _set_axes(figure, panels, frame, shape, number)
    add_annotations(figure, names)
    return figure


def line_styles(data: Convergence) -> dict[Cell, LineStyle]:
    """Return the line of each cell: the darker the wider, or the lower the index.

    Colours follow the index where all variants are equally wide, and where a panel has more of one
    width than there are dashes to distinguish them.
    """
    cells: dict[Cell, Curve] = {
        (panel.base, curve.index, curve.variant): curve
        for panel in data.panels
        for curve in panel.curves
    }
    variants = [curve for curve in cells.values() if curve.index]
    widths = _ranks(curve.width for curve in variants)
    indices = _ranks(curve.index for curve in variants)
    most_alike = max(
        (
            count
            for panel in data.panels
            for count in Counter(curve.width for curve in panel.curves if curve.index).values()
        ),
        default=0,
    )
    by_width = len(widths) > 1 and most_alike <= len(DASHES)
    styles: dict[Cell, LineStyle] = {}
    for cell, curve in cells.items():
        if not curve.index:
            styles[cell] = LineStyle(style.INK, DASHES[0], 2.4)
            continue
        rank, count = (
            (widths[curve.width], len(widths))
            if by_width
            else (len(indices) - 1 - indices[curve.index], len(indices))
        )
        (colour,) = sample_colorscale("Viridis", [LIGHTEST * (1 - rank / max(count - 1, 1))])
        styles[cell] = LineStyle(str(colour), DASHES[(curve.index - 1) % len(DASHES)], 1.6)
    return styles


def _ranks(values: Iterable[float]) -> dict[float, int]:
    return {value: rank for rank, value in enumerate(sorted(set(values)))}


def _columns(panels: Sequence[CurvePanel]) -> int:
    """Return columns for the last facet that varies, so that rows and columns have a meaning.

    0 where at most one facet varies, and any arrangement will do.
    """
    facets = ("quantity", "learning_rate", "base", "dataset", "group")
    counts = [len({getattr(panel, facet) for panel in panels}) for facet in facets]
    varied = [count for count in counts if count > 1]
    if len(varied) < 2:
        return 0
    return varied[-1] if varied[-1] <= 3 else 3 if varied[-1] % 3 == 0 else 2


def _set_axes(
    figure: go.Figure, panels: Sequence[CurvePanel], frame: Frame, shape: Grid, number: int
) -> None:
    row, column = shape.place(number)
    epochs, _ = ticks(0, frame.last, 5)
    figure.update_xaxes(
        range=[0, frame.right], tickvals=[epoch for epoch in epochs if epoch == int(epoch)],
        title_text="Epoch" if shape.is_lowest(number) else None, row=row, col=column,
    )  # fmt: skip
    quantity = panels[number].quantity
    titled = column == 1 or panels[number - 1].quantity != quantity
    numbers, decimals = ticks(frame.low, frame.high, 6)
    figure.update_yaxes(
        range=[frame.low, frame.high], tickvals=numbers, tickformat=f".{decimals}f",
        title_text=QUANTITIES[quantity] if titled else None, row=row, col=column,
    )  # fmt: skip


def _add_curve(
    figure: go.Figure, panel: CurvePanel, curve: Curve, line: LineStyle, place: Place, *, raw: bool
) -> None:
    """Add the lines of one cell: of its one trial, or the mean and the band of several."""
    started = [track for track in curve.tracks if len(track.epochs)]
    kept = [track for track in started if track.status != "diverged"]
    if len(kept) > 1:
        _add_band(figure, curve, line, place)
        text = f"mean of {len(kept)} seeds, {_hover_value(panel.quantity)}"
        template = _hover(panel, curve, [track.trial_id for track in kept], text)
        _add_line(figure, curve.mean.epochs, curve.mean.mean, line, template, place)
    elif kept:
        _add_track(figure, panel, curve, kept[0], line, place, raw=raw)
    for track in started:
        if track.status == "diverged":
            _add_track(figure, panel, curve, track, line._replace(width=1.2), place, raw=raw)


def _add_track(
    figure: go.Figure, panel: CurvePanel, curve: Curve, track: Track, line: LineStyle, place: Place,
    *, raw: bool,
) -> None:  # fmt: skip
    template = _hover(panel, curve, [track.trial_id], _hover_value(panel.quantity))
    if raw and not np.array_equal(track.values, track.smoothed, equal_nan=True):
        figure.add_scatter(
            x=track.epochs, y=track.values, mode="lines", hoverinfo="skip",
            opacity=0.3 if len(panel.curves) < 7 else 0.15,
            line={"color": line.colour, "width": 0.7}, showlegend=False,
            row=place[0], col=place[1],
        )  # fmt: skip
    _add_line(figure, track.epochs, track.smoothed, line, template, place, name=track.trial_id)


def _add_line(
    figure: go.Figure, epochs: np.ndarray, values: np.ndarray, line: LineStyle, template: str,
    place: Place, name: str = "",
) -> None:  # fmt: skip
    kept = _thinned(len(epochs))
    figure.add_scatter(
        x=epochs[kept], y=values[kept],
        mode="lines+markers" if len(epochs) <= FEW_EPOCHS else "lines",
        line={"color": line.colour, "width": line.width, "dash": line.dash},
        marker={"size": 4, "color": line.colour},
        name=style.escape(name), hovertemplate=template, showlegend=False,
        row=place[0], col=place[1],
    )  # fmt: skip


def _add_band(figure: go.Figure, curve: Curve, line: LineStyle, place: Place) -> None:
    mean = curve.mean
    kept = _thinned(len(mean.epochs))
    kept = kept[np.isfinite(mean.low[kept])]
    if not len(kept):
        return
    figure.add_scatter(
        x=np.concatenate([mean.epochs[kept], mean.epochs[kept][::-1]]),
        y=np.concatenate([mean.high[kept], mean.low[kept][::-1]]),
        mode="lines", line={"width": 0}, fill="toself", opacity=0.2, fillcolor=line.colour,
        hoverinfo="skip", showlegend=False, row=place[0], col=place[1],
    )  # fmt: skip


def _thinned(count: int) -> np.ndarray:
    """Return the positions of the points that are drawn, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def _add_ends(
    figure: go.Figure, panel: CurvePanel, lines: Sequence[LineStyle], frame: Frame, place: Place
) -> list[dict[str, Any]]:
    """Add a line from each curve's end to its name, and return the names as annotations."""
    ends: list[tuple[Curve, LineStyle, float, float]] = []
    for curve, line in zip(panel.curves, lines, strict=True):
        if end := _end(curve):
            ends.append((curve, line, *end))
    first = next((i for i, (curve, *_) in enumerate(ends) if curve.index == 0), 0)
    heights = [frame.pixels(y) for *_, y in ends]
    chosen = choose_end_labels(heights, first, frame.height) if ends else []
    spots = spread_end_labels([heights[i] for i in chosen], 6, frame.height - 6)
    xs: list[float | None] = []
    ys: list[float | None] = []
    names: list[dict[str, Any]] = []
    axes = dict(zip(("xref", "yref"), axes_of(figure, *place), strict=True))
    start = frame.right - (frame.margin - 10) / frame.width * frame.right
    for i, spot in zip(chosen, spots, strict=True):
        curve, line, x, y = ends[i]
        xs += [x, start, None]
        ys += [frame.value(heights[i]), frame.value(spot), None]
        arrow = "↑" if y > frame.high else "↓" if y < frame.low else ""
        name = _end_name(panel, curve, long=frame.margin > 60)
        names.append({
            "text": f"<b>{name}</b>{arrow}" if curve.index == 0 else f"{name}{arrow}",
            "x": start, "xanchor": "left", "xshift": 1, "y": frame.value(spot), "yanchor": "middle",
            "font": {"size": 11, "color": line.colour}, "showarrow": False, **axes,
        })  # fmt: skip
    # Every panel has this trace, so that one without any data is drawn too.
    figure.add_scatter(
        x=xs or [None], y=ys or [None], mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": "#b5b5b5", "width": 0.6}, row=place[0], col=place[1],
    )  # fmt: skip
    return names


def _end(curve: Curve) -> tuple[float, float] | None:
    """Return last epoch and value of a curve; if all its seeds diverged, of the first seed."""
    mean = curve.mean
    if len(mean.epochs):
        return float(mean.epochs[-1]), float(mean.mean[-1])
    track = next((track for track in curve.tracks if len(track.epochs)), None)
    return (float(track.epochs[-1]), float(track.smoothed[-1])) if track else None


def _add_crosses(figure: go.Figure, panel: CurvePanel, frame: Frame, place: Place) -> None:
    """Add a cross at the last finite value of each diverged trial, on the border if beyond it."""
    for curve in panel.curves:
        for track in curve.tracks:
            if track.status != "diverged":
                continue
            started = bool(len(track.epochs))
            x = int(track.epochs[-1]) if started else track.last
            y = float(track.smoothed[-1]) if started else frame.high
            text = f"diverged in epoch {track.last}"
            template = _hover(panel, curve, [track.trial_id], text)
            figure.add_scatter(
                x=[x], y=[frame.value(frame.pixels(y))], mode="markers", cliponaxis=False,
                marker={"symbol": "x", "size": 8, "color": style.BAD,
                        "line": {"color": "white", "width": 0.8}},
                name=style.escape(track.trial_id), hovertemplate=template, showlegend=False,
                row=place[0], col=place[1],
            )  # fmt: skip


def _panel_titles(panels: Sequence[CurvePanel]) -> list[str]:
    """Return what distinguishes each panel from the others."""
    texts = {
        "base": lambda panel: panel.base,
        "dataset": lambda panel: panel.dataset,
        "learning_rate": lambda panel: f"rate {panel.learning_rate:g}",
        "group": lambda panel: _group_name(panel.group),
    }
    differing = [name for name in texts if len({getattr(panel, name) for panel in panels}) > 1]
    several = len({panel.quantity for panel in panels}) > 1
    titles = []
    for panel in panels:
        title = ", ".join(texts[name](panel) for name in differing)
        if several:
            quantity = QUANTITIES[panel.quantity].partition(" (")[0].lower()
            title = f"{title}: {quantity}" if title else quantity.capitalize()
        titles.append(title or panel.base)
    return titles


def _group_name(group: tuple[int, int] | None) -> str:
    if group is None:
        return "base"
    first, last = group
    return f"C{first}" if first == last else f"C{first}–C{last}"


def _subtitle(data: Convergence) -> str:
    """Return the datasets, substitutes named as such, and what all panels have in common."""
    parts = [name_datasets((panel.named_dataset, panel.dataset) for panel in data.panels)]
    bases = {panel.base for panel in data.panels}
    rates = {panel.learning_rate for panel in data.panels}
    if len(bases) == 1:
        parts.append(f"{bases.pop()} and its variants")
    if len(rates) == 1:
        parts.append(f"learning rate {rates.pop():g}")
    return "; ".join(parts)


def _note(data: Convergence, *, raw: bool, unnamed: bool) -> str:
    """Return what a reader must know to trust the picture."""
    notes = []
    kind = f"exponential mean over {data.span:g} epochs" if data.span > 1 else "every epoch"
    if data.most_seeds > 1:
        notes.append(
            f"Curves: mean over up to {data.most_seeds} seeds ({kind}); bands: least and largest."
        )
    elif data.span > 1:
        thin = "; thin: every epoch." if raw else "; single epochs: too many to be drawn."
        notes.append(f"Thick: {kind}{thin}")
    if unnamed:
        notes.append("Not all curves are named for want of room; the mouse names them.")
    tracks = data.tracks
    diverged = sum(track.status == "diverged" for track in tracks)
    unstarted = sum(not track.last for track in tracks if track.status != "diverged")
    running = sum(not track.status and track.last > 0 for track in tracks)
    for count, text in (
        (diverged, "Diverged (red cross" + ", in no mean curve" * (data.most_seeds > 1) + ")"),
        (running, "Not ended"),
        (unstarted, "No epoch yet, or failed"),
    ):
        if count:
            notes.append(f"{text}: {count} of {len(tracks)} trials.")
    return " ".join([*notes, *_cut_off(data)])


def _cut_off(data: Convergence) -> list[str]:
    """Return what the ranges of the axes leave out."""
    parts: list[str] = []
    for (quantity, dataset), (low, high) in data.ranges.items():
        tracks = [t for p in data.panels if p.scale == (quantity, dataset) for t in p.tracks]
        out = {t.trial_id: t for t in tracks if ((t.values < low) | (t.values > high)).any()}
        if not out:
            continue
        least = min(float(np.nanmin(track.values)) for track in out.values())
        largest = max(float(np.nanmax(track.values)) for track in out.values())
        ends = [f"down to {least:.3g}"] if least < low else []
        ends += [f"up to {largest:.3g}"] if largest > high else []
        name, _, unit = QUANTITIES[quantity].removesuffix(")").partition(" (")
        trials = f"{len(out)} trial{'s' * (len(out) > 1)}"
        parts.append(f"{name} on {dataset}, {trials}: {' and '.join(ends)} {unit}")
    return [f"Cut off by the range of the axis: {'; '.join(parts)}."] if parts else []


def _hover(panel: CurvePanel, curve: Curve, ids: Sequence[str], text: str) -> str:
    """Return plotly's template for a curve; `text` describes the point under the mouse."""
    few = [*ids[:3], f"and {len(ids) - 3} more"] if len(ids) > 4 else ids
    variant, *trials = (style.escape_template(name) for name in (curve.variant, *few))
    size = f"index {curve.index}, width {curve.width:g}c, depth {curve.depth}"
    rate = style.escape_template(f"{panel.dataset}, rate {panel.learning_rate:g}")
    return "<br>".join([f"<b>{variant}</b>", size, rate, text, *trials]) + "<extra></extra>"


def _hover_value(quantity: str) -> str:
    """Return epoch and y in plotly's template."""
    if quantity.endswith("accuracy"):
        return "epoch %{x}: %{y:.2f} %"
    return "epoch %{x}: %{y:.4g} nat"


def _end_name(panel: CurvePanel, curve: Curve, *, long: bool) -> str:
    """Return the name at the end of a curve, escaped."""
    name = style.shorten(name_cell(panel.base, curve.index, several_bases=False), 11)
    return style.escape(f"{name} {curve.width:g}c,{curve.depth}" if long and curve.index else name)
