"""Trials of programs that end within a tenth of a second."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from results_schema.program import Metric, ProgramSpec, widen
from results_schema.store import LocalStore, open_store
from workers.program.source import Source, find
from workers.program.training import train
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing

METRICS = (Metric("score", goal="max", unit="1"), Metric("steps", "whole"))

WALK = """
import random

def train(trial):
    random.random()
    state = trial.restore() or {"x": 0.0}
    for epoch in range(trial.epoch + 1, trial.params["epochs"] + 1):
        if trial.should_stop():
            return
        state["x"] += random.random() * trial.params["size"]
        trial.report(epoch, score=state["x"], steps=epoch * 10)
        trial.commit(state)
"""
"""A random walk, which a draw too many or too few would change."""


def walk(seed: int = 0, epochs: int = 6, size: float = 1.0) -> ProgramSpec:
    return ProgramSpec("walk.py:train", 1, {"epochs": epochs, "size": size}, seed)


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
