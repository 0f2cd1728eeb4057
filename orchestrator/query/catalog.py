"""The tables and views that a query can name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from results_schema import layout, tables
from results_schema.tables import POINTS, SURFACES, WANTED


class View(NamedTuple):
    """Two or three tables joined, as `Results` joins them.

    Attributes:
        reads: The tables it is made of.
        sql: What it selects.
        doc: What a row is.
    """

    reads: tuple[str, ...]
    sql: str
    doc: str


TABLES: dict[str, tuple[str, pa.Schema]] = {
    "metrics": (layout.METRICS, tables.METRICS),
    "trials": (layout.TRIALS, tables.TRIALS),
    "members": (layout.MEMBERS, tables.MEMBERS),
    "surfaces": (layout.SURFACES, SURFACES),
    "points": (layout.POINTS, POINTS),
    "wanted": (layout.WANTED, WANTED),
}
"""Folder and columns of each table, by name."""

ROWS = {
    "metrics": "one row per trained epoch",
    "trials": "one row per ended trial",
    "members": "one row per trial that an experiment shows",
    "surfaces": "one row per finished surface",
    "points": "one row per measured point of a surface",
    "wanted": "one row per surface that an experiment wants",
}
"""What a row of each table is."""


def _of_trials(table: str, join: str) -> str:
    """Members beside a table of trials; of two columns of one name the members' stays."""
    schema = TABLES[table][1]
    fresh = [name for name in schema.names if name not in tables.MEMBERS.names]
    return (
        f"SELECT members.*, {_columns(table, fresh)} FROM members {join} JOIN {table} "
        "USING (trial_id)"
    )


def _of_surfaces(table: str, join: str) -> str:
    """Members and the surfaces wanted of them beside a table of surfaces.

    Of two columns of one name the surface's is called `surface_…`.
    """
    schema = TABLES[table][1]
    wanted = ["surface_id", "kind", "points"]
    named = [*tables.MEMBERS.names, *wanted]
    fresh = [name for name in schema.names if name not in ("surface_id", "trial_id", "kind")]
    renamed = {name: f"surface_{name}" for name in fresh if name in named}
    return (
        f"SELECT members.*, {_columns('wanted', wanted)}, {_columns(table, fresh, renamed)} "
        "FROM members JOIN wanted USING (experiment, trial_id) "
        f"{join} JOIN {table} ON wanted.surface_id = {table}.surface_id"
    )


def _columns(table: str, names: Sequence[str], renamed: dict[str, str] | None = None) -> str:
    as_ = renamed or {}
    return ", ".join(f'{table}."{name}" AS "{as_.get(name, name)}"' for name in names)


VIEWS = {
    "member_metrics": View(
        ("members", "metrics"), _of_trials("metrics", "INNER"), "members joined with metrics"
    ),
    "member_trials": View(
        ("members", "trials"),
        _of_trials("trials", "LEFT"),
        "members joined with trials; one row per member, trained or not",
    ),
    "member_surfaces": View(
        ("members", "wanted", "surfaces"),
        _of_surfaces("surfaces", "LEFT"),
        "members joined with the surfaces wanted of them, finished or not",
    ),
    "member_points": View(
        ("members", "wanted", "points"),
        _of_surfaces("points", "INNER"),
        "members joined with the points of their surfaces",
    ),
}


def mentioned(sql: str) -> set[str]:
    """The tables that a query may read: those whose name, or a view's of them, is a word of it."""
    words = set(re.findall(r"\w+", sql.lower()))
    found = words & TABLES.keys()
    return found.union(*(VIEWS[name].reads for name in words & VIEWS.keys()))
