"""Runs what a plan owes through Ray Tune, on this machine or on a cluster.

Tune's own state is disposable: it is kept in the private folder of the launch (`scratch`), never
restored and removed with it. What counts is in the store.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ray import tune
from rich.console import Console

from orchestrator.execution import versions
from orchestrator.execution.cluster import Demand, check_room, cluster, has_gpus, slots
from orchestrator.execution.device import check_precision, choose_device
from orchestrator.execution.interrupt import Supervision, ask_to_stop, supervised
from orchestrator.execution.items import Work, item_id
from orchestrator.execution.metrics import Meter
from orchestrator.execution.presence import present
from orchestrator.execution.probing import trials_side_by_side
from orchestrator.execution.progress import Progress
from orchestrator.execution.queue import Queue
from orchestrator.execution.readings import Watch
from orchestrator.execution.search import (
    AHEAD,
    AtOnce,
    Deaths,
    ProcessesKept,
    QueueSearcher,
    withhold_credentials,
)
from orchestrator.execution.trainable import REPORT_EVERY, NamedItem, train_item
from orchestrator.planning.plan import Plan
from results_schema import layout
from results_schema.store import Store


@dataclass(frozen=True)
class Options:
    """How to launch; none of it is part of a trial's identity.

    Attributes:
        device: "cuda", "cpu", or None to choose by what the cluster has.
        address: Of a Ray cluster: "auto" or HOST:PORT; None starts Ray on this machine.
        allow_open_cluster: Whether to join one that asks for no token.
        ship_code: Whether its nodes are sent this very code.
        gpus_per_trial: Share of a GPU that each process takes; below 1 several share one. "auto"
            is a process a GPU that trains as many trials side by side as is measured to be best.
        pack: How many trials a process trains side by side, whatever was measured; None for one,
            or for what "auto" finds.
        gpus_per_surface: Share of a GPU that each surface takes.
        landscape: "first" measures a surface as soon as its checkpoint has landed, "last" when no
            trial waits.
        checkpoint_every: Seconds between checkpoints.
        checkpoint_at: Epochs whose checkpoints are kept for good.
        deterministic: Whether trials on a GPU must give the same bits again.
        report_every: Seconds between two reports of a trial or surface to the driver.
        cpu_will_do: Whether a CPU may be chosen.
    """

    device: str | None = None
    address: str | None = None
    allow_open_cluster: bool = False
    ship_code: bool = False
    gpus_per_trial: float | Literal["auto"] = 1.0
    pack: int | None = None
    gpus_per_surface: float = 1.0
    landscape: str = "first"
    checkpoint_every: float = 60.0
    checkpoint_at: tuple[int, ...] = ()
    deterministic: bool = False
    report_every: float = REPORT_EVERY
    cpu_will_do: bool = False

    @property
    def share(self) -> float:
        """Of a GPU that each process takes which trains."""
        return 1.0 if self.gpus_per_trial == "auto" else self.gpus_per_trial


@dataclass(frozen=True)
class Report:
    """What came of a launch.

    Attributes:
        endings: How each trial or surface that left the queue did (`Queue.endings`).
        reasons: Why each failed one failed.
        interrupted: Whether a signal stopped it.
        unfit: Why the store could not be written in the end, or a node was unfit; or empty.
    """

    endings: dict[str, str]
    reasons: dict[str, str]
    interrupted: bool
    unfit: str


def run(plan: Plan, store: Store, options: Options, console: Console) -> Report:
    """Does what the plan owes; returns when all has ended, or a signal has stopped it.

    Raises:
        MachineError: Ray can't be reached, has no GPU though one is meant, or has no room for even
            one trial or surface.
    """
    launch = uuid.uuid4().hex[:12]
    queue = Queue(store, surfaces_last=options.landscape == "last")
    queue.add(plan.remaining)
    queue.room.size = max(plan.checkpoint_sizes, default=queue.room.size)
    queue.say = lambda text: console.print(text, style="yellow", markup=False, highlight=False)
    queue.add_surfaces(plan.unmeasured)
    owed: dict[str, Work] = {item_id(w): w for w in [*plan.remaining, *plan.unmeasured]}
    try:
        ray_cluster = cluster(
            options.address,
            console,
            allow_open=options.allow_open_cluster,
            ship_code=options.ship_code,
        )
        with present(store, launch), ray_cluster as joined:
            device = options.device or choose_device(plan, has_gpus(), options.cpu_will_do)
            check_precision(plan, device)
            cores = (options.pack or 1) if device == "cpu" else 1
            shares = [options.share] * bool(plan.remaining)
            shares += [options.gpus_per_surface] * bool(plan.unmeasured)
            side_by_side = max(slots(device, share, cores) for share in shares)
            check_room(min(slots(device, share, cores) for share in shares), device, cores)
            room = partial(slots, device, min(shares), cores)
            queue.slots = partial(slots, device, options.share, cores)
            # Tune keeps this bound while nodes join; `QueueSearcher` bounds what is offered.
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(owed) + AHEAD)
            before = len(plan.trials) - len(plan.remaining), len(plan.wanted) - len(plan.unmeasured)
            settings = {
                "store": store.location,
                "launch": launch,
                "device": device,
                "deterministic": options.deterministic,
                "checkpoint_every": options.checkpoint_every,
                "checkpoint_at": sorted({*options.checkpoint_at, *plan.surface_epochs}),
                "versions": versions.told(),
                "report_every": options.report_every,
                "gpus_per_trial": options.share,
                "gpus_per_surface": options.gpus_per_surface,
            }
            at_once = AtOnce()
            supervision = Supervision(
                queue, store, launch, console, lost=joined.lost, insist=at_once.ask
            )
            # Inside, because Ray puts a SIGTERM handler of its own in force when it starts.
            with supervised(supervision):
                queue.halt = partial(ask_to_stop, store, launch, "a node is unfit")
                if options.pack:
                    queue.pack = options.pack
                elif options.gpus_per_trial == "auto" and device == "cuda" and plan.remaining:
                    queue.pack = supervision.run(
                        lambda: trials_side_by_side(
                            plan.remaining, queue.slots(), options.deterministic, queue, console
                        )
                    )
                progress = Progress(queue, owed, ended=before, slots=side_by_side, console=console)
                watch = Watch(queue, owed, progress)
                with progress, Meter(watch, launch, plan.members) as meter:
                    demand = Demand(partial(left, plan, queue, options, device, cores))
                    searcher = QueueSearcher(
                        *(queue, settings, progress, meter, room),
                        demand.refresh if options.address else lambda: None,
                    )
                    folder = str(joined.folder / "tune")
                    try:
                        supervision.run(
                            lambda: _tune(searcher, device, cores, options, at_once, folder)
                        )
                    finally:
                        demand.end()
    finally:
        queue.close_all()  # only now is every worker gone
    return Report(
        queue.endings, queue.reasons, supervision.interrupted, queue.unfit or queue.room.full
    )


def takes(options: Options, *, surface: bool) -> dict[str, float]:
    """Return what an item takes on a GPU: a core, and the share of its kind."""
    return {"CPU": 1.0, "GPU": options.gpus_per_surface if surface else options.share}


def resources(options: Options, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what an item with this config takes on a GPU."""
    surface = any(layout.is_surface(name) for name in config["names"])
    return tune.PlacementGroupFactory([takes(options, surface=surface)])


