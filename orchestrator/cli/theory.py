"""What `nas-sweep theory` does: check Section 4.3 and Theorem 4.1, tell, draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from orchestrator.housekeeping import lookup
from orchestrator.output.tables import TextTable, print_table, to_csv, to_json, to_markdown
from orchestrator.paper.theorems import (
    TrialBound,
    blocks_sheet,
    comparison_record,
    statements_sheet,
    trial_bounds,
    trials_sheet,
)
from results_schema.results import Results
from results_schema.store import existing_store
from workers.theory.checks import Comparison, Settings, check_cells
from workers.theory.sgd import check_sgd
from workers.theory.smoothness import counterexample

DRAWN = (
    "Theorem 4.1",
    "Theorem 4.2, as printed",
    "Theorem 4.2, corrected",
    "Theorem 4.3, matched weights",
    "Theorem 4.3, matched, |eigenvalue|",
    "Theorem 4.3, same W",
    "Theorem 4.1, trials",
)
"""Statements that have a panel of the figure."""


def show_theory(
    experiments: Sequence[str], location: str, settings: Settings, *, form: str, draw: str | None
) -> int:
    """Checks every statement, and the bound of trials if experiments are named.

    Args:
        experiments: Names, or files, of experiments in the store.
        location: The store's folder; not looked at without experiments.
        settings: What is drawn.
        form: text, markdown, csv or json.
        draw: A file for the figure: .html, .png, .svg or .pdf.

    Returns:
        The exit code: 1 if a statement is violated that must hold.

    Raises:
        ConfigError: An experiment is unknown, or the file can't be drawn to.
        StoreError: There is no store, or it can't be read.
        MachineError: There is no browser for a picture.
    """
    if draw:
        from orchestrator.figures.export import check_suffix

        check_suffix(Path(draw))  # before all the work
    trials = _trials(experiments, location)
    comparisons = [*check_sgd(settings.seed), *check_cells(settings)]
    _tell(comparisons, trials, settings, form)
    if draw:
        _draw([*comparisons, *_measured(trials)], Path(draw), quiet=form != "text")
    return int(any(one.holds and one.violated.any() for one in comparisons))


def _trials(experiments: Sequence[str], location: str) -> list[TrialBound]:
    if not experiments:
        return []
    store = existing_store(location)
    names = lookup.find_experiments(store, experiments)
    results = Results(store)
    return [one for name in names for one in trial_bounds(results, name)]


def _tell(
    comparisons: Sequence[Comparison], trials: Sequence[TrialBound], settings: Settings, form: str
) -> None:
    records = [comparison_record(one) for one in comparisons]
    example = counterexample()
    if form == "json":
        told: dict[str, Any] = {"statements": records, "counterexample": example._asdict()}
        print(to_json(told | {"trials": [one.record() for one in trials]}))
        return
    if form == "csv":
        # One table a file: the trials', if they were asked for.
        print(to_csv([one.record() for one in trials] or records))
        return
    title = (
        f"Statements on {settings.draws} cells for each objective and gain: n = {settings.nodes}, "
        f"d = {settings.width}, {settings.batch} inputs, "
        f"gains {', '.join(map(str, settings.gains))}, seed {settings.seed}"
    )
    blocks = [one for one in comparisons if one.statement.startswith("Theorem 4.2")]
    sheets = [statements_sheet(comparisons, title), blocks_sheet(blocks, example)]
    if trials:
        sheets.append(trials_sheet(trials))
    for sheet in sheets:
        _print(sheet, form)


def _print(sheet: TextTable, form: str) -> None:
    if form == "markdown":
        print(to_markdown(sheet), end="\n\n")
        return
    print_table(sheet)


def _measured(trials: Sequence[TrialBound]) -> list[Comparison]:
    """Trials as a comparison of their own, by base; what lacks a number is left out."""
    kept = [one for one in trials if not one.lacking and one.measured == one.measured]
    bases = dict.fromkeys(one.base for one in kept)
    found = []
    for base in bases:
        mine = [one for one in kept if one.base == base]
        measured = np.array([one.measured for one in mine])
        bound = np.array([one.bound for one in mine])
        none = np.zeros(len(mine), np.int64)
        found.append(Comparison("Theorem 4.1, trials", base, False, measured, bound, none))
    return found


def _draw(comparisons: Sequence[Comparison], path: Path, *, quiet: bool) -> None:
    from orchestrator.figures.export import save_figure
    from orchestrator.paper.bounds import bounds_data, plot_bounds

    figure = plot_bounds(
        bounds_data([one for one in comparisons if one.statement in DRAWN]),
        "Bounds of the theory against what was computed",
    )
    save_figure(figure, path)
    Console(stderr=quiet, soft_wrap=True).print(f"drawn: {path}", markup=False, highlight=False)
