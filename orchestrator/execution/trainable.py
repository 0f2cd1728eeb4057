"""What a worker process of Ray Tune runs: one item, after a check that it runs the launch's code.

It is the only module of `orchestrator` that workers import, so that `code_digest` covers all that
they run, and a node can refuse a launch whose code differs.
"""

from __future__ import annotations

import hashlib
import math
import platform
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.trainable import wrap_function

from results_schema import layout
from results_schema.errors import CorruptData, MachineError, MissingKey
from results_schema.store import Store, attach_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.landscape.survey import survey
from workers.training import device
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing, Row
from workers.training.packing import train_pack

REPORTED = ("images_per_second", "peak_memory")
"""What is reported of an epoch's row while a trial runs, besides the epoch."""
WORKER_MODULES = ("orchestrator/execution/trainable.py",)
"""Modules above `workers` that a worker runs; below them it runs all of `WORKER_PACKAGES`."""
WORKER_PACKAGES = ("results_schema", "workers")
_DIGITS = 10


@dataclass(frozen=True)
class Versions:
    """What a process runs.

    Attributes:
        python: Such as "3.12"; a patch release changes nothing that is sent or trained.
        ray: Ray's release.
        torch: torch's release, without the kind of its build, such as "+cpu".
        code: Beginning of the SHA-256 of the code that workers run. A release's number does not
            identify a checkout, nor a commit an image, so bytes are compared.
        release: Release of nas-sweep.
        commit: Beginning of the checkout's commit, or empty; with a "+" if files differ from it.
    """

    python: str
    ray: str
    torch: str
    code: str
    release: str
    commit: str

    def __str__(self) -> str:
        commit = f"commit {self.commit}, " if self.commit else ""
        return f"nas-sweep {self.release} ({commit}code {self.code})"


@lru_cache
def own_versions() -> Versions:
    """Return the versions of this process, read once, within some hundredths of a second."""
    about = device.code_origin()
    commit = (about["commit"] or "")[:_DIGITS]
    return Versions(
        python=".".join(platform.python_version_tuple()[:2]),
        ray=_release("ray"),
        torch=_release("torch").partition("+")[0],
        code=code_digest(Path(__file__).parents[2]),
        release=about["release"],
        commit=commit + "+" * bool(commit and about["dirty"]),
    )


def versions_to_send() -> dict[str, str]:
    """Return the versions of this process in plain types, which any release can read."""
    return asdict(own_versions())


def version_mismatch(launch: dict[str, str]) -> str:
    """Return why this worker can't work for a launch that runs other code, empty if it can.

    Args:
        launch: What `versions_to_send` returned in the launch's own process.
    """
    here, there = own_versions(), Versions(**launch)
    pairs = [
        (f"{label} {getattr(here, name)}", f"{label} {getattr(there, name)}")
        for name, label in (("python", "Python"), ("ray", "Ray"), ("torch", "torch"))
        if getattr(here, name) != getattr(there, name)
    ]
    fix = "install the same on every node, or launch from an environment like the nodes'"
    if here.code != there.code:
        # Shipped code can't help where an installed package differs too.
        if not pairs:
            fix = "install the same nas-sweep there, or add --ship-code, which sends this one along"
        pairs.append((str(here), str(there)))
    if not pairs:
        return ""
    found, expected = (" and ".join(side) for side in zip(*pairs, strict=True))
    what = f"it has {found}, and this launch has {expected}"
    where = f"node {socket.gethostname()}"
    return str(MachineError(what, where=where, fix=f"{fix} (docs/cluster.md)"))


def code_digest(root: Path) -> str:
    """Return a digest of the code that workers run.

    Args:
        root: Folder that holds the packages.
    """
    files = [root / module for module in WORKER_MODULES]
    for package in WORKER_PACKAGES:
        files += (p for p in (root / package).rglob("*") if p.suffix in (".py", ".json"))
    named = {path.relative_to(root).as_posix(): path for path in files}
    found = hashlib.sha256()
    for name in sorted(named):
        if "/." in name:  # temporary files of editors, which are not shipped
            continue
        content = named[name].read_bytes()
        # With its length, so that moving a line from one file's end to the next one's start counts.
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:_DIGITS]


