"""The members of an experiment as rows, checked and without repetition, and their groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from results_schema.errors import ConfigError

Member = dict[Any, Any]
"""A row: column to value."""

DATASETS = ("named_dataset", "dataset")

COLUMNS = (
    "base",
    "variant",
    "index",
    *DATASETS,
    "learning_rate",
    "seed",
    "width",
    "depth",
    "trial_id",
)
"""What is known of a member before it is trained."""


def read_members(
    figure: str, table: pd.DataFrame, columns: Sequence[str], results: Sequence[str] = ()
) -> list[Member]:
    """The rows of a table; one that says again what another said of the same member counts once.

    Args:
        figure: The kind of figure, for messages.
        table: One row per member.
        columns: What is read of a member.
        results: What is read beside them, empty before a trial has ended.

    Raises:
        ConfigError: There are no rows, or a column is lacking or has empty places.
    """
    every = (*columns, *results)
    if lacking := [name for name in every if name not in table.columns]:
        raise ConfigError(
            f"the trials of {figure} lack {', '.join(lacking)}",
            fix="join the members of an experiment with its trials",
        )
    if table.empty:
        raise ConfigError(
            f"{figure} has no trials to show",
            fix="name at least one base and one data set in the experiment",
        )
    for name in columns:
        if pd.isna(table[name]).to_numpy().any():
            raise ConfigError(
                f"column {name} of the trials of {figure} has empty places",
                fix="write the experiment's members again: launch it once more",
            )
    first: dict[tuple[Any, ...], Member] = {}
    for row in table[list(every)].itertuples(index=False, name=None):
        member = dict(zip(every, row, strict=True))
        first.setdefault(tuple(member[name] for name in columns), member)
    return list(first.values())


def group(members: Iterable[Member], *names: str) -> dict[tuple[Any, ...], list[Member]]:
    """The members by the values of these columns, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        groups.setdefault(tuple(member[name] for name in names), []).append(member)
    return groups
