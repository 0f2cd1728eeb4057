"""Figures and tables of an experiment, made from the store alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from orchestrator import tables
from orchestrator.declared import Declared
from orchestrator.figures import draw
from orchestrator.tables import Table
from results_schema.errors import NasSweepError
from results_schema.results import Results

if TYPE_CHECKING:
    from orchestrator.figures.browser import Browser

FORMATS = ("html", "png")
"""What is made of a figure unless something else is asked for."""


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table.

    Attributes:
        experiment: Whose.
        name: Of its files.
        title: The figure's own, or the experiment's.
        files: By suffix; pages hold all that they need.
        figure: Of plotly; None if this is a table, or nothing could be drawn.
        table: None if this is a figure, or nothing could be made.
        problem: Why nothing, or not everything, could be made; else empty.
    """

    experiment: str
    name: str
    title: str
    files: dict[str, bytes] = field(default_factory=dict)
    figure: Any = None
    table: Table | None = None
    problem: str = ""


def make_exhibits(
    results: Results,
    declared: Declared,
    browser: Browser,
    formats: Sequence[str] = FORMATS,
) -> Iterator[Exhibit]:
    """The figures, then the tables, in the experiment's order; what can't be made says why.

    Args:
        results: The store.
        declared: What the experiment asks for.
        browser: Draws pictures.
        formats: Of the figures' files, some of `figures.export.FORMATS`.
    """
    from orchestrator.figures.export import write_figure

    table = cache(partial(_table, results, declared.name))
    for name, choice in declared.figures.items():
        common = declared.name, name, choice.options.title or declared.title
        try:
            figure = draw(choice, table, declared.title)
        except NasSweepError as error:
            yield Exhibit(*common, problem=str(error))
            continue
        files: dict[str, bytes] = {}
        notes = write_figure(figure, files.__setitem__, formats, browser)
        yield Exhibit(*common, files, figure=figure, problem="; ".join(notes))
    for name, kind in declared.tables.items():
        common = declared.name, name, declared.title
        try:
            made = tables.make(kind, table)
        except NasSweepError as error:
            yield Exhibit(*common, problem=str(error))
            continue
        texts = {suffix: made.text(suffix).encode() for suffix in tables.FORMATS}
        yield Exhibit(*common, texts, table=made)


def _table(results: Results, experiment: str, name: str) -> Any:
    return getattr(results, name)(experiment)
