"""The kinds of figures and tables that an experiment may name, and what it may say about them.

Entries name functions as `module:function`, imported when a figure or table is made, so that
checking an experiment imports neither figures nor paper. To add a kind of figure, write a function
that computes its data and one that draws them, then enter both in `FIGURE_KINDS`; a plug-in's kind
is one function, entered by `nas_sweep.figure`.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, create_model

from orchestrator.config.axes import OWN
from orchestrator.config.documents import (
    STRICT,
    Axis,
    DatasetName,
    Document,
    Problem,
    Text,
    check_known,
    mapping_of,
    one_of,
    read_named,
    show,
)
from orchestrator.output.text import value_text
from results_schema.errors import ConfigError, SpecError, suggest
from results_schema.plugins import BUILT_IN, Entry, registry

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.config.experiment import Experiment

QUANTITIES = (
    "test_loss", "test_accuracy", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
)  # fmt: skip
"""Columns of the metrics that can be drawn over epochs."""

PROPERTIES = ("width", "depth", "width_all_nodes", "depth_all_nodes", "index", "parameters")
"""Columns of the table of trials that are the same for all trials of a cell."""

OUTCOMES = (
    "test_accuracy", "best_test_accuracy", "late_test_accuracy", "test_loss", "train_loss",
    "train_seconds", "val_loss", "val_accuracy", "selected_test_accuracy",
)  # fmt: skip
"""Columns of the table of trials that training decides."""

Quantity = Annotated[str, one_of("quantity", QUANTITIES)]
Count = Annotated[int, Field(ge=1)]


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise SpecError(f"{show(list(ends))} is no range", fix="write [LOWER, UPPER]")
    return ends


def _check_x(name: Any) -> str:
    if isinstance(name, str) and "." in name:
        return name  # an axis, checked with the experiment's
    return check_known(name, "property of a cell", PROPERTIES)


class Options(BaseModel, **STRICT):
    """Options of every kind of figure: how it is drawn, and which members it shows (default: all).

    `size` is the printed width, `font_size` that of ordinary letters in points. Each value of an
    axis in `facet` has panels of its own, as each has of axes that are not the grid's own.
    """

    title: Text | None = None
    titled: bool = True
    size: Annotated[str, one_of("size of a figure", ("page", "column"))] = "page"
    font_size: Annotated[float, Field(ge=6, le=14)] = 10.0
    bases: Axis[str] = ()
    datasets: Axis[DatasetName] = ()
    learning_rates: Axis[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = ()
    indices: Axis[Annotated[int, Field(ge=0)]] = ()
    facet: Axis[str] = ()


class ConvergenceOptions(Options):
    """Curves over epochs: quantities, panels (`groups`), smoothing in epochs, and axis ranges.

    `colour` is an axis whose values have colours in one panel.
    """

    show: Axis[Quantity] = ("test_loss",)
    groups: Count | None = None
    smoothing: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    range: dict[Quantity, Annotated[tuple[float, float], AfterValidator(_check_range)]] = {}
    colour: str | None = None


class PlaneOptions(Options):
    """Panels of a plane through the weights; `width` orders their columns, as in Figure 17."""

    columns: Annotated[str, one_of("arrangement", ("auto", "width"))] = "auto"


class VarianceOptions(PlaneOptions):
    """The gradient's standard deviation or its variance."""

    quantity: Annotated[str, one_of("quantity", ("std", "variance"))] = "std"


class TopologyOptions(Options):
    """Drawn cells: reduction cells as well, operations on edges, and the definition of width."""

    reduction: bool = False
    labels: bool = False
    width: Annotated[str, one_of("definition of width", ("final", "early"))] = "final"


class TheoryCellsOptions(Options):
    """The two cells of the theory, and their number of nodes."""

    nodes: Annotated[int, Field(ge=2, le=9)] = 3


class TrendOptions(Options):
    """What is drawn along both axes: columns of the table of trials.

    `x` is a property of cells or an axis of numbers, such as `recipe.weight_decay`; `colour` is an
    axis whose values have colours.
    """

    x: Annotated[str, BeforeValidator(_check_x)] = "width"
    y: Annotated[str, one_of("outcome", OUTCOMES)] = "test_accuracy"
    colour: str | None = None


class FigureKind(NamedTuple):
    """One kind of figure.

    Attributes:
        data: Function, or its place as `module:function`, that computes what is drawn from the
            tables.
        plot: Function that draws it.
        tables: Tables that `data` takes, in order: each a method of `Results`.
        options: Model of the options that an experiment may give.
        drawing: Names of the options that `plot` takes; `data` takes the others.
        surfaces: Kinds of surfaces that an experiment with such a figure must measure.
    """

    data: str | Callable[..., Any]
    plot: str | Callable[..., Any]
    tables: tuple[str, ...]
    options: type[Options] = Options
    drawing: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()


