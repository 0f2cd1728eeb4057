"""All that a store has of one trial: its names, spec, curve, checkpoints and provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.status import StatusReader
from orchestrator.output.text import sparkline
from results_schema import layout, tables
from results_schema.errors import CorruptData, MissingKey
from results_schema.program import metrics_of, store_schema
from results_schema.store import Store, recorded_failure

CURVES = ("train_loss", "test_loss", "test_accuracy")
"""Columns of a cell's metrics whose curves are shown; of a program's all that it reports are."""


def describe_trial(store: Store, name: str) -> dict[str, Any]:
    """Return what a store has of a trial, by part.

    Args:
        store: The store.
        name: Name of a member, or the beginning of the trial's id (`lookup.find_item`).

    Returns:
        trial: Its id.
        state: As `nas-sweep status` describes it.
        members: Its names in experiments.
        failure: Why it failed last, if it has.
        spec: Fields of its spec; empty before it has ended.
        results: Numbers of its row.
        curves: The first and last value of each curve, and its course.
        checkpoints: Epochs of the checkpoints that the store has.
        provenance: Where and with what it was trained.
        log: Where its log is.

    Raises:
        ConfigError: No trial is called so, or several are.
        CorruptData: An experiment's table is damaged.
    """
    trial_id = layout.trial_of(lookup.find_item(store, name))
    names = [
        name
        for experiment in lookup.experiments(store)
        for name, trial in lookup.member_names(store, experiment)
        if trial == trial_id
    ]
    trials, metrics = (store_schema(store, one) for one in (layout.TRIALS, layout.METRICS))
    row = (_rows(store, layout.trial(trial_id), trials) or [{}])[0]
    spec = json.loads(row.get("spec") or "{}")
    kinds: dict[str, dict[str, Any]] = {"result": {}, "provenance": {}}
    for column in trials:
        if column.name not in ("trial_id", "spec") and row.get(column.name) is not None:
            kinds[(column.metadata or {})[b"kind"].decode()][column.name] = row[column.name]
    keys = store.list(layout.checkpoints(trial_id))
    epochs = {int(one[1]) for key in keys if (one := re.search(r"epoch-(\d+)/state\.json$", key))}
    failed = store.has(layout.failure(trial_id))
    return {
        "trial": trial_id,
        "state": StatusReader(store).read().describe(trial_id),
        "members": names,
        **({"failure": recorded_failure(store, trial_id)} if failed else {}),
        "spec": spec,
        "results": kinds["result"],
        "curves": _curves(
            _rows(store, layout.metrics(trial_id), metrics), (*CURVES, *metrics_of(metrics))
        ),
        "checkpoints": sorted(epochs),
        "provenance": kinds["provenance"],
        "log": store.locate(layout.log(trial_id)),
    }


def _rows(store: Store, key: str, schema: pa.Schema) -> list[dict[str, Any]]:
    try:
        return tables.from_parquet(store.get(key), schema, key).to_pylist()
    except (MissingKey, CorruptData):  # the state names what is damaged
        return []


def _curves(rows: list[dict[str, Any]], columns: Iterable[str]) -> dict[str, str]:
    found = {}
    for column in columns:
        values = [row[column] for row in rows if row.get(column) is not None]
        if values:
            found[column] = f"{values[0]:.4g} {sparkline(values)} {values[-1]:.4g}"
    return found
