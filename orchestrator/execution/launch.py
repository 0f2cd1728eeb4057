"""Runs what remains of a plan through Ray Tune, until it has ended or is stopped from outside.

Tune runs in a thread of its own, as its calls into Ray may block for a minute without letting
Python handle signals. The main thread waits for whatever comes first: the end, Ctrl-C, SIGTERM, a
closed terminal, or the loss of its Ray.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

from rich.console import Console

from orchestrator.execution.cluster import (
    Demand,
    Joined,
    cluster,
    count_slots,
    has_gpus,
    require_slots,
)
from orchestrator.execution.cohorts import Cohorts
from orchestrator.execution.packing import measure_pack_size
from orchestrator.execution.preflight import Options, choose_device
from orchestrator.execution.progress import Progress, exported, launch_labels
from orchestrator.execution.queue import Ending, Queue
from orchestrator.housekeeping.cancel import requester
from orchestrator.planning.estimate import measured_speeds
from orchestrator.planning.plan import Plan, work_id
from results_schema import layout
from results_schema.errors import MachineError, StoreError
from results_schema.lease import Holder
from results_schema.plugins import computing
from results_schema.store import Store
from results_schema.trial import TrialSpec
from workers.program.source import FOUND
from workers.signals import GRACE, leave_terminal

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOSS_INTERVAL = 0.5
"""Seconds between two checks of the processes of a Ray that this launch has started."""
START = 6.0
"""Seconds after which the first workers of a launch have loaded what they run."""
RENEWAL = 3600.0
"""Seconds between two writes of a launch's file: `gc` takes one a day old for a dead launch's."""


@dataclass(frozen=True)
class Report:
    """What came of a launch; `endings` and `reasons` are those of its `Queue`."""

    endings: dict[str, Ending]
    reasons: dict[str, str]
    interrupted: int
    """Number of the signal that stopped it; 0 if none did."""
    over: str
    """Why it stopped by itself before all had ended, or empty."""
    unfit: str
    """Why the store could not be written in the end, or a node was unfit; or empty."""
    undecided: Sequence[str] = ()
    """Trials that wait for a decision on their cohort."""
    missing: Sequence[str] = ()
    """Trials for which those wait."""


def run(
    plan: Plan,
    store: Store,
    options: Options,
    console: Console,
    *,
    at_end: Callable[[], object] = lambda: None,
) -> Report:
    """Run what remains of a plan; return when all has ended, or a signal has stopped it.

    Args:
        plan: What is to be run.
        store: Where its results go.
        options: How it is to be run.
        console: Where to print what happens.
        at_end: Begins what comes next while Ray, which takes seconds, ends. It is not called if a
            signal has stopped the launch, or the store can't be written.

    Raises:
        MachineError: Ray can't be reached, has no GPU though one is meant, or is too small for
            even one trial or surface.
    """
    launch = uuid.uuid4().hex[:12]
    queue = Queue(store, surfaces_last=options.landscape == "last", pack=options.pack or 1)
    queue.notify = partial(console.print, style="yellow", markup=False, highlight=False)
    queue.stop_workers = partial(ask_to_stop, store, launch, "a node is unfit")
    if plan.cohorts:
        queue.cohorts = Cohorts(store, plan.cohorts, plan.experiments_of)
    queue.add(plan.remaining)
    queue.add_surfaces(plan.unmeasured)
    queue.space.needed = max(plan.checkpoint_sizes, default=queue.space.needed)
    ray_cluster = cluster(
        options.address,
        console,
        allow_open=options.allow_open_cluster,
        ship_code=options.ship_code,
        # On a GPU few of the workers that Ray starts at once get an item.
        preload=options.device == "cpu",
    )
    try:
        with present(store, launch), ray_cluster as joined:
            # Only now it is known what a cluster has; on this machine `preflight` has chosen.
            if options.device is None:
                device = choose_device(plan, options, measured_speeds(store), has_gpu=has_gpus())
                options = replace(options, device=device)
            over = partial(reason_to_stop, options, queue, time.monotonic())
            with (
                Supervision(queue, launch, console, joined.lost, over) as supervision,
                imported_meanwhile("orchestrator.report.write"),
            ):
                _run_on(joined, plan, options, supervision)
                if not (supervision.interrupted or queue.unfit or queue.space.full):
                    at_end()
    finally:
        queue.close_all()  # only now is every worker gone
    undecided = queue.undecided
    return Report(
        queue.endings,
        queue.reasons,
        supervision.interrupted,
        supervision.over,
        queue.unfit or queue.space.full,
        undecided,
        queue.cohorts.missing(undecided) if queue.cohorts else [],
    )


def reason_to_stop(options: Options, queue: Queue, begun: float) -> str:
    """Return why a launch that began at this monotonic time stops by itself; empty if it continues.

    `--max-hours` and `--fail-fast` stop it.
    """
    if options.max_hours and time.monotonic() - begun >= options.max_hours * 3600:
        return f"--max-hours {options.max_hours:g} have passed"
    if options.fail_fast and queue.reasons:
        return f"--fail-fast: {next(iter(queue.reasons))} failed"
    return ""


def _run_on(joined: Joined, plan: Plan, options: Options, supervision: Supervision) -> None:
    """Run the queue's work on a cluster, under supervision."""
    from orchestrator.execution.trainable import own_versions
    from orchestrator.execution.tune import AHEAD, QueueSearcher, run_tune

    queue, launch, console = supervision.queue, supervision.launch, supervision.console
    trial_takes = item_takes(options, surface=False)
    surface_takes = item_takes(options, surface=True)
    takes = [trial_takes] * bool(plan.remaining) + [surface_takes] * bool(plan.unmeasured)
    fitting = [require_slots(one) for one in takes]
    # With both kinds, the searcher may offer as many items as the smaller kind has slots: Ray
    # places what it can, and a larger item waits.
    smallest = min(takes, key=lambda one: one.get("GPU", 0))
    automatic = options.gpus_per_trial == "auto" and options.pack is None
    cells = [spec for spec in plan.remaining if isinstance(spec, TrialSpec)]
    if automatic and options.device == "cuda" and cells:
        # Before Tune starts: nothing else may run on the GPU that is measured.
        queue.pack = supervision.run(
            lambda: measure_pack_size(
                cells,
                count_slots(trial_takes),
                options.deterministic,
                lambda: queue.stopping,
                console,
            )
        )
    work = {work_id(one): one for one in plan.work}
    # Tune keeps this bound while nodes join; `QueueSearcher` bounds what is offered.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(work) + AHEAD)
    ended = plan.count_ended()
    settings = {
        "store": queue.store.location,
        "launch": launch,
        "device": options.device,
        "deterministic": options.deterministic,
        "checkpoint_every": options.checkpoint_every,
        "checkpoint_at": sorted({*options.checkpoint_at, *plan.surface_epochs}),
        "versions": own_versions(),
        "plugins": [plugin.sent() for plugin in computing()],
        "programs": [FOUND[name].sent() for name in plan.programs],
        "report_every": options.report_every,
        "gpus_per_trial": options.share,
        "gpus_per_surface": options.gpus_per_surface,
    }
    speeds, device = measured_speeds(queue.store), options.device or "cpu"
    seconds = {name: speeds.total_seconds([one], device) for name, one in work.items()}
    progress = Progress(queue, work, seconds, ended=ended, slots=max(fitting), console=console)
    metrics = exported(progress, launch_labels(launch, plan.members))
    demand = Demand()

    def count() -> None:
        queue.slots, progress.slots = count_slots(trial_takes), count_slots(smallest)
        if options.address:  # a Ray of this machine has no autoscaler
            trials, surfaces = remaining_items(plan, queue)
            demand.ask([trial_takes] * trials + [surface_takes] * surfaces)

    with progress, metrics as export, demand:
        searcher = QueueSearcher(queue, settings, progress, export, count)
        supervision.run(
            lambda: run_tune(
                searcher,
                trial_takes,
                surface_takes,
                supervision.insisted,
                joined.folder / "tune",
                process_per_item=options.device == "cuda",
                own_ray=options.address is None,
            )
        )


