"""Tables of members with surfaces of given gradient variances, as a store's reader joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from orchestrator.figures.surfaces import RESULT_COLUMNS
from workers.landscape.grid import Grid


def bowl(alpha: float, beta: float) -> float:
    """Variances from 4 to 400."""
    return 4 * 10 ** (alpha**2 + beta**2)


def survey(
    members: Sequence[dict[str, Any]],
    variance: Callable[[float, float], float] = bowl,
    *,
    grid: Grid | None = None,
    status: str | None = "done",
    done: int | None = None,
) -> dict[str, pd.DataFrame]:
    """The surfaces and points of members, of which `done` points, by default all, are measured."""
    grid = grid or Grid(5, 5)
    surfaces, points = [], []
    for member in members:
        name = f"{member['trial_id']}@e600-gradient_variance"
        common = {**member, "surface_id": name, "kind": "gradient_variance"}
        result = dict.fromkeys(RESULT_COLUMNS) | {
            "status": status, "epoch": 600, "rows": grid.rows, "columns": grid.columns,
            "extent": grid.extent, "surface_seed": 0, "pair": 0, "split": "test",
            "instances": 1000,
        }  # fmt: skip
        known = result if status else dict.fromkeys(RESULT_COLUMNS)
        surfaces.append(common | {"points": grid.rows * grid.columns} | known)
        points += [
            common | {"row": p.row, "column": p.column, "alpha": p.alpha, "beta": p.beta,
                      "loss": variance(p.alpha, p.beta), "accuracy": 0.9,
                      "variance": variance(p.alpha, p.beta)}
            for p in grid.points()[:done]
        ]  # fmt: skip
    columns = [*surfaces[0], "row", "column", "alpha", "beta", "loss", "accuracy", "variance"]
    return {
        "surfaces": pd.DataFrame(surfaces),
        "points": pd.DataFrame(points, columns=list(dict.fromkeys(columns))),
    }
