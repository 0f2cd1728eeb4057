"""Figures and tables of an experiment, made from the store alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from orchestrator.config.record import Declared
from orchestrator.figures import Choice, draw
from orchestrator.output.error_log import log_error
from orchestrator.paper import tables
from orchestrator.paper.tables import Table
from results_schema.errors import NasSweepError
from results_schema.results import Results

if TYPE_CHECKING:
    from orchestrator.figures.export import Browser

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
        failed: Whether that is an unexpected error.
    """

    experiment: str
    name: str
    title: str
    files: dict[str, bytes] = field(default_factory=dict)
    figure: Any = None
    table: Table | None = None
    problem: str = ""
    failed: bool = False


def make_exhibits(
    results: Results,
    declared: Declared,
    browser: Browser,
    formats: Sequence[str] = FORMATS,
) -> Iterator[Exhibit]:
    """Yield the figures, then the tables, in the experiment's order; what can't be made says why.

    Args:
        results: The store.
        declared: What the experiment asks for.
        browser: Draws pictures.
        formats: Of the figures' files, some of `figures.export.FORMATS`.
    """
    from orchestrator.figures.export import write_figure

    table = cache(partial(_table, results, declared.name))

    def draw_figure(exhibit: Exhibit, choice: Choice) -> Exhibit:
        figure = draw(choice, table, declared.title)
        files: dict[str, bytes] = {}
        notes = write_figure(figure, files.__setitem__, formats, browser)
        return replace(exhibit, files=files, figure=figure, problem="; ".join(notes))

    def make_table(exhibit: Exhibit, kind: str) -> Exhibit:
        made = tables.make(kind, table)
        texts = {suffix: made.text(suffix).encode() for suffix in tables.FORMATS}
        return replace(exhibit, files=texts, table=made)

    for name, choice in declared.figures.items():
        plain = Exhibit(declared.name, name, choice.options.title or declared.title)
        yield _isolated(results, f"figure-{name}", plain, partial(draw_figure, plain, choice))
    for name, kind in declared.tables.items():
        plain = Exhibit(declared.name, name, declared.title)
        yield _isolated(results, f"table-{name}", plain, partial(make_table, plain, kind))


def _isolated(results: Results, log: str, plain: Exhibit, make: Callable[[], Exhibit]) -> Exhibit:
    """Return what is made, or in its place why it can't be."""
    try:
        return make()
    except NasSweepError as error:
        return replace(plain, problem=str(error))
    except Exception as error:
        return replace(plain, problem=log_error(results.store, log, error), failed=True)


def _table(results: Results, experiment: str, name: str) -> Any:
    return getattr(results, name)(experiment)
