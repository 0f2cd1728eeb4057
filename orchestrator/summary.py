"""What a launch ends with: a table of results, and the figures of each experiment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import cast

import pandas as pd
from rich.console import Console
from rich.table import Table

from orchestrator.experiment import Experiment
from results_schema import layout
from results_schema.results import Results


def print_results(trials: pd.DataFrame, console: Console) -> None:
    """Prints final test accuracies in %, a row per index and a column per base, mean over seeds.

    Args:
        trials: Members with their results, as `Results.trials(experiment)` returns them.
        console: Where to print.
    """
    for key, group in trials.groupby(["dataset", "learning_rate"], sort=False):
        dataset, rate = cast("tuple[str, float]", key)
        cells = group.groupby(["index", "base"], sort=False)
        means = cells.apply(_mean_of_done).unstack()
        diverged = cells["status"].apply(lambda s: (s == "diverged").sum()).unstack()
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


def draw_figures(results: Results, experiments: Sequence[Experiment], console: Console) -> None:
    """Draws each figure that the experiments name, and says where it lies."""
    from orchestrator.figures import draw
    from orchestrator.figures.browser import Browser
    from orchestrator.figures.export import write_figure

    notes: list[str] = []
    with Browser() as browser:
        for experiment in experiments:
            table = cache(partial(_table, results, experiment.name))
            for name, choice in experiment.figures.items():
                written: dict[str, bytes] = {}
                figure = draw(choice, table, experiment.title)
                notes += write_figure(figure, written.__setitem__, browser=browser)
                for suffix, data in written.items():
                    results.store.put(layout.figure(name, suffix), data)
                places = (str(results.store.locate(layout.figure(name, s))) for s in written)
                console.print(f"{name}: {', '.join(places)}", highlight=False)
    for note in dict.fromkeys(notes):
        console.print(note, style="yellow", highlight=False)


def _table(results: Results, experiment: str, name: str) -> pd.DataFrame:
    return getattr(results, name)(experiment)


def _mean_of_done(trials: pd.DataFrame) -> float:
    """As in the figure, a diverged trial is no part of the mean."""
    return trials.loc[trials["status"] == "done", "test_accuracy"].mean()


def _cell(accuracy: float, diverged: float) -> str:
    shown = "–" if pd.isna(accuracy) else f"{100 * accuracy:.1f}"
    return f"{shown} ({diverged:.0f} diverged)" if diverged > 0 else shown
