"""The one bridge from Tune to workers: trains the trials that a Tune trial's config lists."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ray import tune

from results_schema import layout
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.training.loop import Checkpointing, Outcome, train


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
        if not store.has(layout.launch(settings["launch"])):
            unseen = f"this node does not see the store; mount {store.root} on every node"
            _report(spec, Outcome("failed", unseen, kind="machine"))
            continue
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
        _report(spec, outcome)


def _report(spec: TrialSpec, outcome: Outcome) -> None:
    """Tells the queue how a trial went."""
    tune.report({"trial": spec.trial_id, **asdict(outcome)})
