"""What readers need of a store's tables, and whether a folder, whoever filled it, has that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from orchestrator.output.text import counted
from results_schema import layout, tables
from results_schema.errors import NasSweepError
from results_schema.results import Results
from results_schema.store import Store

SCHEMAS = {
    folder: tables.OPENED[folder] for folder in (layout.MEMBERS, layout.TRIALS, layout.METRICS)
}

_NAMED = ("trial_id", "base", "variant", "index", "dataset", "learning_rate", "width", "depth")
_ENDED = ("trial_id", "status", "test_accuracy")
_CURVE = ("trial_id", "epoch", "test_accuracy")
_SHOWN = {
    layout.MEMBERS: (*_NAMED, "named_dataset", "seed"),
    layout.TRIALS: (*_ENDED, "parameters"),
    layout.METRICS: (*_CURVE, "train_loss", "test_loss", "train_accuracy"),
}
NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "status": {layout.MEMBERS: ("trial_id",), layout.TRIALS: ("trial_id", "status")},
    "claims": {layout.MEMBERS: _NAMED, layout.TRIALS: _ENDED, layout.METRICS: _CURVE},
    "figures": _SHOWN,
    "report": _SHOWN,
    "dash": _SHOWN,
}
"""Columns that each command needs, by table; `query` and `export` take what there is."""

_FIX = "docs/import.md says what each column holds; nas-sweep import writes them all"

_BY_FILE = ("status", "report", "dash")
"""Commands that find a trial by the name of its file."""


class Check(NamedTuple):
    """What a check found.

    Attributes:
        name: What was checked.
        verdict: "ok"; "note", something is missing that not everyone needs; or "bad".
        found: The finding in a few words.
        fix: How to fix it, empty if there is nothing to fix.
    """

    name: str
    verdict: Literal["ok", "note", "bad"]
    found: str
    fix: str = ""


def needed_by(folder: str, column: str) -> list[str]:
    """Return the commands that need a column of a table."""
    return [command for command, needs in NEEDED.items() if column in needs.get(folder, ())]


def check_tables(store: Store) -> Iterator[Check]:
    """Yield what is right and wrong with the tables of a store: columns, types, values, files."""
    present: dict[str, set[str]] = {}
    by_file = True
    for folder in (*SCHEMAS, layout.SURFACES):
        name, rows, filled, schema = folder.rstrip("/"), 0, [], tables.OPENED[folder]
        keys = [key for key in store.list(folder) if layout.names([key])]
        if folder == layout.SURFACES and not keys:
            continue
        try:
            for key in keys:
                if len(table := tables.from_parquet(store.get(key), schema, key)):
                    rows += len(table)
                    filled.append({c for c in table.column_names if not table[c].null_count})
                    ids = {*table["trial_id"].to_pylist()} if "trial_id" in filled[-1] else set()
                    by_trial = folder in (layout.TRIALS, layout.METRICS)
                    by_file &= not by_trial or ids == layout.names([key])
            yield Check(
                name,
                "ok" if rows else "note",
                f"{counted(len(keys), 'file')}, {counted(rows, 'row')}",
            )
        except NasSweepError as error:
            yield _refused(name, error)
        present[folder] = set.intersection(*filled) if filled else set()
    yield from _check_values(Results(store))
    for command, needs in NEEDED.items():
        lacking = [f"{f}{c}" for f, wanted in needs.items() for c in wanted if c not in present[f]]
        if lacking:
            yield Check(command, "note", f"it needs {', '.join(lacking)} everywhere", _FIX)
        elif command in _BY_FILE and not by_file:
            yield Check(command, "note", "a file must hold the trial of its name alone", _FIX)
        elif command == "report" and not store.list(layout.EXPERIMENTS):
            yield Check(command, "note", "there is no experiments/NAME.json", _FIX)
        else:
            yield Check(command, "ok", "has what it needs")


def _refused(name: str, error: NasSweepError) -> Check:
    return Check(name, "bad", str(error).partition("\n")[0], error.fix or _FIX)


def _check_values(results: Results) -> Iterator[Check]:
    try:
        trials: Any = results.trials()
        metrics: Any = results.metrics().sort_values(["trial_id", "epoch"])
        members: Any = results.members()
    except NasSweepError as error:
        yield _refused("values", error)
        return
    problems = {
        "trials are neither done nor diverged": ~trials["status"].isin(["done", "diverged"]),
        "trials stand twice": trials["trial_id"].duplicated(),
        "members have no index from 0 on": ~(members["index"] >= 0),
        "epochs are missing, stand twice or begin with 0": metrics["epoch"]
        != metrics.groupby("trial_id").cumcount() + 1,
    }
    for name, frame in (("trials", trials), ("epochs", metrics)):
        for column in (c for c in frame if c.endswith(("_accuracy", "_loss"))):
            top = 1 if column.endswith("_accuracy") else math.inf
            wrong = (frame[column] < 0) | (frame[column] > top)
            problems[f"{name} have a {column} outside 0 to {top}"] = wrong
    bad = {what: int(wrong.sum()) for what, wrong in problems.items() if wrong.any()}
    for what, count in bad.items():
        yield Check("values", "bad", f"{what}: {count:,}", _FIX)
    if not bad:
        yield Check("values", "ok", "statuses, indices, epochs, accuracies and losses")
