"""Training a program's trial: run the function, which reports epochs and commits states.

It is an attempt like that at a trial of cells (`workers.training.trial.Training`): the same lease,
log, checkpoints, rows and ending. What the function reports is published at once, and replaced on
resuming unless a later commit has it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from results_schema import layout, tables
from results_schema.errors import NasSweepError, ProgramError, SpecError, suggest
from results_schema.program import MOST_EPOCHS, Metric, ProgramSpec, metrics_of, store_schema
from results_schema.store import Store
from workers.program import state as states
from workers.program.source import Source
from workers.training import device as devices
from workers.training.attempt import Outcome, Status, Stopped, classify
from workers.training.checkpoint import Checkpoint, Row
from workers.training.trial import Training


def train(spec: ProgramSpec, store: Store, source: Source, **options: Any) -> Outcome:
    """Run a program's trial to its end, from its newest sound checkpoint if it has one.

    The store's tables must have the program's metrics (`results_schema.program.widen`). `source` is
    the program's on this machine; options are fields of `workers.training.trial.Training`.
    """
    return _ProgramTraining(spec, store, source=source, **options).run()


@dataclass(kw_only=True)
class _ProgramTraining(Training[ProgramSpec]):
    """An attempt at a program's trial."""

    source: Source

    # Read once: another launch may widen the table meanwhile.
    @cached_property
    def schema(self) -> pa.Schema:
        return tables.for_programs(store_schema(self.store, layout.METRICS))

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        return metrics_of(self.schema)

    def train(self, device: torch.device, facts: Row) -> tuple[Status, str]:
        trial = Trial(self, device)
        self.resume(trial._keep, MOST_EPOCHS)
        self.log.add(f"runs {self.source.program}, source {self.source.digest}")
        self.log.flush()
        if self.waits:
            return "waiting", f"after epoch {self.history.committed}"
        self._note_source()
        try:
            with self.source.imported() as function:
                states.seed_generators(self.spec.seed)
                function(trial)
        except Stopped:
            trial._stopped = True
        except (Exception, SystemExit) as error:
            # An error that another attempt may not meet keeps its kind.
            if isinstance(error, NasSweepError) or classify(error).kind != "error":
                raise
            what = f"{type(error).__name__}: {error}"
            raise ProgramError(what, where=self.source.line_of(error)) from error
        finally:
            # Of what a program may have left behind, it alone would change the next trial.
            torch.set_default_dtype(torch.float32)
        return self._finish(trial, facts)

    def _note_source(self) -> None:
        """Let plans know which sources have run trials of this version."""
        spec, source = self.spec, self.source
        key = layout.source(spec.program, spec.version, source.digest)
        if not self.store.has(key):
            content = {"program": spec.program, "version": spec.version, "files": source.files}
            self.store.put(key, json.dumps(content, indent=1).encode(), lease=self.lease)

    def _finish(self, trial: Trial, facts: Row) -> tuple[Status, str]:
        self.stopping.check_lease()
        trial._write()
        rows = self.history.rows
        if trial._stopped:
            status = "waiting" if self.waits else "stopped"
            return status, f"after epoch {self.history.committed}"
        if not rows:
            fix = "call trial.report(epoch, metric=value) after each epoch, from 1"
            raise SpecError(
                "the program has reported no epoch", where=self.source.files[0], fix=fix
            )
        schema = tables.for_programs(store_schema(self.store, layout.TRIALS))
        row = dict.fromkeys(schema.names) | facts | self._numbers(rows)
        self.end(row, schema)
        status: Any = row["status"]
        return status, f"reported {len(rows)} epochs"

    def _numbers(self, rows: list[Row]) -> Row:
        numbers: dict[str, Any] = {}
        for name, metric in self.metrics.items():
            numbers[name] = rows[-1][name]
            if metric.goal:
                found = [v for row in rows if (v := row[name]) is not None and math.isfinite(v)]
                best = min if metric.goal == "min" else max
                numbers[f"best_{name}"] = best(found, default=None)
        aims = [numbers[name] for name, metric in self.metrics.items() if metric.goal]
        diverged = any(value is not None and not math.isfinite(value) for value in aims)
        return numbers | {
            "trial_id": self.spec.trial_id,
            "status": "diverged" if diverged else "done",
            "seed": self.spec.seed,
            "epochs": len(rows),
            "spec": self.spec.to_json(),
            "exit_reason": f"reported {len(rows)} epochs, source {self.source.digest}",
            "ended_at": datetime.now(UTC),
            "train_seconds": sum(row["seconds"] for row in rows),
        }