FIGURE_KINDS = {
    "accuracy_by_index": FigureKind(
        "orchestrator.figures.accuracy:accuracy_by_index_data",
        "orchestrator.figures.accuracy:plot_accuracy_by_index",
        ("trials",),
    ),
    "convergence": FigureKind(
        "orchestrator.figures.convergence:convergence_data",
        "orchestrator.figures.convergence_drawing:plot_convergence",
        ("trials", "metrics"),
        ConvergenceOptions,
    ),
    "contours": FigureKind(
        "orchestrator.figures.landscapes:contours_data",
        "orchestrator.figures.landscapes:plot_contours",
        ("surfaces", "points"),
        PlaneOptions,
        ("columns",),
        ("contour",),
    ),
    "variance_maps": FigureKind(
        "orchestrator.figures.landscapes:variances_data",
        "orchestrator.figures.landscapes:plot_variance_maps",
        ("surfaces", "points"),
        VarianceOptions,
        ("columns",),
        ("gradient_variance",),
    ),
    "variance_surfaces": FigureKind(
        "orchestrator.figures.landscapes:variances_data",
        "orchestrator.figures.landscapes:plot_variance_surfaces",
        ("surfaces", "points"),
        VarianceOptions,
        ("columns",),
        ("gradient_variance",),
    ),
    "trend": FigureKind(
        "orchestrator.paper.trend_figure:trend_data",
        "orchestrator.paper.trend_figure:plot_trend",
        ("trials",),
        TrendOptions,
    ),
    "theorem_bounds": FigureKind(
        "orchestrator.paper.theorem_figures:theorem_bounds_data",
        "orchestrator.paper.theorem_figures:plot_theorem_bounds",
        ("trials", "surfaces", "points", "metrics"),
        surfaces=("gradient_variance", "curvature"),
    ),
    "theory_cells": FigureKind(
        "orchestrator.paper.theorem_figures:theory_cells_data",
        "orchestrator.paper.theorem_figures:plot_theory_cells",
        (),
        TheoryCellsOptions,
    ),
    "topologies": FigureKind(
        "orchestrator.figures.topology:topologies_data",
        "orchestrator.figures.topology_drawing:plot_topologies",
        ("cells",),
        TopologyOptions,
        ("labels",),
    ),
}
"""Built-in kinds of figures by the name that an experiment writes."""

FIGURES = registry("figure")
"""Kinds of figures: built-in ones and those of plug-ins (`figure_kind`)."""
for _name, _built_in in FIGURE_KINDS.items():
    FIGURES.enter(_name, _built_in)

TABLES = ("trials", "metrics", "surfaces", "points", "cells")
"""Tables that a plug-in's figure may take: methods of `Results` that take an experiment."""


def figure_kind(name: str) -> FigureKind:
    """Return a kind of figure, a built-in one or a plug-in's.

    Raises:
        SpecError: The kind is unknown, or a plug-in's function takes other arguments.
    """
    entry = FIGURES[name]
    return entry.value if isinstance(entry.value, FigureKind) else _plugged(entry)


def _plugged(entry: Entry) -> FigureKind:
    """Return the kind of a plug-in's function, which takes tables, and options by keyword.

    Raises:
        SpecError: It takes no such tables, or an option has no default.
    """
    tables, surfaces = (
        (named,) if isinstance(named := entry.about[key], str) else tuple(named)
        for key in ("tables", "surfaces")
    )
    for table in tables:
        check_known(table, f"table of the figure {entry.name}", TABLES)
    return _kind_of(entry.name, entry.resolve(), tables, surfaces)


@cache
def _kind_of(
    name: str, function: Callable[..., Any], tables: tuple[str, ...], surfaces: tuple[str, ...]
) -> FigureKind:
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    titled = any(one.name == "title" for one in parameters)
    own = [one for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "title"]
    given = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(given) != len(tables) or any(one.default is one.empty for one in own):
        where = f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"
        take = f"take {', '.join(tables)}, and options by keyword alone, each with a default"
        raise SpecError(f"the figure {name} has other arguments", where=where, fix=take)
    fields: dict[str, Any] = {
        one.name: (Any if one.annotation is one.empty else one.annotation, one.default)
        for one in own
    }

    def plot(data: Iterable[Any], title: str, **options: Any) -> Any:
        import plotly.graph_objects as go

        figure = function(*data, **({"title": title} if titled else {}), **options)
        if not isinstance(figure, go.Figure):
            fix = "return a plotly.graph_objects.Figure"
            raise ConfigError(f"the figure {name} returns {show(figure)}", fix=fix)
        return figure

    return FigureKind(
        lambda *given: given,
        plot,
        tables,
        create_model(f"{name}_options", __base__=Options, **fields),
        tuple(fields),
        surfaces,
    )


class TableKind(NamedTuple):
    """One kind of table.

    Attributes:
        source: The table of the store that it is made from: a method of `Results`.
        data: Function (`module:function`) that computes its entries.
        layout: Function that lays out the entries to be read.
    """

    source: str
    data: str
    layout: str


