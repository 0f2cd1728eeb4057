"""Every kind of figure: the tables that it is drawn from, and what an experiment may say of it."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, Field

from orchestrator.config.documents import show
from orchestrator.config.fields import STRICT, Axis, DatasetName, Text, one_of
from results_schema.errors import SpecError

QUANTITIES = ("test_loss", "test_accuracy", "train_loss", "train_accuracy")
"""Columns of the metrics that are drawn over epochs."""

COLUMNS = ("auto", "width")

WIDTHS = ("final", "early")
"""The paper's two definitions, by version."""

Quantity = Annotated[str, one_of("quantity", QUANTITIES)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise SpecError(f"{show(list(ends))} is no range", fix="write [LOWER, UPPER]")
    return ends


class Options(BaseModel):
    """What every kind takes: a title of its own, and which members of the experiment to show.

    An empty list means all of them.
    """

    model_config = STRICT

    title: Text | None = None
    bases: Axis[str] = ()
    datasets: Axis[DatasetName] = ()
    learning_rates: Axis[Rate] = ()
    indices: Axis[Index] = ()


class Convergence(Options):
    """Curves over epochs: which quantities, how smooth, in which panels, over which range."""

    show: Axis[Quantity] = ("test_loss",)
    groups: Count | None = None
    smoothing: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    range: dict[Quantity, Annotated[tuple[float, float], AfterValidator(_check_range)]] = {}


class OnPlane(Options):
    """Panels of a plane through the weights; by width they stand in columns, as in Figure 17."""

    columns: Annotated[str, one_of("arrangement", COLUMNS)] = "auto"


class Variances(OnPlane):
    """The root of the gradient's variance, or the variance itself."""

    quantity: Annotated[str, one_of("quantity", ("std", "variance"))] = "std"


class Topologies(Options):
    """Drawn cells: whether reduction cells too, operations on the edges, which width is told."""

    reduction: bool = False
    labels: bool = False
    width: Annotated[str, one_of("definition of width", WIDTHS)] = "final"


class TheoryCells(Options):
    """The two cells of the theory, of so many nodes."""

    nodes: Annotated[int, Field(ge=2, le=9)] = 3


class Kind(NamedTuple):
    """One kind; its module has `<kind>_data` and `plot_<kind>`.

    Attributes:
        module: Imported from `orchestrator` when a figure of the kind is drawn.
        tables: What `<kind>_data` takes, in order: each a method of `Results`.
        options: What may be said of it.
        drawing: The options that `plot_<kind>` takes; `<kind>_data` takes the others.
    """

    module: str
    tables: tuple[str, ...]
    options: type[Options] = Options
    drawing: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "accuracy_by_index": Kind("figures.accuracy_by_index", ("trials",)),
    "convergence": Kind("figures.convergence", ("trials", "metrics"), Convergence),
    "contours": Kind("figures.contours", ("surfaces", "points"), OnPlane, ("columns",)),
    "variance_maps": Kind("figures.variance_maps", ("surfaces", "points"), Variances, ("columns",)),
    "variance_surfaces": Kind(
        "figures.variance_surfaces", ("surfaces", "points"), Variances, ("columns",)
    ),
    "theorem_bounds": Kind("paper.theorem_bounds", ("trials", "surfaces", "points", "metrics")),
    "theory_cells": Kind("paper.theory_cells", (), TheoryCells),
    "topologies": Kind("figures.topologies", ("cells",), Topologies, ("labels",)),
}
"""By the name that an experiment writes."""

TABLES: dict[str, str] = {
    "errors": "trials",
    "shapes": "cells",
    "parameters": "cells",
}
"""Kind of table, as an experiment names it, to the table of the store that its module takes: a
method of `Results`."""
