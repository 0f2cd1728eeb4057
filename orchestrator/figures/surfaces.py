"""Surfaces of an experiment as panels of a figure: their points on a plane, and texts about them.

A surface holds numbers at the weights θ + α·w₁ + β·w₂ of one trained network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.members import (
    COLUMNS,
    Cell,
    common,
    differing,
    name_cell,
    name_datasets,
    require,
    to_cell,
)
from orchestrator.figures.style import escape, escape_template
from results_schema.errors import ConfigError
from workers.landscape.grid import Grid

WANTED_COLUMNS = (*COLUMNS, "surface_id", "kind")
"""Columns that are known of a surface before it is measured."""

RESULT_COLUMNS = (
    "status", "epoch", "rows", "columns", "extent", "surface_seed", "pair", "split", "instances",
    "loss", "radius", "bounded", "convex", "roughness",
)  # fmt: skip
"""Columns that are known when it is finished."""

POINT_COLUMNS = ("surface_id", "row", "column", "alpha", "beta")

_WHOLE = ("seed", "epoch", "surface_seed", "pair", "instances")


@dataclass(frozen=True, eq=False)
class Plane:
    """Numbers over evenly ordered step sizes."""

    alphas: np.ndarray  # float64 [R], rising, in units of w₁
    betas: np.ndarray  # float64 [C], rising, in units of w₂
    values: dict[str, np.ndarray]  # column of the points to float64 [R, C], NaN where null

    @property
    def empty(self) -> bool:
        """Whether there is no point in it."""
        return not self.alphas.size

    @property
    def flat(self) -> bool:
        """Whether it has a single row or column, so that no contour can be drawn."""
        return min(self.alphas.size, self.betas.size) == 1


def assemble(
    points: pd.DataFrame, names: Sequence[str], shape: tuple[int, int] | None = None
) -> Plane:
    """Return the plane of one surface: its finest level that is measured in full.

    Points are measured from coarse to fine (`workers.landscape.grid`), so a surface that is not
    finished has a coarse plane already; points of a level that is not complete are left out.

    Args:
        points: The surface's rows of the table of points, in any order; of a repeated point the
            first row counts.
        names: Columns whose numbers are wanted.
        shape: Numbers of alphas and betas in full; by default taken from the points, whose level 1
            holds the far ends of both axes.

    Returns:
        The plane, without points if not even the centre is measured.
    """
    points = points.drop_duplicates(["row", "column"])
    measured = {(int(row), int(column)) for row, column in points[["row", "column"]].to_numpy()}
    rows: set[int] = set()
    columns: set[int] = set()
    high, wide = shape or points[["row", "column"]].max().fillna(0).astype(int) + 1
    order = Grid(high | 1, wide | 1).points()
    for _, level in groupby(order, key=lambda point: point.level):
        places = [(point.row, point.column) for point in level]
        if not measured.issuperset(places):
            break
        rows |= {row for row, _ in places}
        columns |= {column for _, column in places}
    kept: Any = points[points["row"].isin(list(rows)) & points["column"].isin(list(columns))]
    kept = kept.sort_values(["row", "column"])
    grids = {
        name: kept[name].to_numpy(dtype=float, na_value=np.nan).reshape(len(rows), len(columns))
        for name in ("alpha", "beta", *names)
    }
    return Plane(
        grids["alpha"][:, :1].ravel(),
        grids["beta"][:1].ravel(),
        {name: grids[name] for name in names},
    )


@dataclass(frozen=True, eq=False)
class SurfacePanel:
    """One surface of one member; what is known of a finished one is None before, or where null."""

    base: str
    cell: Cell
    named_dataset: str  # that the experiment names
    dataset: str  # trained on
    learning_rate: float
    seed: int  # of the training
    trial_id: str
    status: str  # "done", "diverged", or "" if not finished
    measured: int  # points so far
    points: int | None  # of the full grid; None if the table does not have it
    extent: float  # of alpha and beta, from minus this to this; 1 before anything is measured
    plane: Plane  # finest grid that is measured in full; see `assemble`
    epoch: int | None  # of the checkpoint
    surface_seed: int | None  # of the directions
    pair: int | None  # of directions, among those of the seed
    split: str | None  # whose images were evaluated: "test" or "train"
    instances: int | None  # number of these images
    loss: float | None  # at the centre, in nat
    radius: float | None  # from the centre to the nearest twofold loss
    bounded: bool | None  # whether it is reached; else `radius` is that of the circle searched
    convex: float | None  # share of points in the near-convex region
    roughness: float | None  # mean |second derivative| of log₁₀ loss, in decades per unit²


def read_panels(
    figure: str, kind: str, surfaces: pd.DataFrame, points: pd.DataFrame, names: Sequence[str]
) -> tuple[SurfacePanel, ...]:
    """Return one panel per member and surface of a kind, in the order of the table.

    Args:
        figure: Kind of figure, for messages.
        kind: Kind of the surfaces; others are passed over.
        surfaces: The experiment's surfaces, measured or not.
        points: Their points.
        names: Columns of `points` whose planes are wanted.

    Raises:
        ConfigError: There is no such surface, or a column is absent or has missing values.
    """
    require(figure, "surfaces", surfaces, WANTED_COLUMNS, RESULT_COLUMNS)
    require(figure, "points", points, (), (*POINT_COLUMNS, *names))
    wanted: Any = surfaces[surfaces["kind"] == kind]
    wanted = wanted.drop_duplicates(list(WANTED_COLUMNS))
    if wanted.empty:
        raise ConfigError(
            f"{figure} has no surface of kind {kind} to show",
            fix=f"add landscape: {{{kind}: {{}}}} to the experiment and launch it",
        )
    # A trial that is several members has its points once for each.
    points = points.drop_duplicates(["surface_id", "row", "column"])
    measured: dict[Any, Any] = dict(list(points.groupby("surface_id")))
    none = points.iloc[:0]
    return tuple(
        _panel(row, measured.get(row["surface_id"], none), names)
        for row in wanted.to_dict("records")
    )


def _panel(row: dict[Any, Any], points: pd.DataFrame, names: Sequence[str]) -> SurfacePanel:
    known: dict[str, Any] = {
        name: None if pd.isna(row[name]) else row[name]
        for name in (*WANTED_COLUMNS, *RESULT_COLUMNS)
    }
    # A column with missing values is one of floats.
    known |= {name: int(known[name]) for name in _WHOLE if known[name] is not None}
    shape: tuple[int, int] | None = None
    total: Any = row.get("points")
    if known["status"] is not None:
        shape = int(known["rows"]), int(known["columns"])
        total = shape[0] * shape[1]
    reach = float(points[["alpha", "beta"]].abs().max().max()) if len(points) else 0.0
    known |= {
        "cell": to_cell(row),
        "status": known["status"] or "",
        "measured": len(points),
        "points": None if pd.isna(total) else int(total),
        "extent": known["extent"] or reach or 1.0,
        "plane": assemble(points, names, shape),
    }
    return SurfacePanel(**{field.name: known[field.name] for field in fields(SurfacePanel)})


def panel_titles(panels: Sequence[SurfacePanel]) -> list[str]:
    """Return each panel's cell with its width and depth, and whatever else distinguishes it."""
    found = differing(
        panels,
        lambda panel: panel.dataset,
        lambda panel: f"rate {panel.learning_rate:g}",
        lambda panel: f"seed {panel.seed}",
        lambda panel: "" if panel.epoch is None else f"epoch {panel.epoch}",
        lambda panel: "" if panel.surface_seed is None else f"directions {panel.surface_seed}",
        lambda panel: "" if panel.pair is None else f"pair {panel.pair}",
    )
    return [
        ", ".join([f"{cell} {panel.cell.shape}", *texts])
        for panel, cell, texts in zip(panels, _cells(panels), found, strict=True)
    ]


