"""Whether a store is whole: against the tables of an undisturbed run, at the end and on the way."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from same_results import result_columns
from small_trials import assert_same_bits, files

from results_schema import layout, tables
from results_schema.store import LocalStore, Store
from results_schema.tables import POINTS, SURFACES
from workers.training import checkpoint

TABLES = ((layout.METRICS, tables.METRICS), (layout.TRIALS, tables.TRIALS))
LANDSCAPES = ((layout.SURFACES, SURFACES), (layout.POINTS, POINTS))
RESULTS = [f.name for f in tables.METRICS if f.metadata[b"kind"] == b"result"]


def digest(store: Store, what: Sequence[tuple[str, pa.Schema]] = TABLES) -> str:
    """SHA-256 of tables as canonical Parquet: without times, hosts and machines."""
    found = hashlib.sha256()
    for folder, schema in what:
        parts = [tables.from_parquet(store.get(key), schema, key) for key in store.list(folder)]
        table = result_columns(pa.concat_tables(parts), schema)
        bare = pa.schema([field.remove_metadata() for field in table.schema])
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(table.to_pylist(), schema=bare), sink)
        found.update(sink.getvalue())
    return found.hexdigest()


def assert_equal(store: LocalStore, reference: LocalStore, *more: tuple[str, pa.Schema]) -> None:
    """Every trial ended with the same rows and, to the last bit, the same tensors; none is held.

    Args:
        store: Where launches were disturbed.
        reference: Where none was.
        more: Tables to be compared as well, such as `LANDSCAPES`.
    """
    metrics = pd.read_parquet(store.root / "metrics")
    assert not metrics.duplicated(["trial_id", "epoch"]).any()
    assert digest(store, (*TABLES, *more)) == digest(reference, (*TABLES, *more))
    for trial_id in layout.names(reference.list(layout.TRIALS)):
        [epoch], [last] = (checkpoint.epochs(one, trial_id) for one in (store, reference))
        assert epoch == last
        assert_same_bits(
            *(checkpoint.load(one, trial_id, last).tensors for one in (store, reference))
        )
    assert store.leases.held() == {}


def assert_sound(store: LocalStore, reference: LocalStore) -> None:
    """What is there is readable and right, however much is still missing."""
    expected = Expected(reference)
    for folder, schema in (*TABLES, (layout.MEMBERS, tables.MEMBERS)):
        for key in store.list(folder):
            if key.endswith(".parquet"):
                tables.from_parquet(store.get(key), schema, key)
    if any(key.endswith(".parquet") for key in store.list(layout.METRICS)):
        assert expected.faults(pd.read_parquet(store.root / "metrics")) == []
    for trial_id in layout.names(reference.list(layout.TRIALS)):
        for epoch in checkpoint.epochs(store, trial_id):
            rows = checkpoint.load(store, trial_id, epoch).rows
            assert expected.faults(pd.DataFrame(rows)) == []
            assert len(rows) == epoch


class Expected:
    """The rows that an undisturbed run published."""

    def __init__(self, reference: LocalStore) -> None:
        frame = pd.read_parquet(reference.root / "metrics")[RESULTS]
        self._rows = {
            str(name): cast(pd.DataFrame, part.reset_index(drop=True))
            for name, part in frame.groupby("trial_id")
        }

    def faults(self, frame: pd.DataFrame) -> list[str]:
        """What is wrong with a table read in the meantime: nothing, if it is right."""
        wrong = []
        for name, part in frame.groupby("trial_id", sort=False):
            epochs, expected = part["epoch"].tolist(), self._rows.get(str(name))
            if epochs != list(range(1, len(epochs) + 1)):
                wrong.append(f"{name} has epochs {epochs}")
            elif expected is None:
                wrong.append(f"{name} was never trained")
            elif not _alike(part, expected):
                wrong.append(f"{name} has other values than an undisturbed run")
        return wrong


class Reader(threading.Thread):
    """Reads the metrics over and over, as a person's notebook would, and checks each answer."""

    def __init__(self, store: LocalStore, reference: LocalStore) -> None:
        super().__init__(daemon=True)
        self._folder, self._expected = store.root / "metrics", Expected(reference)
        self._over = threading.Event()
        self.reads = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._over.wait(0.005):  # which leaves the processor to those who are killed
            try:
                self.wrong += self._expected.faults(pd.read_parquet(self._folder))
            except Exception as error:
                self.wrong.append(repr(error))
            self.reads += 1

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _alike(part: pd.DataFrame, whole: pd.DataFrame) -> bool:
    expected = whole.iloc[: len(part)]
    found = part.reset_index(drop=True).reindex(columns=RESULTS).astype(expected.dtypes)
    return found.equals(expected)


def litter(store: LocalStore, reference: LocalStore) -> set[str]:
    """Files that an undisturbed run does not leave, but for small ones known to be harmless."""
    return {name for name in files(store) - files(reference) if not name.endswith("/attempts.json")}
