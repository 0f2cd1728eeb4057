"""Drawing of Figures 3 to 5 and 12 to 16: loss and accuracy over the epochs of training.

The paper reads off that the base converges fastest and most stably, and that variants approach it
as they get wider and shallower (Section 4.1, Appendix B.2). Names at the ends of the curves, their
dashes and a colour that darkens with the width distinguish them; the base is black.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from orchestrator.figures import style
from orchestrator.figures.convergence import Convergence, Curve, CurvePanel
from orchestrator.figures.members import Cell, common, differing, name_cell, name_datasets
from orchestrator.figures.panels import (
    Panel,
    add_annotations,
    add_key,
    grid,
    legend_lines,
    make_panels,
)
from orchestrator.figures.scales import (
    END_LABEL_HEIGHT,
    choose_end_labels,
    evenly,
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
    "val_loss": "Validation loss (nat)",
    "val_accuracy": "Validation accuracy (%)",
}
"""Titles of the y axis."""

DASHES = ("solid", "7px,3px", "2px,2px", "9px,3px,2px,3px")

LIGHTEST = 0.74
"""Place of the narrowest cell along the colour scale: yellow beyond it is lost on white."""


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
    titles = _panel_titles(data.panels)
    shape = grid(len(data.panels), _columns(data.panels), titles)
    width, height = shape.panel_width, shape.panel_height
    margin = MARGIN if width > 200 else NARROW_MARGIN
    raw = sum(len(track.epochs) for panel in data.panels for track in panel.tracks) <= MOST_RAW
    unnamed = max(len(panel.curves) for panel in data.panels) > height // END_LABEL_HEIGHT
    styles, keys = line_styles(data)
    note = _note(data, raw=raw, unnamed=unnamed)
    if not keys and len(styles) > 2:
        note = f"Colours darken from the last variant to the first. {note}"
    figure, places = make_panels(
        shape, titles, title, _subtitle(data.panels), note,
        [legend_lines(keys)],
    )  # fmt: skip
    for name, colour in keys.items():
        add_key(figure, name, {"symbol": "square", "size": 10, "color": colour})
    names: list[dict[str, Any]] = []
    left = ""
    for panel, place in zip(data.panels, places, strict=True):
        frame = Frame(max(data.epochs, 1), *data.ranges[panel.scale], width, height, margin)
        lines = [styles[panel.base, curve.cell] for curve in panel.curves]
        # Bases last, so that none of their variants covers them.
        pairs = sorted(zip(panel.curves, lines, strict=True), key=lambda pair: -pair[0].cell.index)
        for curve, line in pairs:
            _add_curve(place, panel, curve, line, raw=raw)
        names += _add_ends(place, panel, lines, frame)
        _add_crosses(place, panel, frame)
        if not any(len(track.epochs) for track in panel.tracks):
            place.add_text(
                "no epoch yet", x=0.5, xref="x domain", y=0.5, yref="y domain",
                font={"size": style.SMALL, "color": style.GREY},
            )  # fmt: skip
        epochs, _ = ticks(0, frame.last, 5)
        numbers, decimals = ticks(frame.low, frame.high, 6)
        place.set_axes(
            {"range": [0, frame.right], "tickvals": [one for one in epochs if one == int(one)]},
            {"range": [frame.low, frame.high], "tickvals": numbers, "tickformat": f".{decimals}f"},
            ("Epoch", QUANTITIES[panel.quantity]),
            titled=panel.quantity != left,
        )
        left = panel.quantity
    add_annotations(figure, names)
    return figure


def line_styles(data: Convergence) -> tuple[dict[tuple[str, Cell], dict[str, Any]], dict[str, str]]:
    """Return plotly's line by base and cell, and the colours that have a key, by its text.

    A line is the darker the wider its cell, and its dash follows the index. Colours follow the
    index, without keys, where all variants are equally wide, and where a panel has more of one
    width than there are dashes to distinguish them. Where an axis has colours, they follow its
    values.
    """
    cells = dict.fromkeys((panel.base, c.cell) for panel in data.panels for c in panel.curves)
    levels = list(dict.fromkeys(cell.level for _, cell in cells))
    if levels != [""]:
        shades = _shades(levels, [n / max(len(levels) - 1, 1) for n in range(len(levels))])
        lines = {
            (base, cell): {
                "color": shades[cell.level],
                "dash": DASHES[cell.index % len(DASHES)],
                "width": 1.6 if cell.index else 2.4,
            }
            for base, cell in cells
        }
        return lines, {style.escape(level): shade for level, shade in shades.items()}
    variants = [cell for _, cell in cells if cell.index]
    widths = sorted({cell.width for cell in variants})
    alike = [
        count
        for panel in data.panels
        for count in Counter(c.cell.width for c in panel.curves if c.cell.index).values()
    ]
    by_width = len(widths) > 1 and max(alike) <= len(DASHES)
    shown = widths if by_width else sorted({cell.index for cell in variants}, reverse=True)
    shades = _shades(shown, [1 - n / max(len(shown) - 1, 1) for n in range(len(shown))])
    bases = {"base": style.INK} if len(variants) < len(cells) else {}
    keys = (
        bases | {f"width {width:g}c": shades[width] for width in widths[::-1]} if by_width else {}
    )
    base_line = {"color": style.INK, "dash": DASHES[0], "width": 2.4}
    lines = {
        (base, cell): {
            "color": shades[cell.width if by_width else cell.index],
            "dash": DASHES[(cell.index - 1) % len(DASHES)],
            "width": 1.6,
        }
        if cell.index
        else base_line
        for base, cell in cells
    }
    return lines, keys


def _shades(values: Sequence[Any], places: Sequence[float]) -> dict[Any, str]:
    """Return the colours of values at places from 0, the darkest, to 1."""
    shades = sample_colorscale("Viridis", [LIGHTEST * place for place in places]) if values else []
    return dict(zip(values, map(str, shades), strict=True))


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


def _add_curve(
    place: Panel, panel: CurvePanel, curve: Curve, line: dict[str, Any], *, raw: bool
) -> None:
    """Add the lines of one cell: of its one trial, or the mean and the band of several."""
    kept = curve.kept
    if len(kept) > 1:
        mean = curve.mean.iloc[evenly(len(curve.mean), MOST_POINTS)]
        ids, text = [track.trial_id for track in kept], f"mean of {len(kept)} seeds, "
        _add_band(place, mean.dropna(), line)
        _add_line(place, panel, curve, ids, mean.index, mean["mean"], line, text)
    alone = kept if len(kept) == 1 else []
    diverged = [track for track in curve.tracks if track.status == "diverged"]
    for track in (*alone, *diverged):
        if not len(track.epochs):
            continue
        thin = line | {"width": 1.2} if track in diverged else line
        if raw and not np.array_equal(track.values, track.smoothed, equal_nan=True):
            place.add_scatter(
                x=track.epochs, y=track.values, mode="lines", hoverinfo="skip",
                opacity=0.3 if len(panel.curves) < 7 else 0.15,
                line={"color": line["color"], "width": 0.7},
            )  # fmt: skip
        drawn = evenly(len(track.epochs), MOST_POINTS)
        epochs, values = track.epochs[drawn], track.smoothed[drawn]
        _add_line(place, panel, curve, [track.trial_id], epochs, values, thin)


def _add_line(
    place: Panel, panel: CurvePanel, curve: Curve, ids: Sequence[str], epochs: Any, values: Any,
    line: dict[str, Any], text: str = "",
) -> None:  # fmt: skip
    accurate = panel.quantity.endswith("accuracy")
    text += "epoch %{x}: " + ("%{y:.2f} %" if accurate else "%{y:.4g} nat")
    place.add_scatter(
        x=epochs, y=values, mode="lines+markers" if len(epochs) <= FEW_EPOCHS else "lines",
        line=line, marker={"size": 4, "color": line["color"]},
        name="" if len(ids) > 1 else style.escape(ids[0]),
        hovertemplate=_hover(panel, curve, ids, text),
    )  # fmt: skip


def _add_band(place: Panel, mean: Any, line: dict[str, Any]) -> None:
    if not len(mean):
        return
    place.add_scatter(
        x=np.concatenate([mean.index, mean.index[::-1]]),
        y=np.concatenate([mean["max"], mean["min"][::-1]]),
        mode="lines", line={"width": 0}, fill="toself", opacity=0.2, fillcolor=line["color"],
        hoverinfo="skip",
    )  # fmt: skip


def _add_ends(
    place: Panel, panel: CurvePanel, lines: Sequence[dict[str, Any]], frame: Frame
) -> list[dict[str, Any]]:
    """Add a line from each curve's end to its name, and return the names as annotations."""
    ends = [
        (curve, line, *end)
        for curve, line in zip(panel.curves, lines, strict=True)
        if (end := _end(curve))
    ]
    first = next((i for i, (curve, *_) in enumerate(ends) if curve.cell.index == 0), 0)
    heights = [frame.pixels(y) for *_, y in ends]
    chosen = choose_end_labels(heights, first, frame.height) if ends else []
    spots = spread_end_labels([heights[i] for i in chosen], 6, frame.height - 6)
    xs: list[float | None] = []
    ys: list[float | None] = []
    names: list[dict[str, Any]] = []
    start = frame.right - (frame.margin - 10) / frame.width * frame.right
    for i, spot in zip(chosen, spots, strict=True):
        curve, line, x, y = ends[i]
        xs += [x, start, None]
        ys += [frame.value(heights[i]), frame.value(spot), None]
        arrow = "↑" if y > frame.high else "↓" if y < frame.low else ""
        text = style.shorten(name_cell(panel.base, curve.cell.index, several_bases=False), 11)
        if curve.cell.level:
            value = curve.cell.level.rpartition(" ")[2]
            text = style.shorten(f"{text} {value}" if curve.cell.index else value, 14)
        elif frame.margin > 60 and curve.cell.index:
            text += f" {curve.cell.shape}"
        text = style.escape(text)
        names.append({
            "text": f"{text}{arrow}" if curve.cell.index else f"<b>{text}</b>{arrow}",
            "x": start, "xanchor": "left", "xshift": 1, "y": frame.value(spot), "yanchor": "middle",
            "font": {"size": 11, "color": line["color"]}, "showarrow": False, **place.axes,
        })  # fmt: skip
    # Every panel has this trace, so that one without any data is drawn too.
    place.add_scatter(
        x=xs or [None], y=ys or [None], mode="lines", hoverinfo="skip",
        line={"color": "#b5b5b5", "width": 0.6},
    )  # fmt: skip
    return names


