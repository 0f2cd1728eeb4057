"""Figures and tables of an experiment, and its results in brief, made from the store alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from orchestrator.config.record import Declared, read_declared
from orchestrator.figures import Choice, draw
from orchestrator.figures.evidence import AS_ZERO, counted_accuracies, diverged_note
from orchestrator.housekeeping import lookup
from orchestrator.output.error_log import log_error
from orchestrator.output.tables import TextTable
from orchestrator.output.text import NO_NUMBER
from orchestrator.paper import tables
from orchestrator.paper.tables import Table
from results_schema import layout
from results_schema.errors import ConfigError, NasSweepError, suggest
from results_schema.program import Metric, is_program
from results_schema.results import Results, axes_of
from results_schema.store import Store

if TYPE_CHECKING:
    from orchestrator.figures.export import Browser


CLAIMS = ""
"""Stands for the experiment of what shows claims: no experiment has this name."""


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table."""

    experiment: str  # or `CLAIMS`
    name: str  # that of its files, too
    title: str  # the figure's own title, or the experiment's
    files: dict[str, bytes] = field(default_factory=dict)  # contents by suffix
    figure: Any = None  # Plotly's; None if this is a table, or it could not be drawn
    table: Table | None = None  # None if this is a figure, or it could not be made
    problem: str = ""  # why nothing, or not everything, could be made; else empty
    failed: bool = False  # whether the problem is an unexpected error


def make_exhibits(
    results: Results,
    declared: Declared,
    browser: Browser | None,
    formats: Sequence[str] = ("html", "png"),
) -> Iterator[Exhibit]:
    """Yield the figures, then the tables, in the experiment's order; `problem` names what failed.

    The browser draws pictures, which only figures have; `formats` are those of the figures'
    files, of `figures.export.FORMATS`. A page looks for `plotly.min.js` beside it.
    """
    from orchestrator.figures.export import write_figure

    read = cache(lambda name: getattr(results, name)(declared.name))

    def draw_figure(exhibit: Exhibit, choice: Choice) -> Exhibit:
        figure = draw(choice, read, declared.title)
        files: dict[str, bytes] = {}
        notes = write_figure(figure, files.__setitem__, formats, browser, portable=False)
        return replace(exhibit, files=files, figure=figure, problem="; ".join(notes))

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


def publish(results: Results, experiments: Iterable[str]) -> Iterator[tuple[Exhibit, list[str]]]:
    """Make the figures and tables of experiments and write them into the store, one by one.

    All pages of figures share one copy of Plotly.

    Yields:
        Each exhibit, and where its files are.
    """
    from orchestrator.figures.export import Browser

    declarations = [read_declared(results.store, experiment) for experiment in experiments]
    figures = any(declared.figures for declared in declarations)
    with Browser() if figures else contextlib.nullcontext() as browser:
        if figures:
            _publish_plotly(results.store)
        for declared in declarations:
            for exhibit in make_exhibits(results, declared, browser):
                to_key = layout.table if exhibit.table else layout.figure
                keys = [to_key(declared.name, exhibit.name, suffix) for suffix in exhibit.files]
                for key, data in zip(keys, exhibit.files.values(), strict=True):
                    results.store.put(key, data)
                yield exhibit, [results.store.locate(key) for key in keys]


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
    from orchestrator.figures.export import save_figure

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
    save_figure(figure, path)


def _publish_plotly(store: Store) -> None:
    from plotly.offline import get_plotlyjs

    script, stat = get_plotlyjs().encode(), store.stat(layout.PLOTLY)
    if stat is None or stat.size != len(script):
        store.put(layout.PLOTLY, script)


def expected_problems(exhibits: Iterable[Exhibit]) -> list[str]:
    """Return why exhibits could not be made, each reason once; unexpected errors are left out."""
    found = [one for one in exhibits if one.problem and not one.failed]
    # An exhibit with files lacks a picture only, for a reason that it shares with the others.
    return list(
        dict.fromkeys(one.problem if one.files else f"{one.name}: {one.problem}" for one in found)
    )


def accuracy_tables(trials: pd.DataFrame) -> list[TextTable]:
    """Return the final test accuracies in % of an experiment, a table by dataset and learning rate.

    A table has a row per index and value of axes that vary, and a column per base. Seeds are
    averaged; diverged trials count as `orchestrator.figures.evidence` describes. `trials` are those
    of `Results.trials(experiment)`.
    """
    found, axes = [], list(axes_of(trials).values())
    for key, group in trials.groupby(["dataset", "learning_rate"], sort=False):
        dataset, lr = cast("tuple[str, float]", key)
        counted = counted_accuracies(group)
        frame: Any = group.assign(counted=counted, diverged=group["status"] == "diverged")
        shown: dict[tuple[Any, ...], dict[str, str]] = {}
        for (*place, base), cell in frame.groupby(["index", *axes, "base"], sort=False):
            text = _accuracy(cell["counted"].dropna(), int(cell["diverged"].sum()))
            shown.setdefault(tuple(place), {})[str(base)] = text
        bases = list(dict.fromkeys(map(str, group["base"])))
        rows = [
            ["base" if index == 0 else f"C{index}", *map(_value, values)]
            + [entries.get(base, NO_NUMBER) for base in bases]
            for (index, *values), entries in sorted(shown.items(), key=lambda pair: pair[0][0])
        ]
        note = diverged_note(int(frame["diverged"].sum()), int(counted.notna().sum()), AS_ZERO)
        seeds = "Mean ± standard deviation (number of seeds)."
        averaged = any("±" in entry for row in rows for entry in row)
        found.append(
            TextTable(
                f"test accuracy in % on {dataset}, learning rate {lr:g}",
                ["index", *(axis.replace("_", " ") for axis in axes), *bases],
                rows,
                remarks=[
                    *([seeds] if averaged else []),
                    *([note] if counted.notna().any() else []),
                ],
            )
        )
    return found


def metric_tables(trials: pd.DataFrame, metrics: Mapping[str, Metric]) -> list[TextTable]:
    """Return a table of a program's last metrics: mean ± standard deviation (n) over seeds.

    It has a row for each combination of parameters. `trials` are those of `Results.trials(name)`.
    """
    own: Any = trials[trials["trial_id"].map(is_program)]
    shown = [name for name in metrics if name in own and own[name].notna().any()]
    rows = []
    for variant, group in own.groupby("variant", sort=False) if shown else ():
        states = group["status"].fillna("not ended").value_counts(sort=False)
        rows.append(
            [
                str(variant),
                *(_spread(group.loc[group["status"] == "done", name].dropna()) for name in shown),
                ", ".join(f"{count} {state}" for state, count in states.items()),
            ]
        )
    units = [metrics[name].unit for name in shown]
    heads = [name + f" ({unit})" * bool(unit) for name, unit in zip(shown, units, strict=True)]
    title = "last epoch: mean ± standard deviation (number of trials)"
    columns = ["parameters", *heads, "trials"]
    return [TextTable(title, columns, rows, left=(len(columns) - 1,))] if rows else []


def _spread(values: pd.Series) -> str:
    if values.empty:
        return NO_NUMBER
    deviation = f" ± {values.std():.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{deviation} ({len(values)})"


def _accuracy(counted: pd.Series, diverged: int) -> str:
    notes = [str(len(counted))] if len(counted) > 1 else []
    notes += [f"{diverged} diverged"] if diverged else []
    mean = f"{100 * counted.mean():.1f}" if len(counted) else NO_NUMBER
    mean += f" ± {100 * counted.std():.1f}" if len(counted) > 1 else ""
    return f"{mean} ({', '.join(notes)})" if notes else mean


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
