"""The one bridge from Tune to workers: does what a Tune trial's config lists."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray import tune
from ray.tune.trainable import wrap_function

from results_schema import layout
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.attempt import Outcome
from workers.landscape.survey import survey
from workers.training.loop import Checkpointing, train

POINTS_EVERY = 1.0
"""Seconds between two reports of a surface's points: Tune takes some hundred reports a second."""


def train_item(config: dict[str, Any]) -> None:
    """Runs one item, reporting each epoch, points now and then, and how each of it went.

    Args:
        config: "token" of the item, "names" and "specs" of its trials or its surface, the latter
            as canonical JSON, and under "settings" what is the same for the whole launch: "store",
            "launch", "device", "deterministic", "checkpoint_every", "checkpoint_at".
    """
    settings = config["settings"]
    store = LocalStore(settings["store"])
    for name, text in zip(config["names"], config["specs"], strict=True):
        if not store.has(layout.launch(settings["launch"])):
            unseen = f"this node does not see the store; mount {store.root} on every node"
            outcome = Outcome("failed", unseen, kind="machine")
        else:
            outcome = _work(name, text, store, config["token"], settings)
        tune.report({"item": name, **asdict(outcome)})


class NamedItem(wrap_function(train_item)):
    """The same, named in Ray's dashboard by what it does; for processes that do one item alone."""

    def __repr__(self) -> str:
        return ", ".join(self.config["names"])


def _work(name: str, text: str, store: LocalStore, token: str, settings: dict[str, Any]) -> Outcome:
    requests = {
        layout.stop(settings["launch"]),
        layout.cancel(name),
        layout.cancel(layout.trial_of(name)),
    }

    def stop() -> bool:
        return any(map(store.has, requests))

    if layout.is_surface(name):
        return survey(
            SurfaceSpec.from_json(text),
            store,
            device=settings["device"],
            deterministic=settings["deterministic"],
            token=token,
            on_points=_now_and_then(name),
            stop=stop,
        )
    return train(
        TrialSpec.from_json(text),
        store,
        device=settings["device"],
        deterministic=settings["deterministic"],
        token=token,
        checkpointing=Checkpointing(
            every=settings["checkpoint_every"], at=frozenset(settings["checkpoint_at"])
        ),
        on_epoch=lambda row: tune.report({"item": name, "epoch": row["epoch"]}),
        stop=stop,
    )


def _now_and_then(name: str) -> Callable[[int, int], None]:
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told >= POINTS_EVERY:
            tune.report({"item": name, "points": done})
            told = time.monotonic()

    return tell
