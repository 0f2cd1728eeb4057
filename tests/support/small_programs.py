"""Trials of programs that end within a tenth of a second."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pandas as pd
from clocks import Clock

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.execution.cohorts import Cohorts
from orchestrator.execution.queue import Queue
from orchestrator.planning.plan import Plan, make_plan
from results_schema import layout
from results_schema.program import Metric, ProgramSpec, widen
from results_schema.results import Results
from results_schema.store import Failure, LocalStore, open_store
from workers.program.source import Source, find
from workers.program.training import train
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing

METRICS = (Metric("score", goal="max", unit="1"), Metric("steps", "whole"))

WALK = """
import os, random, time

def train(trial):
    random.random()
    state = trial.restore() or {"x": 0.0}
    for epoch in range(trial.epoch + 1, trial.params["epochs"] + 1):
        if trial.should_stop():
            return
        time.sleep(float(os.environ.get("WALK_PACE", 0)))
        state["x"] += random.random() * trial.params["size"]
        trial.report(epoch, score=state["x"], steps=epoch * 10)
        trial.commit(state)
"""
"""A random walk, which a draw too many or too few would change."""


def walk(seed: int = 0) -> ProgramSpec:
    return ProgramSpec("walk.py:train", 1, {"epochs": 6, "size": 1.0}, seed)


def documented(folder: Path) -> Path:
    """The experiment that docs/programs.md shows, with its program beside it."""
    text = (Path(__file__).parents[2] / "docs" / "programs.md").read_text("utf-8")
    folder.mkdir(exist_ok=True)
    for name, language in (("digits_mlp.py", "python"), ("digits.yaml", "yaml")):
        [block] = re.findall(rf"```{language}\n(title:.*?|import.*?)```", text, re.DOTALL)
        (folder / name).write_text(block)
    return folder / "digits.yaml"


def write(folder: Path, text: str = WALK) -> Source:
    """The source of a program in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "walk.py").write_text(text)
    return find("walk.py:train", folder)


def opened(folder: Path) -> LocalStore:
    """A store that has the programs' metrics."""
    store = open_store(folder)
    widen(store, METRICS)
    return store


def run(spec: ProgramSpec, store: LocalStore, source: Source, **settings: Any) -> Outcome:
    settings = {"checkpointing": Checkpointing(every=0)} | settings
    return train(spec, store, source, device="cpu", **settings)


YAML = """\
title: Random walks
program: walk.py:train
params: {epochs: 8}
grid: {params.size: [1.0, 1.1, 1.2], seed: [0, 1, 2]}
metrics: {score: {goal: max, unit: "1"}, steps: {type: whole}}
STOP
"""
HALVING = "{rule: halving, rungs: [2, 5], keep: 0.5}"
MEDIAN = "{rule: median, after: 2}"


class Killed(BaseException):
    """A worker's end without an outcome."""


def drive(store: LocalStore, experiment: Path, draws: random.Random | None = None) -> Queue:
    """Runs what remains, one item at a time, as a launch does; with `draws` workers may die."""
    plan, source = make_plan([load_experiment(experiment)], store), write(experiment.parent)
    queue, clock = made_queue(plan, store)
    while not queue.over:
        item = queue.offer()
        if item is None:
            clock.now += 1
            continue
        [spec], [until] = item.pack, item.until
        assert isinstance(spec, ProgramSpec)
        try:
            outcome = worked(spec, store, source, item.token, until, draws)
        except Killed:
            queue.close(item.token, Failure("killed", "by a test"))
            continue
        queue.settle(item.token, spec.trial_id, outcome.status, outcome.reason, outcome.kind)
        queue.close(item.token)
        if draws and draws.random() < 0.2:  # the driver dies
            break
    return queue


def made_queue(plan: Plan, store: LocalStore) -> tuple[Queue, Clock]:
    """The queue of a launch of a plan."""
    clock = Clock()
    queue = Queue(store, clock)
    queue.cohorts = Cohorts(store, plan.cohorts, plan.experiments_of, clock)
    queue.add(plan.remaining)
    return queue, clock


def worked(
    spec: ProgramSpec,
    store: LocalStore,
    source: Source,
    token: str,
    until: int | None,
    draws: random.Random | None,
) -> Outcome:
    """A worker's attempt; with `draws` it may die at an epoch."""
    dies = draws.randint(1, 12) if draws else 0

    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == dies:
            raise Killed

    often = Checkpointing(every=draws.choice([0, 1e9]) if draws else 1e9)
    settings: Any = {"token": token, "until": until, "on_epoch": on_epoch}
    return run(spec, store, source, checkpointing=often, **settings)


def made(folder: Path, stop: str = "") -> tuple[Path, LocalStore]:
    """An experiment of nine walks, with a rule of early stopping if one is given, and its store."""
    folder.mkdir()
    write(folder)
    (folder / "walk.yaml").write_text(YAML.replace("STOP", f"stop: {stop}" if stop else ""))
    store = opened(folder / "results")
    record(load_experiment(folder / "walk.yaml"), store)
    return folder / "walk.yaml", store


def results_of(store: LocalStore) -> list[Any]:
    """What must not depend on any kill: rows, endings and decisions."""
    metrics: Any = pd.read_parquet(store.root / "metrics")
    trials: Any = Results(store).trials("walk")
    decisions = [json.loads(store.get(key)) for key in store.list(layout.DECISIONS)]
    return [
        metrics[["trial_id", "epoch", "score", "steps"]].to_dict("records"),
        trials[["trial_id", "status", "epochs", "best_score"]].fillna(0).to_dict("records"),
        [{**one, "decided_at": ""} for one in decisions],
    ]
