"""Figure 9: test accuracy at convergence by the index of the cell, one panel to a base.

The paper reads off that bases beat most, but not all, of their variants (Section 5). A dashed line
marks the base's own accuracy, so that what beats the base stands above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.evidence import AS_ZERO, counted_accuracy, diverged_note
from orchestrator.figures.members import (
    COLUMNS,
    DATASETS,
    Cell,
    Member,
    cells_of,
    group,
    name_datasets,
    read_members,
    to_cell,
)
from orchestrator.figures.panels import Panel, add_key, grid, legend_lines, make_panels
from orchestrator.figures.scales import Box, focus_range, place_label, ticks

RESULTS = ("status", "test_accuracy", "parameters")
"""Columns that are read of a trial."""

STRIP = 42
"""Height of a strip for what is beyond a panel's range, in pixels."""

NAME_HEIGHT = 8
"""What the margin of a panel's range lacks for a name above its topmost line, in pixels."""

MARKERS = {
    "one seed": {"symbol": "circle", "size": 5, "opacity": 0.4},
    "variant": {"symbol": "circle", "size": 8},
    "base": {"symbol": "diamond", "size": 11},
    "diverged": {"symbol": "x", "size": 8},
    "below range": {"symbol": "triangle-down", "size": 10},
    "above range": {"symbol": "triangle-up", "size": 10},
}
"""Plotly's markers by kind of symbol, in the order of drawing."""


class Run(NamedTuple):
    """One trained trial; accuracies in percent."""

    trial_id: str
    seed: int
    diverged: bool
    accuracy: float  # that it counts with, see `orchestrator.figures.evidence`
    last: float  # after the last epoch; NaN if a diverged trial has none


