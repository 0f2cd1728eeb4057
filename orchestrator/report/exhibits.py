"""Figures and tables of an experiment, made from the store alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.config.record import Declared, read_declared
from orchestrator.figures import Choice, draw, export
from orchestrator.housekeeping import lookup
from orchestrator.output.error_log import log_error
from orchestrator.paper import tables
from orchestrator.paper.tables import Table
from results_schema import layout
from results_schema.errors import ConfigError, NasSweepError, suggest
from results_schema.results import Results
from results_schema.store import Store

PLOTLY = layout.PLOTLY.rpartition("/")[2]
"""Name of Plotly's script, which pages find beside them, or in the folder of figures."""
CLAIMS = ""
"""Stands for the experiment of what shows claims: no experiment has this name."""


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table."""

    experiment: str  # or `CLAIMS`
    name: str  # that of its files, too
    title: str  # the figure's own title, or the experiment's
    files: dict[str, bytes] = field(default_factory=dict)  # a figure's pictures, a table's texts
    figure: Any = None  # Plotly's; None if this is a table, or it could not be drawn
    table: Table | None = None  # None if this is a figure, or it could not be made
    problem: str = ""  # why nothing, or not everything, could be made; else empty
    failed: bool = False  # whether the problem is an unexpected error

    @cached_property
    def _body(self) -> str:
        return export.to_body(self.figure)

    def page(self, plotly: str) -> bytes:
        """Return the interactive page of a figure, which finds Plotly's script at an address."""
        return export.page_around(self._body, export.figure_title(self.figure), plotly).encode()


def make_exhibits(
    results: Results, declared: Declared, browser: export.Browser, formats: Sequence[str] = ("png",)
) -> Iterator[Exhibit]:
    """Yield the figures, then the tables, in the experiment's order; `problem` names what failed.

    The browser draws pictures, which only figures have, in these formats.
    """

    def read(table: str) -> pd.DataFrame:
        return getattr(results, table)(declared.name)

    def draw_figure(exhibit: Exhibit, choice: Choice) -> Exhibit:
        figure = draw(choice, read, declared.title)
        files, problem = export.draw_pictures(figure, formats, browser)
        return replace(exhibit, files=files, figure=figure, problem=problem)

    def make_table(exhibit: Exhibit, kind: str) -> Exhibit:
        table = tables.make(kind, read)
        files = {suffix: table.text(suffix, exhibit.name).encode() for suffix in tables.FORMATS}
        return replace(exhibit, files=files, table=table)

    def attempt(kind: str, exhibit: Exhibit, make: Callable[[Exhibit], Exhibit]) -> Exhibit:
        try:
            return make(exhibit)
        except NasSweepError as error:
            return replace(exhibit, problem=str(error))
        except Exception as error:  # one exhibit must not lose the others
            problem = log_error(results.store, f"{kind}-{exhibit.name}", error)
            return replace(exhibit, problem=problem, failed=True)

    for name, choice in declared.figures.items():
        exhibit = Exhibit(declared.name, name, choice.options.title or declared.title)
        yield attempt("figure", exhibit, partial(draw_figure, choice=choice))
    for name, kind in declared.tables.items():
        exhibit = Exhibit(declared.name, name, declared.title)
        yield attempt("table", exhibit, partial(make_table, kind=kind))


def publish(
    results: Results, experiments: Iterable[str], browser: export.Browser
) -> Iterator[tuple[Exhibit, list[str]]]:
    """Make the figures and tables of experiments and write them into the store, one by one.

    Yields:
        Each exhibit, and where its files are.
    """
    store = results.store
    declarations = [read_declared(store, experiment) for experiment in experiments]
    if any(declared.figures for declared in declarations):
        browser.start()
        publish_plotly(store)
    for declared in declarations:
        for exhibit in make_exhibits(results, declared, browser):
            to_key, files = layout.table, exhibit.files
            if exhibit.figure is not None:
                to_key, files = layout.figure, {"html": exhibit.page(PLOTLY)} | files
            keys = {to_key(declared.name, exhibit.name, suffix): suffix for suffix in files}
            for key, suffix in keys.items():
                store.put(key, files[suffix])
            yield exhibit, [store.locate(key) for key in keys]


def publish_plotly(store: Store) -> None:
    """Write the script that all figures and reports of a store share, unless it is there."""
    script, stat = export.get_plotlyjs().encode(), store.stat(layout.PLOTLY)
    if stat is None or stat.size != len(script):
        store.put(layout.PLOTLY, script)


def export_figure(
    store: Store,
    experiment: str,
    name: str,
    path: Path,
    look: Mapping[str, Any],
    *,
    force: bool = False,
) -> None:
    """Draw a figure of an experiment and write it outside the store; a page needs no other file.

    Args:
        store: The store.
        experiment: Its name or file.
        name: Name of the figure.
        path: The file, in the format of its suffix.
        look: Options of the figure to override; None stands for what the experiment says.
        force: Whether to replace the file if it exists.

    Raises:
        ConfigError: The experiment has no such figure, or the file exists or cannot be written.
        MachineError: There is no browser for a picture.
    """
    found = lookup.find_experiment(store, experiment)
    declared = read_declared(store, found)
    if name not in declared.figures:
        what = f"{found} has no figure {name!r}"
        raise ConfigError(what, fix=suggest(name, declared.figures))
    if path.exists() and not force:
        raise ConfigError(f"there already: {path}", fix="add --force to replace it")
    choice, results = declared.figures[name], Results(store)
    given = {option: value for option, value in look.items() if value is not None}
    choice = replace(choice, options=choice.options.model_copy(update=given))
    figure = draw(choice, lambda table: getattr(results, table)(found), declared.title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", where=str(path.parent)) from error
    export.save_figure(figure, path)


def expected_problems(exhibits: Iterable[Exhibit]) -> list[str]:
    """Return why exhibits could not be made, each reason once; unexpected errors are left out."""
    found = [one for one in exhibits if one.problem and not one.failed]
    # An exhibit with files lacks a picture only, for a reason that it shares with the others.
    return list(
        dict.fromkeys(one.problem if one.files else f"{one.name}: {one.problem}" for one in found)
    )