def _release(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown release"


def train_item(config: dict[str, Any]) -> None:
    """Run one item, reporting epochs or points as they come, and how each part of it went.

    Args:
        config: "token" of the item, "names" and "specs" of its trials or its surface, the latter
            as canonical JSON, and under "settings" what is the same for the whole launch: "store",
            "launch", "device", "deterministic", "checkpoint_every", "checkpoint_at", "versions",
            "report_every", and "gpus_per_trial" and "gpus_per_surface", the share of a GPU that a
            process of either kind has.
    """
    settings = config["settings"]
    # Versions first: an unlike worker may not even be able to open the store.
    if unfit := version_mismatch(settings["versions"]) or _store_missing(settings):
        for name in config["names"]:
            _report_outcome(name, Outcome("failed", unfit, kind="unfit"))
        return
    store = attach_store(settings["store"])
    if layout.is_surface(config["names"][0]):
        _measure(config, store)
    else:
        _train(config, store)


class NamedItem(wrap_function(train_item)):
    """The same, named in Ray's dashboard by its item; for processes that run one item alone."""

    def __repr__(self) -> str:
        return ", ".join(self.config["names"])


def _store_missing(settings: dict[str, Any]) -> str:
    """Return why this worker can't use the store, empty if it can."""
    # A node that does not share the store would create another one at the same path. The launch's
    # own file is there from before the first worker starts.
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
    """Train a pack; `on_epoch` and `on_outcome` run in the one thread from which Tune reports."""
    settings, unreported = config["settings"], defaultdict[str, list[Row]](list)
    due = _Throttle(settings["report_every"])

    def on_epoch(spec: TrialSpec, row: Row) -> None:
        name = spec.trial_id
        unreported[name].append(row)
        # The last epoch goes with the outcome, which follows at once: one report fewer a trial.
        if row["epoch"] < spec.recipe.epochs and due(name):
            tune.report({"item": name, **_epochs(unreported.pop(name))})

    def on_outcome(spec: TrialSpec, outcome: Outcome) -> None:
        _report_outcome(spec.trial_id, outcome, **_epochs(unreported.pop(spec.trial_id, [])))

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
        on_points=_points_reporter(name, _Throttle(settings["report_every"])),
        ask=lambda: _stop_reason(name, store, settings),
    )
    _report_outcome(name, outcome)


def _report_outcome(name: str, outcome: Outcome, **more: Any) -> None:
    tune.report({"item": name, **more, **asdict(outcome)})


def _stop_reason(name: str, store: Store, settings: dict[str, Any]) -> str:
    """Return who asks a trial or surface to stop and why; empty if nobody does."""
    # It runs every second in each worker. In a bucket one GET per request costs a tenth of a list.
    requests = [(layout.stop(settings["launch"]), "its launch stops")]
    requests += [
        (layout.cancel(one), f"{one} is cancelled") for one in {name, layout.trial_of(name)}
    ]
    for key, what in requests:
        try:
            content = store.hasty.get(key, most=500).decode(errors="replace")
        except MissingKey:
            continue
        except CorruptData:  # longer than any requester's name: the request counts all the same
            content = ""
        by = "".join(filter(str.isprintable, content))
        return f"{what} ({by})" if by else what
    return ""


def _epochs(rows: list[Row]) -> dict[str, Any]:
    """Return what is reported of epochs that were trained since the last report."""
    if not rows:
        return {}
    return {"trained": len(rows), **{key: rows[-1][key] for key in ("epoch", *REPORTED)}}


class _Throttle:
    """Whether another report of a trial or surface is due; the first always is.

    Args:
        every: Seconds between two reports of the same trial or surface.
    """

    def __init__(self, every: float) -> None:
        self._every, self._last = every, dict[str, float]()

    def __call__(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(name, -math.inf) < self._every:
            return False
        self._last[name] = now
        return True


def _points_reporter(name: str, due: _Throttle) -> Callable[[int, int], None]:
    """Return a callback that reports a surface's points when a report is due."""
    # The first point is reported at once: the driver counts what follows it as this launch's.
    measured = 0

    def report(done: int, total: int) -> None:
        nonlocal measured
        measured += 1
        if done == total or due(name):
            tune.report({"item": name, "points": done, "measured": measured})
            measured = 0

    return report