@dataclass(frozen=True)
class CellPoint:
    """One cell at one learning rate: its trials over all seeds."""

    cell: Cell
    parameters: int | None  # None before any trial has ended
    ended: tuple[Run, ...]  # trials with a result by seed, the diverged last
    missing: tuple[str, ...]  # ids of trials without a result

    @property
    def done(self) -> list[Run]:
        """Trials that did not diverge."""
        return [run for run in self.ended if not run.diverged]

    @property
    def diverged(self) -> list[Run]:
        """Trials that diverged."""
        return [run for run in self.ended if run.diverged]

    @property
    def mean(self) -> float:
        """Mean accuracy of the trials that ended, in percent; NaN without one."""
        ended = self.ended
        return math.fsum(run.accuracy for run in ended) / len(ended) if ended else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (n - 1), in percentage points; NaN for n < 2."""
        ended = self.ended
        if len(ended) < 2:
            return math.nan
        squares = math.fsum((run.accuracy - self.mean) ** 2 for run in ended)
        return math.sqrt(squares / (len(ended) - 1))


class RateSeries(NamedTuple):
    """The cells of one panel at one learning rate, by index."""

    learning_rate: float
    points: tuple[CellPoint, ...]

    @property
    def base(self) -> CellPoint | None:
        """The cell of index 0."""
        return next((point for point in self.points if point.cell.index == 0), None)

    @property
    def base_accuracy(self) -> float:
        """Mean accuracy of the base, in percent; NaN while it has none."""
        return self.base.mean if self.base else math.nan


class AccuracyPanel(NamedTuple):
    """One base on one dataset; `low` to `high` percent is the range that shows the differences."""

    base: str
    named_dataset: str  # that the experiment names
    dataset: str  # trained on
    series: tuple[RateSeries, ...]  # by learning rate
    low: float
    high: float

    @property
    def points(self) -> list[CellPoint]:
        """The cells at all learning rates."""
        return [point for line in self.series for point in line.points]

    @property
    def accuracies(self) -> list[float]:
        """All that is shown: the accuracies of trials and the means of cells."""
        return [a for p in self.points for a in (p.mean, *(run.accuracy for run in p.ended))]

    @property
    def has_below(self) -> bool:
        """Whether a trial, or the mean of a cell, is below the range."""
        return any(accuracy < self.low for accuracy in self.accuracies)

    @property
    def has_above(self) -> bool:
        """Whether a trial is above the range."""
        return any(accuracy > self.high for accuracy in self.accuracies)


def accuracy_by_index_data(trials: pd.DataFrame) -> list[AccuracyPanel]:
    """Return accuracies by base, then dataset, both in order of first appearance.

    A trial counts as done or diverged by its status, and else as missing: it has failed, is not
    trained yet, or is done without an accuracy. A repeated row of the same member counts once.

    Args:
        trials: One row per member with `members.COLUMNS` and `RESULTS`; accuracies from 0 to 1.

    Raises:
        ConfigError: There are no trials, or a column is absent or has missing values.
    """
    members = read_members("accuracy_by_index", trials, COLUMNS, RESULTS)
    # First appearances, not the alphabet: the experiment's order is the reader's.
    bases, datasets = list(group(members, "base")), list(group(members, *DATASETS))
    groups = group(members, "base", *DATASETS)
    order = [(*base, *dataset) for base in bases for dataset in datasets]
    return [_panel(groups[key]) for key in order if key in groups]


def _panel(members: list[Member]) -> AccuracyPanel:
    series = []
    for (rate,), line in sorted(group(members, "learning_rate").items()):
        series.append(RateSeries(float(rate), tuple(map(_point, cells_of(line)))))
    points = [point for line in series for point in line.points]
    done = [run.accuracy for point in points for run in point.done]
    whiskers = [
        point.mean + side * point.deviation
        for point in points
        if len(point.done) > 1 and not point.diverged
        for side in (-1, 1)
    ]
    # A base that diverged would stretch the range down to where no difference can be seen.
    bases = [line.base_accuracy for line in series if line.base and not line.base.diverged]
    low, high = focus_range(done + whiskers, always=bases) if done else (0.0, 100.0)
    base, named_dataset, dataset = (members[0][name] for name in ("base", *DATASETS))
    return AccuracyPanel(base, named_dataset, dataset, tuple(series), low, high)


def _point(members: list[Member]) -> CellPoint:
    done = [m for m in members if m["status"] == "done" and not pd.isna(m["test_accuracy"])]
    diverged = [m for m in members if m["status"] == "diverged"]
    ended = [*done, *diverged]
    sizes = [m["parameters"] for m in ended if not pd.isna(m["parameters"])]
    return CellPoint(
        to_cell(members[0]),
        parameters=int(sizes[0]) if sizes else None,
        ended=tuple(map(_run, ended)),
        missing=tuple(m["trial_id"] for m in members if m not in ended),
    )


def _run(member: Member) -> Run:
    status, accuracy = member["status"], member["test_accuracy"]
    return Run(
        str(member["trial_id"]),
        int(member["seed"]),
        status == "diverged",
        100 * counted_accuracy(status, accuracy),
        math.nan if pd.isna(accuracy) else 100 * float(accuracy),
    )


def plot_accuracy_by_index(data: Sequence[AccuracyPanel], title: str) -> go.Figure:
    """Return the figure."""
    datasets = dict.fromkeys((panel.named_dataset, panel.dataset) for panel in data)
    several = len(datasets) > 1
    titles = [f"{panel.base}, {panel.dataset}" if several else panel.base for panel in data]
    rates = sorted({line.learning_rate for panel in data for line in panel.series})
    subtitle = name_datasets(datasets)
    subtitle += f"; learning rate {rates[0]:g}" if len(rates) == 1 else ""
    legends = [legend_lines(_possible_kinds(data))]
    if len(rates) > 1:
        legends.append(legend_lines([f"learning rate {rate:g}" for rate in rates]))
    shape = grid(len(data), len(datasets) if several else 0, titles)
    figure, places = make_panels(shape, titles, title, subtitle, _note(data), legends)
    last = max([1, *(point.cell.index for panel in data for point in panel.points)])
    kinds: set[str] = set()
    for panel, place in zip(data, places, strict=True):
        frame = _frame(panel, last, place)
        drawn: list[_Symbol] = []
        for line in panel.series:
            rank = rates.index(line.learning_rate) if len(rates) > 1 else None
            # Symbols of several rates stand side by side at an index.
            shift = 0.8 / max(len(rates), 4) * ((rank or 0) - (len(rates) - 1) / 2)
            symbols = [s for point in line.points for s in _symbols(point, shift, frame)]
            _add_symbols(place, symbols, rank, frame)
            drawn += symbols
        kinds |= {symbol.kind for symbol in drawn}
        _add_base_lines(place, panel, rates, frame, drawn)
        _set_axes(place, frame)
    _add_legend(figure, kinds, rates)
    return figure


def _possible_kinds(data: Sequence[AccuracyPanel]) -> list[str]:
    points = [point for panel in data for point in panel.points]
    absent = {
        "one seed": all(len(point.ended) < 2 for point in points),
        "diverged": not any(point.diverged for point in points),
        "below range": not any(panel.has_below for panel in data),
        "above range": not any(panel.has_above for panel in data),
    }
    return [kind for kind in MARKERS if not absent.get(kind)]


class _Frame(NamedTuple):
    """What one panel shows: index -0.6 to `last` + 0.6, `bottom` to `top` percent.

    From `low` to `high` a symbol stands at its accuracy. What is beyond stands in a grey strip
    along the border, from `bottom` to `low` or from `high` to `top`.
    """

    last: int
    bottom: float
    low: float
    high: float
    top: float
    x_pixels: float
    y_pixels: float


def _frame(panel: AccuracyPanel, last: int, place: Panel) -> _Frame:
    below, above = panel.has_below * STRIP, panel.has_above * STRIP
    name = 0 if above else NAME_HEIGHT
    y_pixels = (place.grid.panel_height - below - above - name) / (panel.high - panel.low)
    high = panel.high + name / y_pixels
    return _Frame(
        last,
        bottom=panel.low - below / y_pixels,
        low=panel.low,
        high=high,
        top=high + above / y_pixels,
        x_pixels=place.grid.panel_width / (last + 1.2),
        y_pixels=y_pixels,
    )


class _Symbol(NamedTuple):
    """One symbol of a panel; `whiskers` are the lengths of its own upwards and downwards, or 0."""

    kind: str
    x: float
    y: float
    label: str
    hover: str
    whiskers: tuple[float, float] = (0.0, 0.0)


def _symbols(point: CellPoint, shift: float, frame: _Frame) -> Iterator[_Symbol]:
    """Yield the symbols of one cell at one learning rate."""
    x = point.cell.index + shift
    if len(point.ended) > 1:
        for run in point.done:
            kind, y, _ = _positioned(run.accuracy, "one seed", frame)
            yield _Symbol(kind, x, y, "", _hover_run(point, run))
    if point.done:
        usual = "variant" if point.cell.index else "base"
        kind, y, label = _positioned(point.mean, usual, frame)
        length = point.deviation if kind == usual and len(point.ended) > 1 else 0.0
        whiskers = min(length, frame.high - y), min(length, y - frame.low)
        yield _Symbol(kind, x, y, label, _hover_point(point), whiskers if length else (0.0, 0.0))
    for run in point.diverged:
        _, y, label = _positioned(run.accuracy, "diverged", frame)
        # Beside the cell's mean, which diverged trials may bring into the same strip.
        beside, label = (x + 0.3, "") if point.done else (x, label)
        yield _Symbol("diverged", beside, y, label, _hover_run(point, run))


def _positioned(accuracy: float, kind: str, frame: _Frame) -> tuple[str, float, str]:
    """Return kind, height and label of a symbol; in a strip it or its label is an arrow."""
    if frame.low <= accuracy <= frame.high:
        return kind, accuracy, ""
    number = f"{accuracy:.0f}" if accuracy >= 0 else ""
    if accuracy > frame.high:
        label = f"↑<br>{number}" if kind == "diverged" else number
        return "above range", frame.top - 9 / frame.y_pixels, label
    label = f"{number}<br>↓" if kind == "diverged" else number
    return "below range", frame.bottom + 9 / frame.y_pixels, label


def _add_symbols(place: Panel, symbols: list[_Symbol], rank: int | None, frame: _Frame) -> None:
    for kind, marker in MARKERS.items():
        chosen = [symbol for symbol in symbols if symbol.kind == kind]
        if not chosen:
            continue
        up, down = zip(*(symbol.whiskers for symbol in chosen), strict=True)
        whiskers = {"array": up, "arrayminus": down, "symmetric": False}
        place.add_scatter(
            name=kind,
            # Labels of several learning rates would cover one another; hovering shows them.
            mode="markers+text" if rank is None else "markers",
            x=[symbol.x for symbol in chosen],
            y=[symbol.y for symbol in chosen],
            text=_labels(chosen, frame) if rank is None else None,
            textposition=["bottom center" if s.y > frame.high else "top center" for s in chosen],
            textfont={"size": 11 if frame.x_pixels > 18 else 10, "color": style.GREY},
            hovertext=[symbol.hover for symbol in chosen],
            hoverinfo="text",
            marker={"color": _colour(kind, rank), **marker},
            error_y=whiskers | {"width": 0, "thickness": 1.3} if any(up) or any(down) else None,
        )


def _labels(symbols: list[_Symbol], frame: _Frame) -> list[str]:
    """Return the symbols' labels; where they are too close, equal neighbours share one."""
    labels = {symbol.x: symbol.label for symbol in symbols} if frame.x_pixels < 18 else {}
    return ["" if labels.get(s.x - 1) == s.label else s.label for s in symbols]


