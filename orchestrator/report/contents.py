"""The contents of a report, gathered from the store alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from orchestrator.config.record import Declared, read_declared
from orchestrator.figures.members import name_datasets, name_value
from orchestrator.housekeeping.status import Status, list_counts
from orchestrator.output.text import value_text
from orchestrator.paper.claims.claim import NO_DATA, Finding
from orchestrator.paper.claims.description import Entry, entries, headline
from orchestrator.report.exhibits import Exhibit
from results_schema import layout
from results_schema.results import Results, axes_of
from results_schema.tables import WHERE

_ENVIRONMENT = [column.name for column in WHERE]


@dataclass(frozen=True)
class Run:
    """What was run of one experiment."""

    declared: Declared  # what the experiment's file held
    datasets: str  # names of the datasets trained on; substitute datasets are named as such
    substitutes: str  # names of the substitute datasets among them; may be empty
    network: str  # size of the network, or the program, and the values of axes that vary
    epochs: str  # numbers of epochs of its recipes
    trials: str  # counts by state, such as "5 done, 1 diverged"
    surfaces: str  # counts of surfaces by state; empty if it wants none
    # Texts of each trial, which may be empty: `trial_id`, `cell`, `setting`, `state`, `accuracy` in
    # %, `loss` in nat, `seconds` of training, and `log`, a link.
    members: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Contents:
    """All that a report shows."""

    title: str
    runs: Sequence[Run]  # what was run, by experiment
    exhibits: Sequence[Exhibit]  # figures and tables, in the experiments' order
    failures: Sequence[Mapping[str, str]]  # `item`, `kind`, `message`, `at`, and `log`, a link
    # Where it was run, longest work first: known `values` of a machine and its software by name,
    # the `trials` and `surfaces` that ended there, and the sum of their wall times in `seconds`.
    environments: Sequence[Mapping[str, Any]]
    findings: Sequence[Finding]  # what the claims' measures found
    store: str  # its location

    @property
    def drawn(self) -> bool:
        """Whether it has a figure."""
        return any(one.figure is not None for one in self.exhibits)

    @property
    def reuse(self) -> str:
        """How many trials the experiments share, in a sentence."""
        ids = [{trial["trial_id"] for trial in run.members} for run in self.runs]
        distinct, named = len(set[str]().union(*ids)), sum(map(len, ids))
        if named == distinct:
            return f"{distinct} distinct trials."
        return f"{distinct} distinct trials, which the experiments name {named} times in all."

    @property
    def verdicts(self) -> str:
        """How many claims have which verdict, in a sentence."""
        return headline(self.findings)

    @property
    def tested(self) -> list[Entry]:
        """Claims for which there are data."""
        return [one for one in entries(self.findings) if one.main.verdict != NO_DATA]

    @property
    def untested(self) -> list[Entry]:
        """Claims for which there are none."""
        return [one for one in entries(self.findings) if one.main.verdict == NO_DATA]


def gather(
    results: Results,
    names: Sequence[str],
    exhibits: Sequence[Exhibit],
    found: Sequence[Finding],
    status: Status,
    folder: Path,
) -> Contents:
    """Return the contents of the report of some experiments, with links as seen from `folder`."""
    store = results.store
    declared = [read_declared(store, name) for name in names]
    failed = [*status.trials.failed, *status.surfaces.failed]
    return Contents(
        title=declared[0].title if len(declared) == 1 else f"Report of {len(declared)} experiments",
        runs=[_run(results, one, status, folder) for one in declared],
        exhibits=exhibits,
        failures=[
            one
            | {"item": one.get("trial_id") or one["surface_id"]}
            | {"log": _link(one["log"], folder)}
            for one in failed
        ],
        environments=_environments(results, names),
        findings=found,
        store=store.location,
    )


def _run(results: Results, declared: Declared, status: Status, folder: Path) -> Run:
    trials = results.trials(declared.name)
    states = status.trials.experiments[declared.name]
    surfaces = status.surfaces.experiments.get(declared.name, {})
    axes = list(axes_of(trials).values())
    members = []
    for row in trials.to_dict("records"):
        trial_id = row["trial_id"]
        cell, setting = _named(row, declared.program)
        if not declared.program:
            setting = ", ".join([setting, *(name_value(axis, row[axis]) for axis in axes)])
        members.append(
            {
                "trial_id": trial_id,
                "cell": cell,
                "setting": setting,
                "state": status.describe(trial_id, states[trial_id]),
                "accuracy": _number(row["test_accuracy"], "{:.2f}", scale=100),
                "loss": _number(row["test_loss"], "{:.4g}"),
                "seconds": _number(row["train_seconds"], "{:.1f}"),
                "log": _link(results.store.locate(layout.log(trial_id)), folder),
            }
        )
    size, network = declared.network, "not recorded"
    if size["cells"]:
        network = f"{size['cells']} cells, {size['channels']} channels, {declared.precision}"
    if declared.program:
        network = f"{declared.program}, version {declared.version}"
    epochs = sorted({recipe["epochs"] for recipe in declared.recipes.values()})
    values = {axis: map(value_text, trials[axis].unique().tolist()) for axis in axes}
    varied = [name_value(axis, ", ".join(some)) for axis, some in values.items()]
    return Run(
        declared=declared,
        datasets=name_datasets(declared.datasets.items()),
        substitutes=name_datasets((n, used) for n, used in declared.datasets.items() if n != used),
        network="; ".join([network, *varied]),
        epochs=", ".join(map(str, epochs)),
        trials=list_counts(states.values()),
        surfaces=list_counts(surfaces.values()),
        members=members,
    )


def _named(row: Mapping[str, Any], program: str | None) -> tuple[str, str]:
    """Return what is trained and how, of a row of `Results.trials`."""
    if program is not None:
        return row["variant"], f"seed {row['seed']}"
    index = f"C{row['index']}" if row["index"] else "base"
    variant = "" if row["variant"] == row["base"] else f" ({row['variant']})"
    setting = f"{row['dataset']}, {row['learning_rate']:g}, seed {row['seed']}"
    return f"{row['base']} {index}{variant}", setting


def _environments(results: Results, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return where the trials and surfaces of experiments ended, longest work first."""
    parts = []
    for kind, table, seconds in (
        ("trials", results.trials, "train_seconds"),
        ("surfaces", results.surfaces, "measure_seconds"),
    ):
        rows = pd.concat([table(name) for name in names]).dropna(subset=["status"])
        rows = rows.drop_duplicates(kind.removesuffix("s") + "_id")
        texts = rows[_ENVIRONMENT].map(_text).astype(object)
        counts = {"trials": 0, "surfaces": 0} | {kind: 1}
        parts.append(texts.assign(**counts, seconds=rows[seconds].astype(float).fillna(0.0)))
    sums: Any = pd.concat(parts).groupby(_ENVIRONMENT, sort=False).sum()
    sums = sums.sort_values("seconds", ascending=False, kind="stable").reset_index()
    return [
        row | {"values": {name: row[name] for name in _ENVIRONMENT if row[name]}}
        for row in sums.to_dict("records")
    ]


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    # A column of integers with gaps is one of floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any, template: str, scale: float = 1.0) -> str:
    return "" if pd.isna(value) else template.format(scale * float(value))


def _link(place: str, folder: Path) -> str:
    """Return the address of a file as seen from a folder; empty if the file does not exist."""
    path = Path(place)
    if not path.exists():
        return ""
    return quote(Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix())