def left(
    plan: Plan, queue: Queue, options: Options, device: str, cores: int
) -> list[tuple[dict[str, float], int]]:
    """Return what items take that could run now if there were room for all, and how many they are.

    A surface can't be measured before its trial has left the queue.
    """
    trials = {spec.trial_id for spec in plan.remaining} - queue.endings.keys()
    surfaces = sum(
        one.surface_id not in queue.endings and one.trial.trial_id not in trials
        for one in plan.unmeasured
    )
    packs = -(-len(trials) // queue.pack)
    if device == "cpu":
        return [({"CPU": cores}, packs + surfaces)]
    return [(takes(options, surface=False), packs), (takes(options, surface=True), surfaces)]


def _tune(
    searcher: QueueSearcher,
    device: str,
    cores: int,
    options: Options,
    stopper: tune.Stopper,
    folder: str,
) -> None:
    # On a GPU, a process of its own gives memory back and can't spoil the next item.
    alone = device == "cuda"
    each = partial(resources, options) if alone else tune.PlacementGroupFactory([{"CPU": cores}])
    trainable: Any = tune.with_resources(NamedItem if alone else train_item, each)
    withhold_credentials()
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=ProcessesKept(),
            num_samples=-1,
            reuse_actors=not alone,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=folder,
            verbose=0,
            stop=stopper,
            callbacks=[Deaths(searcher)],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    ).fit()
