"""The paper's figures: `*_data()` computes the numbers, `plot_*()` draws them.

Nothing here imports plotly or pandas before a figure is drawn, so that the command line and the
checks of an experiment can name the kinds of figures at no cost.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from results_schema.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

KINDS: dict[str, str] = {"accuracy_by_index": "orchestrator.figures.accuracy_by_index"}
"""Kind of figure, as an experiment names it, to the module that computes and draws it."""


def draw(kind: str, trials: pd.DataFrame, title: str) -> go.Figure:
    """The figure of one kind.

    Args:
        kind: A key of `KINDS`.
        trials: One row per member of the experiment, with its trial's results where it has any.
        title: Stands above the figure, as plain text.

    Raises:
        ConfigError: The kind is unknown, or the trials are none or lack a column.
    """
    if kind not in KINDS:
        raise ConfigError(
            f"unknown kind of figure {kind!r}", fix=f"use one of {', '.join(sorted(KINDS))}"
        )
    module = import_module(KINDS[kind])
    data = getattr(module, f"{kind}_data")(trials)
    return getattr(module, f"plot_{kind}")(data, title)
