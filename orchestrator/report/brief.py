"""The tables with which a launch ends: accuracies, or the metrics of programs, by state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from orchestrator.figures.evidence import AS_ZERO, counted_accuracies, diverged_note
from orchestrator.housekeeping.status import State, list_counts
from orchestrator.output.tables import TextTable
from orchestrator.output.text import NO_NUMBER, value_text
from results_schema.program import Metric, is_program
from results_schema.results import axes_of


def accuracy_tables(trials: pd.DataFrame, states: Mapping[str, State]) -> list[TextTable]:
    """Return the final test accuracies in % of an experiment, a table by dataset and learning rate.

    A table has a row per index and value of axes that vary, and a column per base. Seeds are
    averaged; diverged trials count as `orchestrator.figures.evidence` describes.

    Args:
        trials: Those of `Results.trials(experiment)`.
        states: The state of each trial, as `nas-sweep status` shows it.
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
            ["base" if index == 0 else f"C{index}", *map(value_text, values)]
            + [entries.get(base, NO_NUMBER) for base in bases]
            for (index, *values), entries in sorted(shown.items(), key=lambda pair: pair[0][0])
        ]
        remarks = []
        if any("±" in entry for row in rows for entry in row):
            remarks.append("Mean ± standard deviation (number of seeds).")
        if counted.notna().any():
            diverged = int(frame["diverged"].sum())
            remarks.append(diverged_note(diverged, int(counted.notna().sum()), AS_ZERO))
        if not counted.notna().all():
            remarks.append(f"Trials: {list_counts(states[t] for t in group['trial_id'].unique())}.")
        title = f"test accuracy in % on {dataset}, learning rate {lr:g}"
        columns = ["index", *(axis.replace("_", " ") for axis in axes), *bases]
        found.append(TextTable(title, columns, rows, remarks=remarks))
    return found


def metric_tables(
    trials: pd.DataFrame, metrics: Mapping[str, Metric], states: Mapping[str, State]
) -> list[TextTable]:
    """Return a table of a program's last metrics: mean ± standard deviation (n) over seeds.

    It has a row for each combination of parameters. `trials` and `states` are as of
    `accuracy_tables`.
    """
    own: Any = trials[trials["trial_id"].map(is_program)]
    shown = [name for name in metrics if name in own and own[name].notna().any()]
    rows = []
    for variant, group in own.groupby("variant", sort=False) if shown else ():
        done = group[group["status"] == "done"]
        counts = list_counts(states[trial_id] for trial_id in group["trial_id"])
        rows.append([str(variant), *(_spread(done[name].dropna()) for name in shown), counts])
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