def _add_base_lines(
    place: Panel, panel: AccuracyPanel, rates: list[float], frame: _Frame, symbols: list[_Symbol]
) -> None:
    """Add the dashed line of each learning rate, its name where it covers the fewest symbols."""
    name = style.shorten(panel.base, 20)
    taken = [(symbol.x * frame.x_pixels, symbol.y * frame.y_pixels) for symbol in symbols]
    window = Box(
        -0.5 * frame.x_pixels,
        frame.bottom * frame.y_pixels,
        (frame.last + 0.5) * frame.x_pixels,
        frame.top * frame.y_pixels,
    )
    for line in panel.series:
        y = line.base_accuracy
        if not frame.low <= y <= frame.high:
            continue
        colour = _colour("base", rates.index(line.learning_rate) if len(rates) > 1 else None)
        _add_shape(place, "line", y, y, line={"color": colour, "width": 1.3, "dash": "dash"})
        box = place_label(y * frame.y_pixels, 8 + style.LETTER * len(name), 17, window, taken)
        taken += box.middle_points(8)
        place.add_text(
            style.escape(name), font={"size": 13, "color": colour},
            x=box.left / frame.x_pixels, xanchor="left",
            y=y, yanchor="bottom" if box.bottom >= y * frame.y_pixels else "top",
        )  # fmt: skip


