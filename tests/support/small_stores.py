"""A store with a small experiment in it, and ways to bring its trials into every other state."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from small_trials import few_digits
from sweeps import undisturbed, write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import member_rows, record
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec

EPOCHS = 2


@dataclass(frozen=True)
class Trained:
    """An experiment and the store that it was trained into.

    Attributes:
        experiment: Its file.
        store: The store.
        ids: Its trials, in order.
    """

    experiment: Path
    store: LocalStore
    ids: list[str]

    def copied(self, folder: Path) -> Trained:
        """The same in another folder."""
        folder.mkdir(exist_ok=True)
        experiment = Path(shutil.copy(self.experiment, folder))
        root = shutil.copytree(self.store.root, folder / "results")
        return Trained(experiment, LocalStore(root), self.ids)

    @property
    def specs(self) -> list[TrialSpec]:
        """The trials themselves."""
        return [member.spec for member in load_experiment(self.experiment).members()]

    def want(self, landscape: str) -> None:
        """Gives the experiment surfaces, and records that it wants them."""
        self.experiment.write_text(self.experiment.read_text() + landscape)
        record(load_experiment(self.experiment), self.store)

    def diverge(self, trial_id: str) -> None:
        """Makes an ended trial a diverged one."""
        key = layout.trial(trial_id)
        [row] = tables.from_parquet(self.store.get(key), tables.TRIALS, key).to_pylist()
        data = tables.to_parquet([row | {"status": "diverged"}], tables.TRIALS)
        self.store.put(key, data)

    def cut_off(self, trial_id: str, rows: int = EPOCHS) -> None:
        """Makes an ended trial one whose worker left after some rows."""
        self.store.delete(layout.trial(trial_id))
        key = layout.metrics(trial_id)
        table = tables.from_parquet(self.store.get(key), tables.METRICS, key).slice(0, rows)
        self.store.put(key, tables.to_parquet(table.to_pylist(), tables.METRICS))
        noted = {"attempts": 1, "started_at": "2020-04-26T12:00:00+00:00", "epochs": EPOCHS}
        self.store.put(layout.attempts(trial_id), json.dumps(noted).encode())

    def fail(self, trial_id: str, message: str = "out of memory") -> None:
        """Makes an ended trial one that failed after a row."""
        self.cut_off(trial_id, rows=1)
        content = {"kind": "memory", "message": message, "at": "2020-04-26T12:00:00+00:00"}
        self.store.put(layout.failure(trial_id), json.dumps(content).encode())

    def held_elsewhere(self, trial_id: str) -> Path:
        """Makes another machine hold the trial; returns its heartbeat's file."""
        lease = self.store.leases.take(trial_id)
        assert lease is not None
        beat = lease.folder / "heartbeat"
        held = json.loads(beat.read_text()) | {"machine": "another", "host": "node7"}
        beat.write_text(json.dumps(held))
        return beat


def trained_store(folder: Path) -> Trained:
    """The experiment, trained on a few digits."""
    experiment = write_experiment(folder, epochs=EPOCHS)
    with few_digits():
        store = undisturbed(experiment, folder / "results")
    loaded = load_experiment(experiment)
    rows = tables.to_parquet(member_rows(loaded), tables.MEMBERS)
    store.put(layout.members(loaded.name), rows)
    return Trained(experiment, store, [member.spec.trial_id for member in loaded.members()])


def contents(store: LocalStore) -> dict[str, bytes]:
    """Every file of the store with its bytes."""
    files = (path for path in store.root.rglob("*") if path.is_file())
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in files}


def empty_store(folder: Path) -> LocalStore:
    """A store into which nothing was launched."""
    return open_store(folder / "empty")


def renamed_members(store: LocalStore, experiment: str, trial_ids: list[str], like: str) -> None:
    """Writes members of another experiment, which shows these trials."""
    key = layout.members(like)
    first: pa.Table = tables.from_parquet(store.get(key), tables.MEMBERS, key).slice(0, 1)
    [row] = first.to_pylist()
    rows = [row | {"experiment": experiment, "trial_id": trial_id} for trial_id in trial_ids]
    store.put(layout.members(experiment), tables.to_parquet(rows, tables.MEMBERS))


def shown_counts(output: str, name: str = "small", of: str = "trials") -> dict[str, int]:
    """The counts by state in what `status` prints of an experiment, without those of none."""
    lines = output.splitlines()
    head = next(line for line in lines if line.lstrip().startswith("experiment"))
    row = next(
        line for line in lines if line.split(" " * 2)[0].strip() == name and f" {of} " in line
    )
    columns, cells = (re.split(r"\s{2,}", line.strip()) for line in (head, row))
    pairs = dict(zip(columns, cells, strict=True))
    return {k: int(n) for k, n in pairs.items() if n.isdigit() and k not in ("all", "left")}
