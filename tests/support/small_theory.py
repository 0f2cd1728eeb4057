"""Trials whose L and gradient variance are known: a store with a trained one, tables made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from small_surfaces import few_products
from small_trials import few_digits, small_spec
from sweeps import undisturbed, write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import wanted_rows
from results_schema import layout, tables
from results_schema.store import LocalStore
from results_schema.tables import WANTED
from workers.landscape.survey import survey

LANDSCAPE = """
landscape:
  gradient_variance: {grid: 1, epochs: [0, last], split: train, subset: 8}
  curvature: {epochs: [0, last], split: train, subset: 8}
"""


def measured_frames(members: Sequence[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Tables of trials whose L and gradient variance were made up: 10 and 4 of the first member.

    Each further member has twice as much of both.
    """
    spec = small_spec()
    trials = [one | {"status": "done", "spec": spec.to_json()} for one in members]
    epochs = [
        one | {"epoch": epoch, "rate": 0.1, "grad_norm": 2.0} for one in members for epoch in (1, 2)
    ]
    surfaces = []
    for number, one in enumerate(members):
        for kind, epoch in (("curvature", 2), ("gradient_variance", 0)):
            found = {"top_eigenvalue": 10.0 * 2**number, "bottom_eigenvalue": -1.0}
            if kind == "gradient_variance":
                found = {"variance": 4.0 * 2**number, "loss": 2.3}
            name = {"surface_id": f"{one['trial_id']}@e{epoch}-{kind}", "kind": kind}
            surfaces.append(
                one | name | found | {"epoch": epoch, "status": "done", "split": "train"}
            )
    points = [
        {"surface_id": one["surface_id"], "alpha": 0.0, "beta": 0.0, "gradient_norm": 1.5}
        for one in surfaces
    ]
    return {
        "trials": pd.DataFrame(trials),
        "metrics": pd.DataFrame(epochs),
        "surfaces": pd.DataFrame(surfaces),
        "points": pd.DataFrame(points),
    }


def studied_store(folder: Path) -> LocalStore:
    """The experiment `small` of two trials; of the second one nothing but its training is known."""
    path = write_experiment(folder, epochs=2, seeds="0, 1")
    with few_digits(), few_products():
        store = undisturbed(path, folder / "results")  # trained alone, before surfaces are named
        path.write_text(path.read_text() + LANDSCAPE)
        experiment = load_experiment(path)
        first = experiment.members()[0].spec
        rows = tables.to_parquet(wanted_rows(experiment), WANTED)
        store.put(layout.wanted(experiment.name), rows)
        for surface in experiment.surfaces():
            if surface.trial == first:
                assert survey(surface, store, device="cpu").status == "done"
    return store
