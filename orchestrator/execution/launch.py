"""Runs what remains of a plan through Ray Tune, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console

from orchestrator.execution.cluster import (
    Demand,
    Joined,
    cluster,
    count_slots,
    has_gpus,
    require_slots,
)
from orchestrator.execution.interrupt import Supervision, ask_to_stop
from orchestrator.execution.packing import measure_pack_size
from orchestrator.execution.preflight import Options, choose_device
from orchestrator.execution.progress import Collector, Exporter, Progress
from orchestrator.execution.queue import Ending, Queue
from orchestrator.execution.trainable import own_versions
from orchestrator.execution.tune import AHEAD, QueueSearcher, run_tune
from orchestrator.planning.plan import Plan, work_id
from results_schema import layout
from results_schema.errors import StoreError
from results_schema.lease import Holder
from results_schema.store import Store

RENEWAL = 3600.0
"""Seconds between two writes of a launch's file: `gc` takes one a day old for a dead launch's."""


@dataclass(frozen=True)
class Report:
    """What came of a launch.

    Attributes:
        endings: How each trial or surface that left the queue did.
        reasons: Why each failed one failed.
        interrupted: Whether a signal stopped it.
        unfit: Why the store could not be written in the end, or a node was unfit; or empty.
    """

    endings: dict[str, Ending]
    reasons: dict[str, str]
    interrupted: bool
    unfit: str


def run(plan: Plan, store: Store, options: Options, console: Console) -> Report:
    """Run what remains of a plan; return when all has ended, or a signal has stopped it.

    Raises:
        MachineError: Ray can't be reached, has no GPU though one is meant, or is too small for
            even one trial or surface.
    """
    launch = uuid.uuid4().hex[:12]
    queue = Queue(store, surfaces_last=options.landscape == "last", pack=options.pack or 1)
    queue.notify = partial(console.print, style="yellow", markup=False, highlight=False)
    queue.stop_workers = partial(ask_to_stop, store, launch, "a node is unfit")
    queue.add(plan.remaining)
    queue.add_surfaces(plan.unmeasured)
    queue.space.needed = max(plan.checkpoint_sizes, default=queue.space.needed)
    ray_cluster = cluster(
        options.address,
        console,
        allow_open=options.allow_open_cluster,
        ship_code=options.ship_code,
    )
    try:
        with present(store, launch), ray_cluster as joined:
            # Only now it is known what a cluster has; on this machine `preflight` has chosen.
            if options.device is None:
                device = choose_device(plan, options, has_gpu=has_gpus())
                options = replace(options, device=device)
            # Inside, because Ray puts a SIGTERM handler of its own in force when it starts.
            with Supervision(queue, launch, console, joined.lost) as supervision:
                _run_on(joined, plan, options, supervision)
    finally:
        queue.close_all()  # only now is every worker gone
    return Report(
        queue.endings, queue.reasons, supervision.interrupted, queue.unfit or queue.space.full
    )


def _run_on(joined: Joined, plan: Plan, options: Options, supervision: Supervision) -> None:
    """Run the queue's work on a cluster, under supervision."""
    queue, launch, console = supervision.queue, supervision.launch, supervision.console
    trial_takes = item_takes(options, surface=False)
    surface_takes = item_takes(options, surface=True)
    takes = [trial_takes] * bool(plan.remaining) + [surface_takes] * bool(plan.unmeasured)
    fitting = [require_slots(one) for one in takes]
    # With both kinds, the searcher may offer as many items as the smaller kind has slots: Ray
    # places what it can, and a larger item waits.
    smallest = min(takes, key=lambda one: one.get("GPU", 0))
    automatic = options.gpus_per_trial == "auto" and options.pack is None
    if automatic and options.device == "cuda" and plan.remaining:
        # Before Tune starts: nothing else may run on the GPU that is measured.
        queue.pack = supervision.run(
            lambda: measure_pack_size(
                plan.remaining,
                count_slots(trial_takes),
                options.deterministic,
                lambda: queue.stopping,
                console,
            )
        )
    work = {work_id(one): one for one in plan.work}
    # Tune keeps this bound while nodes join; `QueueSearcher` bounds what is offered.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(work) + AHEAD)
    ended = len(plan.trials) - len(plan.remaining), len(plan.wanted) - len(plan.unmeasured)
    settings = {
        "store": queue.store.location,
        "launch": launch,
        "device": options.device,
        "deterministic": options.deterministic,
        "checkpoint_every": options.checkpoint_every,
        "checkpoint_at": sorted({*options.checkpoint_at, *plan.surface_epochs}),
        "versions": own_versions(),
        "report_every": options.report_every,
        "gpus_per_trial": options.share,
        "gpus_per_surface": options.gpus_per_surface,
    }
    progress = Progress(queue, work, ended=ended, slots=max(fitting), console=console)
    collector = Collector(queue, work, progress)
    demand = Demand(partial(remaining_demand, plan, queue, options))

    def count() -> None:
        queue.slots, progress.slots = count_slots(trial_takes), count_slots(smallest)
        if options.address:  # a Ray of this machine has no autoscaler
            demand.refresh()

    with progress, Exporter(collector, launch, plan.members) as exporter, demand:
        searcher = QueueSearcher(queue, settings, progress, exporter, count)
        supervision.run(
            lambda: run_tune(
                searcher,
                trial_takes,
                surface_takes,
                supervision.insisted,
                joined.folder / "tune",
                process_per_item=options.device == "cuda",
            )
        )


def item_takes(options: Options, *, surface: bool) -> dict[str, float]:
    """Return the resources that Ray reserves for an item, a surface or else a pack of trials."""
    if options.device == "cpu":
        return {"CPU": float(options.pack or 1)}
    return {"CPU": 1.0, "GPU": options.gpus_per_surface if surface else options.share}


def remaining_demand(
    plan: Plan, queue: Queue, options: Options
) -> list[tuple[Mapping[str, float], int]]:
    """Return what items take that could run now if all found a place, and how many they are."""
    trials = {spec.trial_id for spec in plan.remaining} - queue.endings.keys()
    # A surface can't be measured before its trial has left the queue.
    surfaces = sum(
        one.surface_id not in queue.endings and one.trial.trial_id not in trials
        for one in plan.unmeasured
    )
    packs = -(-len(trials) // queue.pack)
    return [
        (item_takes(options, surface=False), packs),
        (item_takes(options, surface=True), surfaces),
    ]


@contextlib.contextmanager
def present(store: Store, launch: str) -> Iterator[None]:
    """Keep the launch's file in the store inside this context.

    By it workers know that they see the store, and `gc` that the launch lives.

    Raises:
        StoreError: It can't be written at first.
    """
    key, content = layout.launch(launch), Holder.here(launch).to_json().encode()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWAL):
            with contextlib.suppress(StoreError):
                store.put(key, content)

    store.put(key, content)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(StoreError):
            store.delete(key)