def _set_axes(place: Panel, frame: _Frame) -> None:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, frame.last) if s * frame.x_pixels >= 20)
    numbers, decimals = ticks(frame.low, min(frame.high, 100.0))
    wide = place.grid.panel_width > 240
    place.set_axes(
        {"range": [-0.6, frame.last + 0.6], "tick0": 0, "dtick": step, "tickangle": 0},
        {"range": [frame.bottom, frame.top], "tickvals": numbers, "tickformat": f".{decimals}f"},
        ("Index of the cell" + " (0 = base)" * wide, "Test accuracy (%)"),
    )
    for low, high in ((frame.bottom, frame.low), (frame.high, frame.top)):
        if low < high:
            _add_shape(place, "rect", low, high, fillcolor="#f1f1f1", line_width=0)


def _add_shape(place: Panel, kind: str, low: float, high: float, **properties: object) -> None:
    """Add a line or a rectangle from the left to the right of a panel, below its symbols."""
    place.figure.add_shape(
        type=kind, xref="x domain", x0=0, x1=1, y0=low, y1=high, layer="below", opacity=1,
        **properties, row=place.row, col=place.column,
    )  # fmt: skip


def _add_legend(figure: go.Figure, kinds: set[str], rates: list[float]) -> None:
    """Add a key to a kind of symbol, and one to a learning rate where there are several."""
    several = len(rates) > 1
    for kind, marker in MARKERS.items():
        if kind in kinds:
            colour = _colour(kind, None) if kind == "diverged" or not several else style.GREY
            add_key(figure, kind, {**marker, "color": colour}, "legend")
    for rank, rate in enumerate(rates if several else ()):
        square = {"symbol": "square", "size": 10, "color": _colour("variant", rank)}
        add_key(figure, f"learning rate {rate:g}", square, "legend2")


