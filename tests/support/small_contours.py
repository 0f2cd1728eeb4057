"""Stores with members and surfaces of given losses, written through the tables of a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from synthetic_stores import NOW, blank

from orchestrator.figures import draw
from orchestrator.figures.landscapes import Landscapes, contours_data
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from results_schema.tables import POINTS, SURFACES, WANTED
from workers.landscape.grid import Grid

NAME = "fig6"


def bowl(alpha: float, beta: float) -> float:
    """Losses from 0.2 to 20."""
    return 0.2 * 10 ** (alpha**2 + beta**2)


@dataclass
class Surveyed:
    """Members of one experiment and their contours, in order."""

    folder: Path
    members: list[dict[str, Any]] = field(default_factory=list)
    wanted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def store(self) -> LocalStore:
        """The store that holds them."""
        return open_store(self.folder)

    def add(
        self,
        member: dict[str, Any],
        loss: Callable[[float, float], float] = bowl,
        *,
        status: str | None = "done",
        grid: Grid | None = None,
        done: int | None = None,
        **result: Any,
    ) -> str:
        """A member with a contour of which `done` points, by default all, are measured."""
        grid = grid or Grid(5, 5)
        trial_id = member["trial_id"]
        surface_id = f"{trial_id}@e600-contour-{len(self.wanted):010x}"
        self.members.append(member)
        self.wanted.append(
            {"experiment": NAME, "surface_id": surface_id, "trial_id": trial_id,
             "kind": "contour", "points": grid.rows * grid.columns}
        )  # fmt: skip
        common = {"surface_id": surface_id, "trial_id": trial_id, "kind": "contour"}
        points = [
            blank(POINTS) | common | {
                "row": point.row, "column": point.column, "alpha": point.alpha,
                "beta": point.beta, "loss": loss(point.alpha, point.beta), "accuracy": 0.9,
                "seconds": 1.0, "finished_at": NOW,
            }
            for point in grid.points()[:done]
        ]  # fmt: skip
        if points:
            self.store.put(layout.points(surface_id), tables.to_parquet(points, POINTS))
        if status:
            row = blank(SURFACES) | common | {
                "status": status, "epoch": 600, "rows": grid.rows, "columns": grid.columns,
                "extent": grid.extent, "normalisation": "filter", "split": "test",
                "instances": 10_000, "precision": "fp32", "notes": "{}", "spec": "{}",
                "started_at": NOW, "ended_at": NOW, **result,
            }  # fmt: skip
            self.store.put(layout.surface(surface_id), tables.to_parquet([row], SURFACES))
        return surface_id

    def results(self) -> Results:
        """A reader of all that was added."""
        named = [member | {"experiment": NAME, "axes": None} for member in self.members]
        self.store.put(layout.members(NAME), tables.to_parquet(named, tables.MEMBERS))
        self.store.put(layout.wanted(NAME), tables.to_parquet(self.wanted, WANTED))
        return Results(self.store)

    def data(self) -> Landscapes:
        """The figure's numbers."""
        results = self.results()
        return contours_data(results.surfaces(NAME), results.points(NAME))

    def figure(self, title: str = "Loss") -> go.Figure:
        """The figure itself."""
        results = self.results()
        return draw("contours", lambda name: getattr(results, name)(NAME), title)
