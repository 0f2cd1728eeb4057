"""The paper's figures: how a kind of figure looks, and which numbers of an experiment it shows.

Start with `draw`, then `accuracy`, the simplest kind. A kind has two functions, which
`orchestrator.config.registry` names: `*_data` computes numbers from tables as `Results` returns
them for an experiment, and `plot_*` draws them, as wide as `style.page_width` returns, with every
name escaped. Modules that import plotly or pandas are not imported before a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from orchestrator.config.registry import (
    FACETS,
    FIGURE_KINDS,
    FIGURES,
    Choice,
    figure_kind,
    read_choice,
    select,
)
from results_schema.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["FIGURE_KINDS", "Choice", "draw", "read_choice"]


def draw(choice: Choice | str, table: Callable[[str], pd.DataFrame], title: str) -> go.Figure:
    """Return the figure that an experiment asks for.

    Args:
        choice: Kind and options, or a kind alone.
        table: Returns a table of the experiment by its name, with a row per member and result.
        title: Plain text above the figure, unless the choice has a title of its own.

    Raises:
        SpecError: The kind is unknown.
        ConfigError: A table has no row or lacks a column, or an option fits no member.
    """
    from orchestrator.figures import members, style  # loads plotly
    from results_schema.results import axes_of

    choice = read_choice(choice)
    if choice.kind not in FIGURES:
        fix = "launch its experiment again to draw it; the page drawn last is in figures/"
        raise ConfigError(f"{choice.kind} is a figure of a plug-in, which is not loaded", fix=fix)
    kind = figure_kind(choice.kind)
    tables = [select(choice, table(name)) for name in kind.tables]
    arguments = choice.arguments(drawing=False)
    # Axes are columns of every table that is joined with members.
    axes = axes_of(tables[0], varied=False) if tables else {}
    drawn = {option: arguments[option] for option in ("x", "colour") if option in arguments}
    varied = axes_of(tables[0]) if tables else {}
    facets = [name for key, name in varied.items() if key not in drawn.values()]
    facets += [axis for axis in choice.options.facet if axis in FACETS]
    tables = [members.spread(one, facets) for one in tables]
    arguments |= {option: axes.get(axis, axis) for option, axis in drawn.items()}
    data = _function(kind.data)(*tables, **arguments)
    options, plot = choice.options, _function(kind.plot)
    with style.using(style.Look(options.size, options.font_size, options.titled)):
        return plot(data, options.title or title, **choice.arguments(drawing=True))


def _function(named: str | Callable[..., Any]) -> Callable[..., Any]:
    return resolve_name(named) if isinstance(named, str) else named
