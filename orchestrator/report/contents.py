"""What a report tells of experiments, gathered from the store alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from orchestrator.config.record import Declared
from orchestrator.figures.members import name_datasets
from orchestrator.housekeeping.status import STATES, Status
from orchestrator.output.text import duration
from results_schema import layout
from results_schema.results import Results
from results_schema.tables import WHERE

NUMBERS = ("test_accuracy", "test_loss", "train_seconds")
"""Columns of a trial's row that are numbers and may be missing."""

ENVIRONMENT = tuple(column.name for column in WHERE)


@dataclass(frozen=True)
class Trial:
    """A line of an experiment's list of members.

    Attributes:
        trial_id: The trial.
        cell: Base, index and variant.
        setting: Data set, learning rate and seed.
        state: As `status` has it.
        accuracy: After the last epoch, in %; empty while there is none.
        loss: After the last epoch, in nat; empty while there is none.
        seconds: Of training; empty while there is none.
        log: The address of its log, as seen from the report; empty if it has none.
    """

    trial_id: str
    cell: str
    setting: str
    state: str
    accuracy: str
    loss: str
    seconds: str
    log: str


@dataclass(frozen=True)
class Run:
    """What was run of one experiment.

    Attributes:
        declared: What its file says.
        datasets: Those trained on, stand-ins named as such.
        substitutes: Those of them that are stand-ins; empty if there is none.
        network: Its size in words.
        epochs: Of its recipes.
        trials: Counts by state, such as "5 done, 1 diverged".
        surfaces: The same of surfaces; empty if it wants none.
        members: Its trials.
    """

    declared: Declared
    datasets: str
    substitutes: str
    network: str
    epochs: str
    trials: str
    surfaces: str
    members: Sequence[Trial]


@dataclass(frozen=True)
class Environment:
    """A machine and its software.

    Attributes:
        values: By name, such as torch; what is unknown is left out.
        trials: How many trials were ended there.
        surfaces: How many surfaces.
        took: Wall time of both, one after the other, in words.
    """

    values: dict[str, str]
    trials: int
    surfaces: int
    took: str


def runs(results: Results, declared: Iterable[Declared], status: Status, folder: Path) -> list[Run]:
    """What was run of each experiment.

    Args:
        results: The store.
        declared: The experiments.
        status: How they stand.
        folder: Where the report will lie.
    """
    return [_run(results, one, status, folder) for one in declared]


def environments(results: Results, names: Iterable[str]) -> list[Environment]:
    """Where the trials and surfaces of experiments were ended, by how much was done there."""
    trials, surfaces = [], []
    for name in names:
        trials.append(results.trials(name).drop_duplicates("trial_id"))
        surfaces.append(results.surfaces(name).drop_duplicates("surface_id"))
    ended = (
        _ended(trials, "trial_id", "train_seconds"),
        _ended(surfaces, "surface_id", "measure_seconds"),
    )
    found: dict[tuple[str, ...], list[float]] = {}
    for place, frame in enumerate(ended):
        for row in frame.to_dict("records"):
            key = tuple(_text(row[name]) for name in ENVIRONMENT)
            counts = found.setdefault(key, [0, 0, 0.0])
            counts[place] += 1
            counts[2] += float(row["took"])
    order = sorted(found.items(), key=lambda item: -item[1][2])
    return [
        Environment(
            {n: v for n, v in zip(ENVIRONMENT, key, strict=True) if v},
            int(trials),
            int(surfaces),
            duration(seconds),
        )
        for key, (trials, surfaces, seconds) in order
    ]


def failures(status: Status, folder: Path) -> list[dict[str, str]]:
    """Trials and surfaces that failed: `item`, `kind`, `message`, `at`, and `log` as a link."""
    failed = [{**f, "item": f["trial_id"]} for f in status.trials.failed]
    failed += [{**f, "item": f["surface_id"]} for f in status.surfaces.failed]
    return [f | {"log": link(Path(f["log"]), folder)} for f in failed]


def link(path: Path, folder: Path) -> str:
    """The address of a file as seen from a folder; empty if the file is not there."""
    if not path.exists():
        return ""
    return quote(Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix())


def _ended(frames: Sequence[pd.DataFrame], key: str, seconds: str) -> pd.DataFrame:
    every = pd.concat(frames) if frames else pd.DataFrame(columns=[key, "status", seconds])
    every = every.dropna(subset=["status"]).drop_duplicates(key)
    return every.assign(took=every[seconds].fillna(0.0))


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    # A column with gaps is one of floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _run(results: Results, declared: Declared, status: Status, folder: Path) -> Run:
    states = status.trials.experiments.get(declared.name, {})
    surfaces = status.surfaces.experiments.get(declared.name, {})
    size = declared.network
    epochs = sorted({recipe["epochs"] for recipe in declared.recipes.values()})
    members: Any = results.trials(declared.name).to_dict("records")
    return Run(
        declared=declared,
        datasets=name_datasets(declared.datasets.items()),
        substitutes=name_datasets((n, used) for n, used in declared.datasets.items() if n != used),
        network=f"{size['cells']} cells, {size['channels']} channels, {declared.precision}",
        epochs=", ".join(map(str, epochs)),
        trials=_count(states.values()),
        surfaces=_count(surfaces.values()),
        members=[_trial(results, row, states, folder) for row in members],
    )


def _count(states: Iterable[str]) -> str:
    every = list(states)
    return ", ".join(f"{n} {s}" for s in STATES if (n := every.count(s)))


def _trial(results: Results, row: dict[str, Any], states: dict[str, str], folder: Path) -> Trial:
    trial_id = row["trial_id"]
    accuracy, loss, seconds = (None if pd.isna(row[name]) else float(row[name]) for name in NUMBERS)
    index = f"C{row['index']}" if row["index"] else "base"
    variant = "" if row["variant"] == row["base"] else f" ({row['variant']})"
    log = Path(results.store.locate(layout.log(trial_id)))
    return Trial(
        trial_id=trial_id,
        cell=f"{row['base']} {index}{variant}",
        setting=f"{row['dataset']}, {row['learning_rate']:g}, seed {row['seed']}",
        state=states.get(trial_id, ""),
        accuracy="" if accuracy is None else f"{100 * accuracy:.2f}",
        loss="" if loss is None else f"{loss:.4g}",
        seconds="" if seconds is None else f"{seconds:.1f}",
        log=link(log, folder),
    )
