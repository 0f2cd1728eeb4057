"""Which members of its experiment a figure shows, checked before and applied after training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.config.documents import Document, Problem, show, suggest
from results_schema.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.config.figure_choice import Choice

COLUMNS = {
    "bases": "base",
    "datasets": "named_dataset",
    "learning_rates": "learning_rate",
    "indices": "index",
}
"""Options that choose members, to the column of the table of members that they look at."""


def problems_of_figures(
    figures: Mapping[str, Choice], axes: Mapping[str, Iterable[Any]], document: Document
) -> Iterator[Problem]:
    """What figures want to show and the experiment does not have.

    Args:
        figures: By name.
        axes: Options of `COLUMNS`, to the values that the experiment has; others aren't checked.
        document: That the figures were read from.
    """
    for figure, choice in figures.items():
        for option, known in axes.items():
            have = list(known)
            for position, value in enumerate(getattr(choice.options, option)):
                if value not in have:
                    place = document.place(("figures", figure, option, position))
                    what = f"figures.{figure}.{option}: the experiment has no {show(value)}"
                    yield Problem(place, what, suggest(str(value), map(_text, have)))


def select(choice: Choice, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the members that a figure is to show.

    Raises:
        ConfigError: There is no row, and there would be some without one of the options.
    """
    for option, column in COLUMNS.items():
        wanted: Sequence[Any] = getattr(choice.options, option)
        if not wanted or table.empty or column not in table.columns:
            continue
        kept: Any = table[table[column].isin(list(wanted))].reset_index(drop=True)
        if kept.empty:
            known = table[column].drop_duplicates().tolist()
            raise ConfigError(
                f"{choice.kind} has nothing to show: no member's {column} is one of "
                f"{show(list(wanted))}",
                fix=f"{option}: {suggest(_text(wanted[0]), map(_text, known))}",
            )
        table = kept
    return table


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