def _end(curve: Curve) -> tuple[float, float] | None:
    """Return last epoch and value of a curve; if all its seeds diverged, of the first seed."""
    if curve.kept:
        return float(curve.mean.index[-1]), float(curve.mean["mean"].iloc[-1])
    track = next((track for track in curve.tracks if len(track.epochs)), None)
    return (float(track.epochs[-1]), float(track.smoothed[-1])) if track else None


def _add_crosses(place: Panel, panel: CurvePanel, frame: Frame) -> None:
    """Add a cross at the last finite value of each diverged trial, on the border if beyond it."""
    crosses = [
        (curve, track)
        for curve in panel.curves
        for track in curve.tracks
        if track.status == "diverged"
    ]
    for curve, track in crosses:
        started = bool(len(track.epochs))
        x = int(track.epochs[-1]) if started else track.last
        y = float(track.smoothed[-1]) if started else frame.high
        text = f"diverged in epoch {track.last}"
        place.add_scatter(
            x=[x], y=[frame.value(frame.pixels(y))], mode="markers", cliponaxis=False,
            marker={"symbol": "x", "size": 8, "color": style.BAD,
                    "line": {"color": "white", "width": 0.8}},
            name=style.escape(track.trial_id),
            hovertemplate=_hover(panel, curve, [track.trial_id], text),
        )  # fmt: skip


