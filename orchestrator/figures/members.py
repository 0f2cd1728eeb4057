"""Members of an experiment as rows, checked and without repetition, and how figures name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.output.text import value_text
from results_schema.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Member = dict[Any, Any]
"""One row: values by column."""

DATASETS = ("named_dataset", "dataset")

COLUMNS = (
    "base", "variant", "index", *DATASETS, "learning_rate", "seed", "width", "depth", "trial_id",
)  # fmt: skip
"""Columns that are known of a member before it is trained."""


LEVEL = "level"
"""Key of a member under which is the value of the axis that colours stand for."""


@dataclass(frozen=True)
class Cell:
    """One cell of an experiment: a base, or a variant of it."""

    index: int  # 0 is the base
    variant: str
    width: float  # of the normal cell, in units of c
    depth: int  # of the normal cell, in edges
    level: str = ""  # value of the axis that colours stand for

    @property
    def shape(self) -> str:
        """Width and depth as titles have them, such as "3.5c,3"."""
        return f"{self.width:g}c,{self.depth}"

    def __str__(self) -> str:
        text = f"index {self.index}, width {self.width:g}c, depth {self.depth}"
        return f"{self.level}, {text}" if self.level else text


def to_cell(member: Member) -> Cell:
    """Return the cell of a member."""
    shape = float(member["width"]), int(member["depth"])
    return Cell(int(member["index"]), str(member["variant"]), *shape, str(member.get(LEVEL, "")))


def cells_of(members: Sequence[Member]) -> list[list[Member]]:
    """Return the members of each cell by seed; cells are by index, and by level in its order."""
    levels = list(dict.fromkeys(member.get(LEVEL) for member in members))
    groups = group(members, "index", "variant", *[LEVEL] * (levels != [None]))
    cells = sorted(groups.items(), key=lambda pair: (pair[0][:2], *map(levels.index, pair[0][2:])))
    return [sorted(cell, key=lambda member: member["seed"]) for _, cell in cells]


def read_members(
    figure: str, table: pd.DataFrame, columns: Sequence[str], results: Sequence[str] = ()
) -> list[Member]:
    """Return the rows of a table; of rows that agree in `columns` the first counts.

    Args:
        figure: Kind of figure, for messages.
        table: One row per member.
        columns: Columns that identify a member; they have no missing value.
        results: Further columns to read, which are empty before a trial has ended.

    Raises:
        ConfigError: There are no rows, or a column is absent or has missing values.
    """
    require(figure, "trials", table, columns, results)
    if table.empty:
        raise ConfigError(
            f"{figure} has no trials to show",
            fix="name at least one base and one data set in the experiment",
        )
    every = [*columns, *results]
    rows: Any = table[every]
    unique = rows.drop_duplicates(list(columns)).itertuples(index=False, name=None)
    return [dict(zip(every, row, strict=True)) for row in unique]


def require(
    figure: str,
    name: str,
    table: pd.DataFrame,
    columns: Iterable[str],
    results: Iterable[str] = (),
) -> None:
    """Raise ConfigError if the table, called `name` in the message, lacks values.

    `columns` have no missing value; `results` need only be there.
    """
    lacking = [one for one in (*columns, *results) if one not in table.columns]
    lacking += [one for one in columns if one not in lacking and table[one].isna().to_numpy().any()]
    if lacking:
        raise ConfigError(
            f"the {name} of {figure} lack {', '.join(lacking)}",
            fix="launch the experiment once more, which rewrites its members",
        )


def require_held_out(figure: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise ConfigError if a column is of a validation split that no trial has."""
    for column in columns:
        if column.startswith(("val_", "selected_")) and table[column].isna().to_numpy().all():
            fix = "hold images out by recipe.validation, such as 0.1, or draw another column"
            raise ConfigError(f"{figure} draws {column}, which no trial has", fix=fix)


def group(members: Iterable[Member], *columns: str) -> dict[tuple[Any, ...], list[Member]]:
    """Return the members by their values of these columns, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        groups.setdefault(tuple(member[column] for column in columns), []).append(member)
    return groups


def name_cell(base: str, index: int, *, several_bases: bool) -> str:
    """Return the base's name for index 0, else such as "C3", after its base if others appear."""
    if not index:
        return base
    return f"{base} C{index}" if several_bases else f"C{index}"


def name_value(axis: str, value: Any) -> str:
    """Return a value of an axis as figures have it, such as "weight decay 0.0003"."""
    return f"{axis.rpartition('.')[2].replace('_', ' ')} {value_text(value)}"


def spread(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return a table in which data sets have the values of axes in their names.

    So every kind of figure, all of which have panels for data sets, has them for these axes.

    Args:
        table: Rows of an experiment's members.
        axes: Columns of the axes.
    """
    if not axes or table.empty or "dataset" not in table.columns:
        return table
    rows = table[list(axes)].itertuples(index=False, name=None)
    values = [", ".join(map(name_value, axes, row)) for row in rows]
    used = [f"{name}{AXES}{text}" for name, text in zip(table["dataset"], values, strict=True)]
    substituted = table["named_dataset"] != table["dataset"]
    named = table["named_dataset"].where(substituted, used)
    return table.assign(named_dataset=named, dataset=used)


AXES = " · "
"""Stands between a data set and values of axes (`spread`)."""


def name_datasets(pairs: Iterable[tuple[str, str]], *, axes: bool = False) -> str:
    """Return the names of datasets, those of substitutes as such.

    Args:
        pairs: The dataset that the experiment names and the one trained on, of each.
        axes: Whether with values of axes (`spread`).
    """
    if not axes:
        pairs = [(named.partition(AXES)[0], used.partition(AXES)[0]) for named, used in pairs]
    names = [used if used == named else f"{used} in place of {named}" for named, used in pairs]
    return ", ".join(dict.fromkeys(names))


def common(items: Sequence[Any], *describe: Callable[[Any], str]) -> list[str]:
    """Return the descriptions that all items share; an empty one is left out."""
    found = [{text(item) for item in items} - {""} for text in describe]
    return [texts.pop() for texts in found if len(texts) == 1]


def differing(items: Sequence[Any], *describe: Callable[[Any], str]) -> list[list[str]]:
    """Return what distinguishes each item: the descriptions that not all items share."""
    texts = [[text(item) for item in items] for text in describe]
    kept = [column for column in texts if len(set(column) - {""}) > 1]
    return [[column[place] for column in kept if column[place]] for place in range(len(items))]
