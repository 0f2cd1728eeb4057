"""What a launch ends with: a table of results, then figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.config.record import read_declared
from orchestrator.figures.evidence import AS_ZERO, counted_accuracies, diverged_note
from orchestrator.report.exhibits import Exhibit, make_exhibits
from results_schema import layout
from results_schema.results import Results


def print_results(trials: pd.DataFrame, console: Console) -> None:
    """Prints final test accuracies in %, a row per index and a column per base, mean over seeds.

    Diverged trials count in the means as `orchestrator.figures.evidence` says.

    Args:
        trials: Members with their results, as `Results.trials(experiment)` returns them.
        console: Where to print.
    """
    for key, group in trials.groupby(["dataset", "learning_rate"], sort=False):
        dataset, rate = cast("tuple[str, float]", key)
        cells = group.groupby(["index", "base"], sort=False)
        means = cells.apply(lambda some: counted_accuracies(some).mean()).unstack()
        diverged = cells["status"].apply(lambda s: (s == "diverged").sum()).unstack()
        ended = int(counted_accuracies(group).notna().sum())
        table = Table(
            "index",
            *(str(base) for base in means.columns),
            title=f"test accuracy in % on {dataset}, learning rate {rate:g}",
            title_justify="left",
        )
        for index, row in means.sort_index().iterrows():
            shown = [_cell(*pair) for pair in zip(row, diverged.loc[index], strict=True)]
            table.add_row("base" if index == 0 else f"C{index}", *shown)
        console.print(table)
        if ended:
            note = diverged_note(int(diverged.sum().sum()), ended, AS_ZERO)
            console.print(note, markup=False, highlight=False)


def publish(results: Results, experiments: Sequence[str], console: Console) -> list[Exhibit]:
    """Writes the figures and tables of experiments into the store, and says where they lie."""
    from orchestrator.figures.export import Browser

    made: list[Exhibit] = []
    with Browser() as browser:
        for experiment in experiments:
            declared = read_declared(results.store, experiment)
            for exhibit in make_exhibits(results, declared, browser):
                where = layout.table if exhibit.table else layout.figure
                keys = [where(exhibit.name, suffix) for suffix in exhibit.files]
                for key, data in zip(keys, exhibit.files.values(), strict=True):
                    results.store.put(key, data)
                made.append(exhibit)
                places = ", ".join(str(results.store.locate(key)) for key in keys)
                if places:
                    console.print(f"{exhibit.name}: {places}", highlight=False, markup=False)
    for problem in dict.fromkeys(_problem(exhibit) for exhibit in made if _expected(exhibit)):
        console.print(problem, style="yellow", highlight=False, markup=False)
    return made


def _expected(exhibit: Exhibit) -> bool:
    """Return whether there is a problem to name; unexpected errors are named with the report."""
    return bool(exhibit.problem) and not exhibit.failed


def _problem(exhibit: Exhibit) -> str:
    # That pictures are left out is told once, not of each figure.
    return exhibit.problem if exhibit.files else f"{exhibit.name}: {exhibit.problem}"


def _cell(accuracy: float, diverged: float) -> str:
    shown = "–" if pd.isna(accuracy) else f"{100 * accuracy:.1f}"
    return f"{shown} ({diverged:.0f} diverged)" if diverged > 0 else shown
