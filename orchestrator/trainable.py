"""The one bridge from Tune to workers: does what a Tune trial's config lists."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray import tune
from ray.tune.trainable import wrap_function

from orchestrator import versions
from results_schema import layout
from results_schema.errors import MachineError
from results_schema.store import Store, attach_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.attempt import Outcome
from workers.landscape.survey import survey
from workers.training.checkpoint import Row
from workers.training.history import Checkpointing
from workers.training.pack import train_pack

SPEED = ("images_per_second", "peak_memory")
"""What else of an epoch's row is reported while a trial goes on."""

POINTS_EVERY = 1.0
"""Seconds between two reports of a surface's points: Tune takes some hundred reports a second."""


def train_item(config: dict[str, Any]) -> None:
    """Runs one item, reporting each epoch, points now and then, and how each of it went.

    Args:
        config: "token" of the item, "names" and "specs" of its trials or its surface, the latter
            as canonical JSON, and under "settings" what is the same for the whole launch: "store",
            "launch", "device", "deterministic", "checkpoint_every", "checkpoint_at", "versions".
    """
    settings = config["settings"]
    if unfit := versions.refusal(settings["versions"]) or _blind(settings):
        for name in config["names"]:
            _tell(name, Outcome("failed", unfit, kind="unfit"))
        return
    store = attach_store(settings["store"])
    if layout.is_surface(config["names"][0]):
        _measure(config, store)
    else:
        _train(config, store)


class NamedItem(wrap_function(train_item)):
    """The same, named in Ray's dashboard by what it does; for processes that do one item alone."""

    def __repr__(self) -> str:
        return ", ".join(self.config["names"])


def _blind(settings: dict[str, Any]) -> str:
    """Why this worker can't use the store, empty if it can."""
    store = attach_store(settings["store"])
    if store.has(layout.launch(settings["launch"])):
        return ""
    return str(
        MachineError(
            "it does not see the store",
            where=f"node {socket.gethostname()}",
            fix=f"every node must reach {store.location}",
        )
    )


def _train(config: dict[str, Any], store: Store) -> None:
    """Trains a pack; Tune takes reports from the thread that it has started alone."""
    settings, last = config["settings"], dict[str, int]()

    def on_epoch(spec: TrialSpec, row: Row) -> None:
        # The last one goes with the outcome that follows at once: each report waits for the driver.
        if row["epoch"] == spec.recipe.epochs:
            last[spec.trial_id] = row["epoch"]
        else:
            told = {key: row[key] for key in ("epoch", *SPEED)}
            tune.report({"item": spec.trial_id, **told})

    def on_outcome(spec: TrialSpec, outcome: Outcome) -> None:
        name = spec.trial_id
        _tell(name, outcome, **({"epoch": last[name]} if name in last else {}))

    train_pack(
        [TrialSpec.from_json(text) for text in config["specs"]],
        store,
        device=settings["device"],
        deterministic=settings["deterministic"],
        token=config["token"],
        checkpointing=Checkpointing(
            every=settings["checkpoint_every"], at=frozenset(settings["checkpoint_at"])
        ),
        on_epoch=on_epoch,
        on_outcome=on_outcome,
        stop=lambda spec: _asked_to_stop(spec.trial_id, store, settings),
    )


def _measure(config: dict[str, Any], store: Store) -> None:
    settings, [name], [text] = config["settings"], config["names"], config["specs"]
    outcome = survey(
        SurfaceSpec.from_json(text),
        store,
        device=settings["device"],
        deterministic=settings["deterministic"],
        token=config["token"],
        on_points=_now_and_then(name),
        stop=lambda: _asked_to_stop(name, store, settings),
    )
    _tell(name, outcome)


def _tell(name: str, outcome: Outcome, **more: Any) -> None:
    tune.report({"item": name, **more, **asdict(outcome)})


def _asked_to_stop(name: str, store: Store, settings: dict[str, Any]) -> bool:
    names = {name, layout.trial_of(name)}
    return any(map(store.has, [layout.stop(settings["launch"]), *map(layout.cancel, names)]))


def _now_and_then(name: str) -> Callable[[int, int], None]:
    """Reports the first point at once, so that all after it count as measured by this launch."""
    told, measured = -math.inf, 0

    def tell(done: int, total: int) -> None:
        nonlocal told, measured
        measured += 1
        if done == total or time.monotonic() - told >= POINTS_EVERY:
            tune.report({"item": name, "points": done, "measured": measured})
            told, measured = time.monotonic(), 0

    return tell
