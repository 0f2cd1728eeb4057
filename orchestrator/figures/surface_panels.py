"""The surfaces of an experiment as panels: who, how far it is measured, and its plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from orchestrator.figures.members import COLUMNS
from orchestrator.figures.planes import Plane, assemble
from results_schema.errors import ConfigError

MEMBER = (*COLUMNS, "surface_id", "kind")
"""What is known of a surface before it is measured."""

FOUND = (
    "status",
    "epoch",
    "rows",
    "columns",
    "extent",
    "surface_seed",
    "pair",
    "split",
    "instances",
    "loss",
    "radius",
    "bounded",
    "convex",
    "roughness",
)
"""What is known when it is finished."""

PLACE = ("surface_id", "row", "column", "alpha", "beta")


@dataclass(frozen=True, eq=False)
class Panel:
    """One surface of one member. What a surface tells when finished is None before, or where null.

    Attributes:
        base: The published genotype.
        variant: The cell's name.
        index: 0 is the base.
        named_dataset: The data set that the experiment names.
        dataset: The one trained on.
        learning_rate: At the first epoch.
        seed: Of the training.
        width: Of the normal cell, in units of c.
        depth: Of the normal cell, in edges.
        trial_id: Whose network it is.
        surface_id: The surface.
        status: "done", "diverged", or "" if not finished.
        measured: Points so far.
        points: Of the full grid; None if the table does not tell.
        extent: Alpha and beta reach from minus this to this; 1 before anything is measured.
        plane: The finest grid that is measured in full; see `planes.assemble`.
        epoch: Of the checkpoint.
        surface_seed: Of the directions.
        pair: Which of the seed's pairs.
        split: Whose images: "test" or "train".
        instances: How many of them.
        loss: At the centre, in nat.
        radius: From the centre to the nearest twofold loss.
        bounded: Whether it is reached; else `radius` is the circle's searched.
        convex: Share of points in the near-convex region.
        roughness: Mean |second derivative| of log₁₀ loss, in decades per unit².
    """

    base: str
    variant: str
    index: int
    named_dataset: str
    dataset: str
    learning_rate: float
    seed: int
    width: float
    depth: int
    trial_id: str
    surface_id: str
    status: str
    measured: int
    points: int | None
    extent: float
    plane: Plane
    epoch: int | None
    surface_seed: int | None
    pair: int | None
    split: str | None
    instances: int | None
    loss: float | None
    radius: float | None
    bounded: bool | None
    convex: float | None
    roughness: float | None


def read_panels(
    figure: str, kind: str, surfaces: pd.DataFrame, points: pd.DataFrame, names: Sequence[str]
) -> tuple[Panel, ...]:
    """One panel per member and surface of a kind, in the order of the table.

    Args:
        figure: The kind of figure, for messages.
        kind: Of the surfaces; others are passed over.
        surfaces: As `Results.surfaces(experiment)` returns them.
        points: As `Results.points(experiment)` returns them.
        names: The columns of `points` whose planes are wanted.

    Raises:
        ConfigError: There is no such surface, or a column is lacking or has empty places.
    """
    _check("surfaces", figure, surfaces, (*MEMBER, *FOUND))
    _check("points", figure, points, (*PLACE, *names))
    wanted: Any = surfaces[surfaces["kind"] == kind]
    wanted = wanted.drop_duplicates(list(MEMBER))
    if wanted.empty:
        raise ConfigError(
            f"{figure} has no surface of kind {kind} to show",
            fix=f"add landscape: {{{kind}: {{}}}} to the experiment and launch it",
        )
    for name in MEMBER:
        if pd.isna(wanted[name]).to_numpy().any():
            raise ConfigError(
                f"column {name} of the surfaces of {figure} has empty places",
                fix="write the experiment's members again: launch it once more",
            )
    # A trial that is several members has its points once for each.
    measured: dict[Any, Any] = dict(list(points.groupby("surface_id")))
    none = points.iloc[:0]
    return tuple(
        _panel(row, measured.get(row["surface_id"], none), names)
        for row in wanted.to_dict("records")
    )


def _check(table: str, figure: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    if lacking := [name for name in columns if name not in frame.columns]:
        raise ConfigError(
            f"the {table} of {figure} lack {', '.join(lacking)}",
            fix="join the members of an experiment with its surfaces and their points",
        )


def _panel(row: dict[Any, Any], points: pd.DataFrame, names: Sequence[str]) -> Panel:
    points = points.drop_duplicates(["row", "column"])
    told: dict[str, Any] = {
        name: None if pd.isna(row[name]) else row[name] for name in (*MEMBER, *FOUND)
    }
    # A column with gaps is one of floats.
    whole = ("index", "seed", "depth", "epoch", "surface_seed", "pair", "instances")
    told |= {name: int(told[name]) for name in whole if told[name] is not None}
    shape: tuple[int, int] | None = None
    total: Any = row.get("points")
    if told["status"] is not None:
        shape = int(told["rows"]), int(told["columns"])
        total = shape[0] * shape[1]
    reach = float(points[["alpha", "beta"]].abs().max().max()) if len(points) else 0.0
    kept = {field.name for field in fields(Panel)} & told.keys()
    return Panel(
        **{name: told[name] for name in kept - {"status", "extent"}},
        status=told["status"] or "",
        measured=len(points),
        points=None if pd.isna(total) else int(total),
        extent=told["extent"] or reach or 1.0,
        plane=assemble(points, names, shape),
    )
