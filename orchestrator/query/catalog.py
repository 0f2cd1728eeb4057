"""The tables and views that a query can name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from results_schema import layout, tables


class Table(NamedTuple):
    """A table of the store: the folder of its files, its columns, and what a row is."""

    folder: str
    schema: pa.Schema
    doc: str


class View(NamedTuple):
    """A query that joins tables as `Results` does: the tables, the SQL, and what a row is.

    The SQL is that for the columns of `members`, which has one for each axis.
    """

    reads: tuple[str, ...]
    sql: Callable[[Collection[str]], str]
    doc: str


TABLES = {
    "metrics": Table(layout.METRICS, tables.METRICS, "one row per trained epoch"),
    "trials": Table(layout.TRIALS, tables.TRIALS, "one row per ended trial"),
    "members": Table(layout.MEMBERS, tables.MEMBERS, "one row per trial that an experiment shows"),
    "surfaces": Table(layout.SURFACES, tables.SURFACES, "one row per finished surface"),
    "points": Table(layout.POINTS, tables.POINTS, "one row per measured point of a surface"),
    "wanted": Table(layout.WANTED, tables.WANTED, "one row per surface that an experiment wants"),
}


PRUNED = "pruned_members"
"""A table with experiment, trial_id, status and epochs of the trials that experiments pruned."""
_OF_PRUNED = ("status", "epochs")


def mentioned_tables(sql: str) -> set[str]:
    """Return the tables that a query may read.

    They are those whose own name, or the name of a view that reads them, is a word of the query.
    """
    words = set(re.findall(r"\w+", sql.lower()))
    found = words & TABLES.keys()
    return found.union(*(VIEWS[name].reads for name in words & VIEWS.keys()))


def _join_trials(table: str, join: str, members: Collection[str]) -> str:
    """Join members with a table of trials; of two columns of one name the members' stays."""
    # Not named one by one, as programs add columns to a store's tables.
    known = ", ".join(f'"{name}"' for name in TABLES[table].schema.names if name in members)
    columns, source = f"{table}.* EXCLUDE ({known})", f"{join} JOIN {table} "
    source += f"ON members.trial_id = {table}.trial_id"
    if table == "trials":  # a trial that its experiment has pruned has no row of its own
        shown = (f"coalesce(trials.{name}, {PRUNED}.{name}) AS {name}" for name in _OF_PRUNED)
        columns += f" REPLACE ({', '.join(shown)})"
        source += f" LEFT JOIN {PRUNED} ON members.experiment = {PRUNED}.experiment "
        source += f"AND members.trial_id = {PRUNED}.trial_id"
    return f"SELECT members.*, {columns} FROM members {source}"


def _join_surfaces(table: str, join: str, members: Collection[str]) -> str:
    """Join members and the surfaces wanted of them with a table of surfaces.

    Of two columns of one name the surface's is called `surface_…`.
    """
    wanted = {name: name for name in ("surface_id", "kind", "points")}
    known = {*members, *wanted}
    fresh = {
        name: f"surface_{name}" if name in known else name
        for name in TABLES[table].schema.names
        if name not in ("surface_id", "trial_id", "kind")
    }
    return (
        f"SELECT members.*, {_columns('wanted', wanted)}, {_columns(table, fresh)} "
        "FROM members JOIN wanted USING (experiment, trial_id) "
        f"{join} JOIN {table} ON wanted.surface_id = {table}.surface_id"
    )


def _columns(table: str, names: Mapping[str, str]) -> str:
    return ", ".join(f'{table}."{name}" AS "{shown}"' for name, shown in names.items())


VIEWS = {
    "member_metrics": View(
        ("members", "metrics"),
        partial(_join_trials, "metrics", "INNER"),
        "members joined with metrics",
    ),
    "member_trials": View(
        ("members", "trials"),
        partial(_join_trials, "trials", "LEFT"),
        "members joined with trials; one row per member, trained or not",
    ),
    "member_surfaces": View(
        ("members", "wanted", "surfaces"),
        partial(_join_surfaces, "surfaces", "LEFT"),
        "members joined with the surfaces wanted of them, finished or not",
    ),
    "member_points": View(
        ("members", "wanted", "points"),
        partial(_join_surfaces, "points", "INNER"),
        "members joined with the points of their surfaces",
    ),
}