def subtitle(panels: Sequence[SurfacePanel]) -> str:
    """Return the datasets, substitutes named as such, and what all panels have in common."""
    splits = [
        f"{instances:,} {split} images"
        for split, instances in dict.fromkeys((p.split, p.instances) for p in panels)
        if instances is not None
    ]

    def trained(panel: SurfacePanel) -> str:
        epoch = panel.epoch
        return "" if epoch is None else f"after {epoch} epoch{'s' * (epoch != 1)}"

    shared = common(panels, lambda panel: f"learning rate {panel.learning_rate:g}", trained)
    datasets = name_datasets((panel.named_dataset, panel.dataset) for panel in panels)
    return "; ".join(filter(None, [datasets, " and ".join(splits), *shared]))


def warnings(panels: Sequence[SurfacePanel]) -> list[str]:
    """Return why panels can't be compared at a glance: differing extents, missing points."""
    found: list[str] = []
    extents = Counter(panel.extent for panel in panels if panel.measured)
    if len(extents) > 1:
        usual = max(extents, key=extents.__getitem__)
        odd = {
            cell: panel.extent
            for panel, cell in zip(panels, _cells(panels), strict=True)
            if panel.measured and panel.extent != usual
        }
        named = ", ".join(f"{cell} ±{extent:g}" for cell, extent in odd.items())
        found.append(f"Mind the axes: {named}, the others ±{usual:g}.")
    finished = sum(panel.status == "done" for panel in panels)
    if finished < len(panels):
        found.append(f"Measured in full: {finished} of {len(panels)} surfaces.")
    return found


def describe_gap(panel: SurfacePanel, drawn: bool, quantity: str) -> str:
    """Return what a panel lacks, in a line or two; empty for a complete one.

    `drawn` states whether it shows at least one point, `quantity` what it shows, in a word.
    """
    if panel.status == "diverged":
        return "diverged:<br>no landscape"
    if not panel.measured:
        return "not measured"
    if panel.status != "done" or panel.measured != panel.points:
        total = "" if panel.points is None else f" of {panel.points:,}"
        return f"{panel.measured:,}{total} points"
    return "" if drawn else f"blank: no {quantity}<br>within the scale"


def hover_centre(panel: SurfacePanel) -> str:
    """Return what is known of the surface as a whole."""
    lines = [f"<b>{escape(panel.cell.variant)}</b>", escape(panel.trial_id)]
    if panel.loss is not None:
        lines.append(f"loss at the centre {panel.loss:.4g} nat")
    if panel.radius is not None:
        beyond = "" if panel.bounded else "beyond "
        lines.append(f"twofold loss at radius {beyond}{panel.radius:.3g}")
    if panel.convex is not None:
        lines.append(f"near-convex region {100 * panel.convex:.1f} %")
    if panel.roughness is not None:
        lines.append(f"roughness {panel.roughness:.3g} decades per unit²")
    return "<br>".join(lines)


def hover_template(panel: SurfacePanel) -> str:
    """Return plotly's template for a point, which shows its `text` below its place."""
    variant, trial_id = (escape_template(name) for name in (panel.cell.variant, panel.trial_id))
    place = "α %{x:.3g}, β %{y:.3g}"
    return f"<b>{variant}</b><br>{trial_id}<br>{place}<br>%{{text}}<extra></extra>"


def _cells(panels: Sequence[SurfacePanel]) -> list[str]:
    several = len({panel.base for panel in panels}) > 1
    return [name_cell(panel.base, panel.cell.index, several_bases=several) for panel in panels]
