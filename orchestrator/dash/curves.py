"""The metrics of every trial, kept in memory; only files that changed are read again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.dash.stamps import table_stamps
from results_schema import layout, tables
from results_schema.errors import CorruptData, NasSweepError
from results_schema.store import Store

COLUMNS = (
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
    "rate",
    "grad_norm",
    "clip_rate",
)
"""What can be drawn over epochs."""

Numbers = NDArray[np.float64]
Curve = dict[str, Numbers]
"""The columns and `epoch` of one trial, each [epochs]."""


@dataclass
class Curves:
    """The curves of a store as it was at the last look.

    Attributes:
        store: Whose.
        of: By trial.
        damaged: Trials whose file can't be read, and why; what was read before stays.
        version: Counts the looks that found something new.
        renewed: The version that each trial's curve is of.
        gathered: The version since which the trials that have a curve are the same.
    """

    store: Store
    of: dict[str, Curve] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    version: int = 0
    renewed: dict[str, int] = field(default_factory=dict)
    gathered: int = 0
    _seen: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Reads what is new: a table with another stamp than before."""
        # Noted before they are read, so that no change is missed.
        found = table_stamps(self.store, layout.METRICS)
        changed = [trial_id for trial_id, mark in found.items() if self._seen.get(trial_id) != mark]
        gone = self._seen.keys() - found.keys()
        before = self.of.keys() - gone
        keys = {layout.metrics(trial_id): trial_id for trial_id in changed}
        for key, data in self.store.several(keys):
            self._take(keys[key], key, data)
        for trial_id in gone:
            self.of.pop(trial_id, None)
            self.damaged.pop(trial_id, None)
        self._seen = found
        if changed or gone:
            self.version += 1
            self.renewed |= dict.fromkeys(changed, self.version)
            if gone or self.of.keys() != before:
                self.gathered = self.version

    def _take(self, trial_id: str, key: str, data: bytes) -> None:
        try:
            self.of[trial_id] = _decode(data, key)
            self.damaged.pop(trial_id, None)
        except NasSweepError as error:
            self.damaged[trial_id] = error.what


def _decode(data: bytes, key: str) -> Curve:
    wanted = ("epoch", *COLUMNS)
    if not (tables.is_sealed(data) and tables.is_sound(data)):
        table = tables.from_parquet(data, tables.METRICS, key)
    else:
        file = tables.open_parquet(data)
        owner = layout.owner(key)
        if owner is not None and not tables.is_of(file, owner):
            raise CorruptData("it has rows of another trial", where=key)
        there = set(file.schema_arrow.names)
        table = file.read([name for name in wanted if name in there], use_threads=False)
    return {name: _column(table, name) for name in wanted}


def _column(table: pa.Table, name: str) -> Numbers:
    """As float64; NaN where a column or a number is lacking."""
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return table[name].to_numpy().astype(float)
