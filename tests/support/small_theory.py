"""A trained trial whose L and gradient variance were measured before and after training."""

from __future__ import annotations

from pathlib import Path

from small_trials import few_digits
from sweeps import undisturbed, write_experiment

from orchestrator.experiment import load_experiment
from orchestrator.record import wanted_rows
from results_schema import layout, tables
from results_schema.store import LocalStore
from results_schema.surface_tables import WANTED
from workers.landscape.survey import survey

LANDSCAPE = """
landscape:
  gradient_variance: {grid: 1, epochs: [0, last], split: train, subset: 8}
  curvature: {epochs: [0, last], split: train, subset: 8}
"""


def studied_store(folder: Path) -> LocalStore:
    """The experiment `small` of two trials; of the second one nothing but its training is known."""
    path = write_experiment(folder, epochs=2, seeds="0, 1")
    path.write_text(path.read_text() + LANDSCAPE)
    experiment = load_experiment(path)
    first = experiment.members()[0].spec
    with few_digits():
        store = undisturbed(path, folder / "results")
        rows = tables.to_parquet(wanted_rows(experiment), WANTED)
        store.put(layout.wanted(experiment.name), rows)
        for surface in experiment.surfaces():
            if surface.trial == first:
                assert survey(surface, store, device="cpu").status == "done"
    return store