def _colour(kind: str, rank: int | None) -> str:
    """Return a colour by the rank of the learning rate where there are several, else by kind."""
    if kind == "diverged":
        return style.BAD
    return style.palette_colour((kind == "base") if rank is None else rank)


def _note(data: Sequence[AccuracyPanel]) -> str:
    """Return what a reader must know to trust the picture."""
    points = [point for panel in data for point in panel.points]
    done = {run.trial_id for point in points for run in point.done}
    diverged = {run.trial_id for point in points for run in point.diverged}
    missing = {trial_id for point in points for trial_id in point.missing}
    seeds = max(len(point.ended) + len(point.missing) for point in points)
    notes = []
    if seeds > 1:
        notes.append(
            f"Large marks are means over up to {seeds} seeds (small marks); "
            "whiskers: ± one standard deviation."
        )
    if missing:
        place = "left out" if seeds > 1 else "gaps"
        total = len(done | diverged | missing)
        notes.append(f"No result ({place}): {len(missing)} of {total} trials.")
    if ended := len(done | diverged):
        notes.append(diverged_note(len(diverged), ended, AS_ZERO))
    for reason, applies in (
        ("has no result", lambda panel, accuracy: math.isnan(accuracy)),
        ("is below the panel's range", lambda panel, accuracy: accuracy < panel.low),
    ):
        bases = dict.fromkeys(
            panel.base
            for panel in data
            if any(applies(panel, line.base_accuracy) for line in panel.series)
        )
        if bases:
            notes.append(f"No dashed line where the base {reason}: {', '.join(bases)}.")
    if any(panel.has_below or panel.has_above for panel in data):
        notes.append("Grey strips: beyond the panel's range.")
    return " ".join(notes)


def _hover_point(point: CellPoint) -> str:
    """Return all about one cell; its trial id if it has one seed, else the spread of its seeds."""
    if len(point.ended) == 1:
        return _hover(point, f"accuracy {point.mean:.2f} %", point.ended[0].trial_id)
    spread = f"mean accuracy {point.mean:.2f} ± {point.deviation:.2f} %"
    each = ", ".join(f"{run.accuracy:.2f}" for run in point.ended)
    return _hover(point, spread, f"{len(point.ended)} seeds: {each}")


def _hover_run(point: CellPoint, run: Run) -> str:
    """Return all about one trial of a cell."""
    accuracy = f"accuracy {run.last:.2f} %" if run.last >= 0 else "no accuracy"
    if run.diverged:
        accuracy = f"diverged, {AS_ZERO} ({accuracy} after its last epoch)"
    return _hover(point, f"{accuracy}, seed {run.seed}", run.trial_id)


def _hover(point: CellPoint, accuracy: str, last: str) -> str:
    size = [] if point.parameters is None else [f"{point.parameters:,} parameters"]
    lines = [f"<b>{style.escape(point.cell.variant)}</b>", str(point.cell), accuracy, *size]
    return "<br>".join([*lines, style.escape(last)])
