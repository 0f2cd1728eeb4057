"""The paper's figures: `*_data()` computes the numbers, `plot_*()` draws them.

Nothing here imports plotly or pandas before a figure is drawn, so that the command line and the
checks of an experiment can name the kinds of figures at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.config.registry import FIGURE_KINDS, Choice, load_entry, read_choice, select

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

__all__ = ["FIGURE_KINDS", "Choice", "draw", "read_choice"]


def draw(choice: Choice | str, table: Callable[[str], pd.DataFrame], title: str) -> go.Figure:
    """The figure that an experiment asks for.

    Args:
        choice: Its kind and options, or a kind alone.
        table: Gives a table by its name, a row per member of the experiment and whatever it has.
        title: Stands above the figure, as plain text, unless the choice has a title of its own.

    Raises:
        SpecError: The kind is unknown.
        ConfigError: A table has no row or lacks a column, or an option fits no member.
    """
    choice = read_choice(choice)
    kind = FIGURE_KINDS[choice.kind]
    tables = [select(choice, table(name)) for name in kind.tables]
    data = load_entry(kind.data)(*tables, **choice.arguments(drawing=False))
    return load_entry(kind.plot)(
        data, choice.options.title or title, **choice.arguments(drawing=True)
    )