TABLE_KINDS: dict[str, TableKind] = {
    "errors": TableKind(
        "trials",
        "orchestrator.paper.error_table:errors_data",
        "orchestrator.paper.error_table:errors_sheet",
    ),
    "shapes": TableKind(
        "cells", "orchestrator.paper.tables:shapes_data", "orchestrator.paper.tables:shapes_sheet"
    ),
    "parameters": TableKind(
        "cells",
        "orchestrator.paper.tables:parameters_data",
        "orchestrator.paper.tables:parameters_sheet",
    ),
}
"""Kinds of tables by the name that an experiment writes."""


@dataclass(frozen=True)
class Choice:
    """A figure as an experiment asks for it.

    Attributes:
        kind: A key of `FIGURES`; in a store also one of a plug-in that is not loaded.
        options: Options of that kind.
    """

    kind: str
    options: Options = field(default_factory=Options)

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which `read_choice` makes an equal choice."""
        return {"kind": self.kind, **self.options.model_dump(mode="json", exclude_defaults=True)}

    def arguments(self, *, drawing: bool) -> dict[str, Any]:
        """Return the kind's own options by name: those of its `plot` function, or of `data`."""
        kind = figure_kind(self.kind)
        own = kind.options.model_fields.keys() - Options.model_fields.keys()
        return {
            name: getattr(self.options, name) for name in own if (name in kind.drawing) == drawing
        }


class _UnknownOptions(Options, extra="allow"):
    """Options of a kind whose plug-in is not loaded."""


def read_recorded_choice(value: Any) -> Choice:
    """Return the choice that a store has, also of a kind whose plug-in is not loaded.

    Raises:
        SpecError: The value is no choice.
        ValidationError: An option has a bad value.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in FIGURES:
        return read_choice(value)
    options = {key: option for key, option in value.items() if key != "kind"}
    return Choice(kind, _UnknownOptions.model_validate_json(json.dumps(options)))


def read_choice(value: Any) -> Choice:
    """Return the choice that a YAML value makes: a kind, or `{kind: NAME, OPTION: VALUE}`.

    Raises:
        SpecError: The value is no kind.
        ValidationError: The kind or an option of a mapping is unknown or has a bad value.
    """
    if isinstance(value, Choice):
        return value
    kind, options = read_named(value, "kind", "kind of figure", FIGURES)
    return Choice(kind, mapping_of(figure_kind(kind).options)(options))


_COLUMNS = {
    "bases": "base",
    "datasets": "named_dataset",
    "learning_rates": "learning_rate",
    "indices": "index",
}
"""Options that choose members, with the column of the table of members that each filters."""


FACETS = ("learning_rate", "seed")
"""Axes of the grid's own that have no panels for their values in every kind of figure."""


def check_figures(experiment: Experiment, document: Document) -> Iterator[Problem]:
    """Yield a problem for each value, axis or surface that figures need and are not there."""
    grid = experiment.grid
    values = {
        "bases": [base.name for base in grid.genotype],
        "datasets": grid.dataset,
        "learning_rates": grid.learning_rate,
    }
    axes = experiment.axes.values.keys() - {*OWN}
    measured = {kind for kind, asked in experiment.landscape if asked}
    for figure, choice in experiment.figures.items():
        path, name = ("figures", figure), f"figures.{figure}"
        if experiment.program is not None and FIGURES[choice.kind].origin == BUILT_IN:
            what = f"{name}: {choice.kind} shows cells, which a program has none of"
            yield Problem(document.place(path), what, "name a figure of a plug-in")
            continue
        for option, known in values.items():
            for position, value in enumerate(getattr(choice.options, option)):
                if value not in known:
                    place = document.place((*path, option, position))
                    what = f"{name}.{option}: the experiment has no {show(value)}"
                    yield Problem(place, what, suggest(str(value), map(value_text, known)))
        x, colour = (getattr(choice.options, option, None) for option in ("x", "colour"))
        named = [("x", x)] * (x is not None and "." in x)
        named += [("colour", colour)] * (colour is not None)
        named += [("facet", axis) for axis in choice.options.facet if axis not in FACETS]
        for option, axis in named:
            if axis not in axes:
                what = f"{name}.{option}: the grid has no axis {show(axis)}"
                shown = [*axes, *(FACETS if option == "facet" else ())]
                fix = suggest(axis, shown) if shown else "add one to the grid, by its path"
                yield Problem(document.place((*path, option)), what, fix)
        for kind in figure_kind(choice.kind).surfaces:
            if kind not in measured:
                what = f"{name}: {choice.kind} needs surfaces of the kind {kind}"
                yield Problem(document.place(path), what, f"add landscape: {{{kind}: {{}}}}")


def select(choice: Choice, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the members that a figure shows.

    Raises:
        ConfigError: An option fits no row of a table that has rows.
    """
    for option, column in _COLUMNS.items():
        wanted = list(getattr(choice.options, option))
        if not wanted or table.empty or column not in table.columns:
            continue
        kept: Any = table[table[column].isin(wanted)].reset_index(drop=True)
        if kept.empty:
            known = table[column].drop_duplicates().tolist()
            raise ConfigError(
                f"{choice.kind} has nothing to show: no member's {column} is one of {show(wanted)}",
                fix=f"{option}: {suggest(value_text(wanted[0]), map(value_text, known))}",
            )
        table = kept
    return table