class Trial:
    """What a program's function is given: its parameters, and what keeps its results.

    Attributes:
        params: The trial's parameters by name.
        seed: Seed of the trial; the generators of torch, numpy and Python are seeded with it.
        device: Where to train.
        epoch: Last epoch of the restored state: the next report is of the one after it.
    """

    def __init__(self, training: _ProgramTraining, device: torch.device) -> None:
        self.params: dict[str, Any] = dict(training.spec.params)
        self.seed, self.device, self.epoch = training.spec.seed, device, 0
        self._training, self._metrics = training, training.metrics
        self._restored: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._pending: tuple[int, dict[str, Tensor]] | None = None
        self._stopped, self._clock = False, time.perf_counter()

    def restore(self) -> dict[str, Any] | None:
        """Return the last committed state, or None at the trial's first attempt.

        Tensors are on the CPU. The generators of torch, numpy and Python return to where they were
        at that commit, so call it last before the first epoch.
        """
        self._clock = time.perf_counter()
        if self._restored is None:
            return None
        state, generators = self._restored
        states.restore_generators(generators, self.device)
        return state

    def report(self, epoch: int, **metrics: float) -> None:
        """Publish the metrics of an epoch; epochs count from 1, and each is reported once.

        Raises:
            SpecError: The epoch is not the next one, or a metric is not declared or no number.
        """
        training, rows = self._training, self._training.history.rows
        training.stopping.check_lease()
        if type(epoch) is not int or epoch != len(rows) + 1:
            what = f"epoch {epoch!r} is reported, and epoch {len(rows) + 1} comes next"
            fix = "number epochs from 1; after a restart begin with trial.epoch + 1"
            raise SpecError(what, where=training.source.program, fix=fix)
        if epoch > MOST_EPOCHS:
            raise SpecError(f"more than {MOST_EPOCHS:,} epochs are reported")
        given = {name: self._checked(name, value) for name, value in metrics.items()}
        if not given:
            raise SpecError("no metric is reported", fix=f"give {', '.join(self._metrics)}")
        now = time.perf_counter()
        row = dict.fromkeys(training.schema.names) | {
            "trial_id": training.spec.trial_id,
            "epoch": epoch,
            "seconds": now - self._clock,
            "peak_memory": devices.peak_memory(self.device),
            "finished_at": datetime.now(UTC),
        }
        self._clock = now
        shown = ", ".join(f"{name} {value:.6g}" for name, value in given.items())
        training.add(row | given, shown)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Keep a state, with the epochs reported so far, to resume from after a crash.

        Call it after `report`. It is written if `--checkpoint-every` has passed since the last
        one, when the trial is stopped, and at its end. After a request to stop it does not return.

        Raises:
            SpecError: The state holds something else than tensors and plain values.
        """
        training = self._training
        history, epoch = training.history, len(training.history.rows)
        if epoch > history.committed:
            self._pending = epoch, states.encode(state, self.device)
            if history.due or (training.until is not None and epoch >= training.until):
                self._write()
        # An epoch that was reported before it waits for no decision of an earlier rung.
        if training.waits:
            raise Stopped
        training.stopping.check()

    def should_stop(self) -> bool:
        """Return whether someone asked the trial to stop: commit and return soon.

        Once it has returned True the trial will be continued by another launch.
        """
        self._training.stopping.check_lease()
        self._stopped = self._stopped or self._training.stopping.request.made
        return self._stopped

    def log(self, text: str) -> None:
        """Add a line to the trial's log (`nas-sweep logs`)."""
        for line in str(text).splitlines():
            self._training.log.add(line)
        self._training.log.try_flush()

    def _keep(self, found: Checkpoint) -> None:
        where = layout.tensors(self._training.spec.trial_id, found.epoch)
        self._restored, self.epoch = states.decode(found.tensors, where), found.epoch

    def _write(self) -> None:
        if self._pending is not None:
            epoch, tensors = self._pending
            self._training.history.commit(lambda: tensors, epoch)
            self._pending = None

    def _checked(self, name: str, value: Any) -> float | int:
        metric = self._metrics.get(name)
        if metric is None:
            fix = suggest(name, self._metrics, otherwise="declare it under metrics")
            raise SpecError(f"the metric {name!r} is not declared", fix=fix)
        if isinstance(value, Tensor) or not isinstance(value, int | float):
            value = value.item() if hasattr(value, "item") else value
        if metric.type == "whole" and type(value) is float and value.is_integer():
            value = int(value)
        kinds = (int, float) if metric.type == "real" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise SpecError(f"the metric {name} is {value!r}", fix=f"report a {metric.type} number")
        return float(value) if metric.type == "real" else value
