"""What a launch writes down of an experiment, so that all else can be read from the store alone."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.config.declared import Declared
from orchestrator.config.experiment import Experiment
from results_schema import layout, tables
from results_schema.store import Store


def record(experiment: Experiment, store: Store) -> None:
    """Writes the experiment's names for trials, surfaces and cells, and what its file says."""
    name = experiment.name
    for key, rows, schema in (
        (layout.members(name), member_rows(experiment), tables.MEMBERS),
        (layout.wanted(name), wanted_rows(experiment), tables.WANTED),
        (layout.cells(name), cell_rows(experiment), tables.CELLS),
    ):
        store.put(key, tables.to_parquet(rows, schema))
    store.put(layout.experiment(name), Declared.of(experiment).to_json())


def member_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Rows of `tables.MEMBERS`."""
    return [
        {
            "experiment": experiment.name,
            "profile": experiment.profile,
            "base": member.base,
            "variant": member.variant,
            "index": member.index,
            "named_dataset": member.named_dataset,
            "dataset": member.spec.dataset,
            "learning_rate": member.spec.learning_rate,
            "seed": member.spec.seed,
            **member.spec.genotype.shape,
            "trial_id": member.spec.trial_id,
        }
        for member in experiment.members()
    ]


def wanted_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Rows of `tables.WANTED`."""
    return [
        {
            "experiment": experiment.name,
            "surface_id": surface.surface_id,
            "trial_id": surface.trial.trial_id,
            "kind": surface.kind,
            "points": surface.points,
        }
        for surface in experiment.surfaces()
    ]


def cell_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Rows of `tables.CELLS`."""
    return [
        {
            "experiment": experiment.name,
            "base": base.name,
            "variant": cell.name,
            "index": cell.index,
            **cell.genotype.shape,
            "genotype": json.dumps(cell.genotype.to_json()),
        }
        for base in experiment.grid.genotype
        for cell in experiment.grid.cells(base)
    ]
