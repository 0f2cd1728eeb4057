"""The paper's figures: `*_data()` computes the numbers, `plot_*()` draws them.

Nothing here imports plotly or pandas before a figure is drawn, so that the command line and the
checks of an experiment can name the kinds of figures at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from results_schema.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

KINDS: dict[str, tuple[str, ...]] = {
    "accuracy_by_index": ("trials",),
    "contours": ("surfaces", "points"),
}
"""Kind of figure, as an experiment names it, to the tables that its module takes: each a method of
`Results`. The module has the kind's name."""


def draw(kind: str, table: Callable[[str], pd.DataFrame], title: str) -> go.Figure:
    """The figure of one kind.

    Args:
        kind: A key of `KINDS`.
        table: Gives a table by its name, a row per member of the experiment and whatever it has.
        title: Stands above the figure, as plain text.

    Raises:
        ConfigError: The kind is unknown, or a table has no row or lacks a column.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"unknown kind of figure {kind!r}", fix=f"use one of {', '.join(sorted(KINDS))}"
        )
    module = import_module(f"orchestrator.figures.{kind}")
    data = getattr(module, f"{kind}_data")(*(table(name) for name in KINDS[kind]))
    return getattr(module, f"plot_{kind}")(data, title)