def _panel_titles(panels: Sequence[CurvePanel]) -> list[str]:
    """Return what distinguishes each panel from the others."""

    def group_name(panel: CurvePanel) -> str:
        first, last = panel.group or (0, 0)
        return f"C{first}–C{last}" if first != last else f"C{first}" if first else "base"

    found = differing(
        panels,
        lambda panel: panel.base,
        lambda panel: panel.dataset,
        lambda panel: f"rate {panel.learning_rate:g}",
        group_name,
    )
    several = len({panel.quantity for panel in panels}) > 1
    titles = []
    for panel, texts in zip(panels, found, strict=True):
        title = ", ".join(texts)
        if several:
            quantity = QUANTITIES[panel.quantity].partition(" (")[0].lower()
            title = f"{title}: {quantity}" if title else quantity.capitalize()
        titles.append(title or panel.base)
    return titles


def _subtitle(panels: Sequence[CurvePanel]) -> str:
    """Return the datasets, substitutes named as such, and what all panels have in common."""
    shared = common(
        panels,
        lambda panel: f"{panel.base} and its variants",
        lambda panel: f"learning rate {panel.learning_rate:g}",
    )
    datasets = name_datasets((panel.named_dataset, panel.dataset) for panel in panels)
    return "; ".join([datasets, *shared])


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
        values = np.concatenate([track.values for track in out.values()])
        least, largest = float(np.nanmin(values)), float(np.nanmax(values))
        ends = [f"down to {least:.3g}"] if least < low else []
        ends += [f"up to {largest:.3g}"] if largest > high else []
        name, _, unit = QUANTITIES[quantity].removesuffix(")").partition(" (")
        trials = f"{len(out)} trial{'s' * (len(out) > 1)}"
        parts.append(f"{name} on {dataset}, {trials}: {' and '.join(ends)} {unit}")
    return [f"Cut off by the range of the axis: {'; '.join(parts)}."] if parts else []


def _hover(panel: CurvePanel, curve: Curve, ids: Sequence[str], text: str) -> str:
    """Return plotly's template for a curve; `text` describes the point under the mouse."""
    few = [*ids[:3], f"and {len(ids) - 3} more"] if len(ids) > 4 else ids
    variant, *trials = (style.escape_template(name) for name in (curve.cell.variant, *few))
    rate = style.escape_template(f"{panel.dataset}, rate {panel.learning_rate:g}")
    lines = [f"<b>{variant}</b>", str(curve.cell), rate, text, *trials]
    return "<br>".join(lines) + "<extra></extra>"
