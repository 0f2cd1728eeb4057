"""The one bridge from Tune to workers: does what a Tune trial's config lists."""

from __future__ import annotations

import math
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray import tune
from ray.tune.trainable import wrap_function

from orchestrator.execution import versions
from results_schema import layout
from results_schema.errors import CorruptData, MachineError, MissingKey
from results_schema.store import Store, attach_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.landscape.survey import survey
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing, Row
from workers.training.packing import train_pack

SPEED = ("images_per_second", "peak_memory")
"""What else of an epoch's row is reported while a trial goes on."""

REPORT_EVERY = 1.0
"""Seconds between two reports of a trial's epochs or a surface's points: each waits for the driver,
which takes some hundred a second. The store has every epoch at once."""


def train_item(config: dict[str, Any]) -> None:
    """Runs one item, reporting epochs or points as they come, and how each of it went.

    Args:
        config: "token" of the item, "names" and "specs" of its trials or its surface, the latter
            as canonical JSON, and under "settings" what is the same for the whole launch: "store",
            "launch", "device", "deterministic", "checkpoint_every", "checkpoint_at", "versions",
            "report_every", and "gpus_per_trial" and "gpus_per_surface", the share of a GPU that a
            process of either kind has.
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
    settings, untold = config["settings"], defaultdict[str, list[Row]](list)
    due = _Due(settings["report_every"])

    def on_epoch(spec: TrialSpec, row: Row) -> None:
        name = spec.trial_id
        untold[name].append(row)
        # The last one goes with the outcome that follows at once.
        if row["epoch"] < spec.recipe.epochs and due(name):
            tune.report({"item": name, **_trained(untold.pop(name))})

    def on_outcome(spec: TrialSpec, outcome: Outcome) -> None:
        _tell(spec.trial_id, outcome, **_trained(untold.pop(spec.trial_id, [])))

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
        gpu_share=settings["gpus_per_trial"],
        ask=lambda spec: _stop_reason(spec.trial_id, store, settings),
    )


def _measure(config: dict[str, Any], store: Store) -> None:
    settings, [name], [text] = config["settings"], config["names"], config["specs"]
    outcome = survey(
        SurfaceSpec.from_json(text),
        store,
        device=settings["device"],
        deterministic=settings["deterministic"],
        token=config["token"],
        gpu_share=settings["gpus_per_surface"],
        on_points=_now_and_then(name, _Due(settings["report_every"])),
        ask=lambda: _stop_reason(name, store, settings),
    )
    _tell(name, outcome)


def _tell(name: str, outcome: Outcome, **more: Any) -> None:
    tune.report({"item": name, **more, **asdict(outcome)})


def _stop_reason(name: str, store: Store, settings: dict[str, Any]) -> str:
    """Who asks a trial or surface to stop and why; empty if nobody does.

    Asked again and again: one GET a request, which in a bucket costs a tenth of a list.
    """
    asked = [(layout.stop(settings["launch"]), "its launch stops")]
    asked += [(layout.cancel(one), f"{one} is cancelled") for one in {name, layout.trial_of(name)}]
    for key, what in asked:
        try:
            said = store.hasty.get(key, most=500).decode(errors="replace")
        except MissingKey:
            continue
        except CorruptData:  # too long for a name
            said = ""
        by = "".join(filter(str.isprintable, said))
        return f"{what} ({by})" if by else what
    return ""


def _trained(rows: list[Row]) -> dict[str, Any]:
    """What is reported of epochs that were trained since the last report."""
    if not rows:
        return {}
    return {"trained": len(rows), **{key: rows[-1][key] for key in ("epoch", *SPEED)}}


class _Due:
    """Whether it is time for another report of a trial or surface; for the first it always is.

    Args:
        every: Seconds between two reports of the same.
    """

    def __init__(self, every: float) -> None:
        self._every, self._last = every, dict[str, float]()

    def __call__(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(name, -math.inf) < self._every:
            return False
        self._last[name] = now
        return True


def _now_and_then(name: str, due: _Due) -> Callable[[int, int], None]:
    """Reports the first point at once, so that all after it count as measured by this launch."""
    measured = 0

    def tell(done: int, total: int) -> None:
        nonlocal measured
        measured += 1
        if done == total or due(name):
            tune.report({"item": name, "points": done, "measured": measured})
            measured = 0

    return tell
