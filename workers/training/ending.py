"""The row of an ended trial: what it was, how it ended, and where it was trained."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from results_schema import layout, tables
from results_schema.errors import MissingKey
from results_schema.store import Store
from results_schema.tables import SURFACES
from results_schema.trial import TrialSpec

LATE = 10
"""Epochs that the late test accuracy averages over."""


def ended_status(store: Store, item: str) -> str | None:
    """The status of an ended trial or finished surface, None if it is neither.

    Raises:
        CorruptData: Its row can't be read.
    """
    surface = layout.is_surface(item)
    key = layout.surface(item) if surface else layout.trial(item)
    try:
        data = store.get(key)
    except MissingKey:
        return None
    schema = SURFACES if surface else tables.TRIALS
    return tables.from_parquet(data, schema, key)["status"][0].as_py()


def trial_row(
    spec: TrialSpec,
    rows: list[dict[str, Any]],
    provenance: dict[str, Any],
    *,
    parameters: int,
    status: str,
    reason: str,
) -> dict[str, Any]:
    """A row of `tables.TRIALS`.

    Args:
        spec: The trial.
        rows: Its metrics, one per epoch, at least one.
        provenance: The columns that `provenance.gather` and `provenance.count_attempt` give, and
            "form", the engine's.
        parameters: Of the network.
        status: "done" or "diverged".
        reason: Why it ended.
    """
    last = rows[-1]
    accuracies = [row["test_accuracy"] for row in rows]
    late = accuracies[-LATE:]
    return {
        "trial_id": spec.trial_id,
        "status": status,
        "dataset": spec.dataset,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "precision": spec.precision,
        "recipe_version": spec.recipe.version,
        "width": spec.genotype.width,
        "depth": spec.genotype.depth,
        "parameters": parameters,
        "epochs": len(rows),
        "train_loss": last["train_loss"],
        "test_loss": last["test_loss"],
        "test_accuracy": last["test_accuracy"],
        "best_test_accuracy": max(accuracies),
        "late_test_accuracy": sum(late) / len(late),
        "spec": spec.to_json(),
        "exit_reason": reason,
        "ended_at": datetime.now(UTC),
        "train_seconds": sum(row["seconds"] for row in rows),
        **provenance,
    }
