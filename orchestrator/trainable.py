"""The one bridge from Tune to workers: trains the trials that a Tune trial's config lists."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ray import tune

from results_schema import layout
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.training.loop import Checkpointing, train


def train_item(config: dict[str, Any]) -> None:
    """Runs one item, reporting each epoch and how each of its trials went.

    Args:
        config: "token" of the item, "specs" as canonical JSON, and under "settings" what is the
            same for the whole launch: "store", "launch", "device", "checkpoint_every",
            "checkpoint_at".
    """
    settings = config["settings"]
    store = LocalStore(settings["store"])
    for text in config["specs"]:
        spec = TrialSpec.from_json(text)
        requests = layout.stop(settings["launch"]), layout.cancel(spec.trial_id)
        outcome = train(
            spec,
            store,
            device=settings["device"],
            token=config["token"],
            checkpointing=Checkpointing(
                every=settings["checkpoint_every"], at=frozenset(settings["checkpoint_at"])
            ),
            on_epoch=lambda row, spec=spec: tune.report(
                {"trial": spec.trial_id, "epoch": row["epoch"]}
            ),
            stop=lambda requests=requests: any(map(store.has, requests)),
        )
        tune.report({"trial": spec.trial_id, **asdict(outcome)})