def item_takes(options: Options, *, surface: bool) -> dict[str, float]:
    """Return the resources that Ray reserves for an item, a surface or else a pack of trials."""
    if options.device == "cpu":
        return {"CPU": float(options.pack or 1)}
    return {"CPU": 1.0, "GPU": options.gpus_per_surface if surface else options.share}


def remaining_items(plan: Plan, queue: Queue) -> tuple[int, int]:
    """Return how many packs of trials and surfaces could run now if all found a place."""
    trials = {spec.trial_id for spec in plan.remaining} - queue.endings.keys()
    # A surface can't be measured before its trial has left the queue.
    surfaces = sum(
        one.surface_id not in queue.endings and one.trial.trial_id not in trials
        for one in plan.unmeasured
    )
    return -(-len(trials) // queue.pack), surfaces


@contextlib.contextmanager
def imported_meanwhile(module: str) -> Iterator[None]:
    """Import what the launch needs in the end within this context, once its workers have begun."""
    # Not while Ray shuts down: an import that looks for Ray would end the process.
    timer = threading.Timer(START, importlib.import_module, args=(module,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


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


class Supervision:
    """Runs the work of a launch in a thread and stops it in an orderly way.

    As a context it takes SIGINT, SIGTERM and SIGHUP.

    Args:
        queue: Offers nothing more once the launch is stopped; workers look into its store.
        launch: Id of the launch.
        console: Where to print that it stops.
        lost: Returns the name of the process of Ray that has died, or an empty string.
        to_stop: Returns why the launch is to stop without a signal, or an empty string.

    Attributes:
        interrupted: Number of the first signal that came; 0 if none did.
        over: What `to_stop` returned, if that stopped it.
        insisted: Set where Tune must end without waiting for workers.
    """

    def __init__(
        self,
        queue: Queue,
        launch: str,
        console: Console,
        lost: Callable[[], str],
        to_stop: Callable[[], str] = str,
    ) -> None:
        self.interrupted, self.over, self._stopping = 0, "", False
        self.insisted = threading.Event()
        self.queue, self.launch, self.console, self._lost = queue, launch, console, lost
        self._to_stop = to_stop
        self._timer = threading.Timer(GRACE, self.insisted.set)
        self._timer.daemon = True
        self._events: SimpleQueue[int | None] = SimpleQueue()

    def __enter__(self) -> Supervision:
        # SIGHUP stays ignored if it was before, as `nohup` asks for. SIGINT does not: a shell
        # ignores it for what it runs in the background, where `kill -INT` is to stop a launch too.
        under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        taken = [each for each in SIGNALS if each != signal.SIGHUP or not under_nohup]
        self._before = {each: signal.signal(each, self.handle) for each in taken}
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with contextlib.suppress(StoreError):
            self.queue.store.delete(layout.stop(self.launch))
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal; nothing else is safe at any point of the main thread."""
        self.interrupted = self.interrupted or signum
        # Unlike `threading.Event.set`, `SimpleQueue.put` is reentrant: a second signal may
        # interrupt it.
        self._events.put(signum)

    def run(self, work: Callable[[], T]) -> T:
        """Run a part of the launch's work in a thread; return what it returns.

        At the first signal the queue stops and workers are asked to commit the epochs they have
        completed, which they look for every second. At the second one, or `GRACE` seconds after
        the first, Tune is made to end at once.

        Raises:
            MachineError: Ray has died. The thread is left behind, as it may be blocked.
        """
        result: Future[T] = Future()

        def run_work() -> None:
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)
            # Wakes the main thread, which would else wait for the rest of its interval.
            self._events.put(None)

        threading.Thread(target=run_work, name="work", daemon=True).start()
        while not result.done():
            with contextlib.suppress(Empty):
                event = self._events.get(timeout=LOSS_INTERVAL)
                if event is not None:
                    self._stop(event)
            if not self._stopping and (why := self._to_stop()):
                self.over = why
                self._begin_to_stop(why, f"stopping, as {why}: trials commit the epochs they ended")
            if name := self._lost():
                self._give_up(name)
        return result.result()

    def _stop(self, signum: int) -> None:
        if signum == signal.SIGHUP:
            # The terminal is gone: the next line printed there would end this process.
            leave_terminal()
        if self._stopping:
            self.insisted.set()
            return
        text = "stopping: trials commit the epochs they have ended; again to stop at once"
        self._begin_to_stop(signal.Signals(signum).name, text)

    def _begin_to_stop(self, why: str, text: str) -> None:
        self._stopping = self.queue.stopping = True
        self._timer.start()
        self.console.print(text, markup=False, highlight=False)
        ask_to_stop(self.queue.store, self.launch, why)

    def _give_up(self, name: str) -> None:
        """Let workers commit while they live, and end the launch by raising MachineError."""
        queue = self.queue
        queue.stopping = True
        ask_to_stop(queue.store, self.launch, f"{name} of its Ray has died")
        end = time.monotonic() + GRACE
        # Ray can't report which workers still run, but their leases show it. A store that fails
        # meanwhile ends the wait, not the error below.
        with contextlib.suppress(StoreError):
            while time.monotonic() < end and any(
                not queue.store.leases.free(one) for one in queue.working(queue.items)
            ):
                time.sleep(0.1)
        raise MachineError(
            f"{name}, a process of the Ray that this launch had started, has died (the system "
            "kills processes when memory runs out): trials have committed the epochs they had "
            "ended; the same command resumes them"
        )


def ask_to_stop(store: Store, launch: str, why: str) -> None:
    """Ask a launch's workers to stop, as far as the store can be written; they log the reason."""
    with contextlib.suppress(StoreError):
        store.put(layout.stop(launch), f"{why}, launched by {requester()}".encode())
