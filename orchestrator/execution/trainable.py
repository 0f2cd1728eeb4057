"""What a worker process of Ray Tune runs: one item, after a check that it runs the launch's code.

It is the only module of `orchestrator` that workers import, so that `code_digest` covers all that
they run, and a node can refuse a launch whose code differs. A launch imports it too, without torch:
what trains and measures is imported where it runs.
"""

from __future__ import annotations

import hashlib
import platform
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.trainable import wrap_function

from results_schema import layout
from results_schema.errors import ConfigError, CorruptData, MachineError, MissingKey
from results_schema.plugins import SUFFIX, load_as_sent
from results_schema.program import ProgramSpec, Trial, read_trial
from results_schema.store import Store, attach_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.origin import code_origin
from workers.program.source import find_as_sent
from workers.training.attempt import Outcome

if TYPE_CHECKING:
    from workers.training.checkpoint import Row
    from workers.training.packing import PackSpeed

REPORTED = ("images_per_second", "peak_memory")
"""What is reported of an epoch's row while a trial runs, besides the epoch."""
WORKER_MODULES = ("orchestrator/execution/trainable.py",)
"""Modules above `workers` that a worker runs; below them it runs all of `WORKER_PACKAGES`."""
WORKER_PACKAGES = ("results_schema", "workers")
PLUGINS = "nas_sweep_plugins"
"""Folder beside the packages for the files of plug-ins that were sent with the code."""
PROGRAMS = "nas_sweep_programs"
"""The same for the files of programs, each in a folder named by its digest."""
_DIGITS = 10


@lru_cache
def own_versions() -> dict[str, str]:
    """Return what this process runs, in plain types, which any release can read.

    Returns:
        python: Such as "3.12"; a patch release changes nothing that is sent or trained.
        ray: Ray's release.
        torch: torch's release, without the kind of its build, such as "+cpu".
        code: Beginning of the SHA-256 of the code that workers run. A release's number does not
            identify a checkout, nor a commit an image, so bytes are compared.
        release: Release of nas-sweep.
        commit: Beginning of the checkout's commit, or empty; with a "+" if files differ from it.
    """
    about = code_origin()
    commit = (about["commit"] or "")[:_DIGITS]
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "ray": metadata.version("ray"),
        "torch": metadata.version("torch").partition("+")[0],
        "code": code_digest(Path(__file__).parents[2]),
        "release": about["release"],
        "commit": commit + "+" * bool(commit and about["dirty"]),
    }


def version_mismatch(launch: Mapping[str, str]) -> str:
    """Return why this worker can't work for a launch that runs other code, empty if it can.

    Args:
        launch: What `own_versions` returned in the launch's own process.
    """
    here = own_versions()
    pairs = [
        (f"{label} {here[name]}", f"{label} {launch[name]}")
        for name, label in (("python", "Python"), ("ray", "Ray"), ("torch", "torch"))
        if here[name] != launch[name]
    ]
    fix = "install the same on every node, or launch from an environment like the nodes'"
    if here["code"] != launch["code"]:
        # Shipped code can't help where an installed package differs too.
        if not pairs:
            fix = "install the same nas-sweep there, or add --ship-code, which sends this one along"
        pairs.append((_name_code(here), _name_code(launch)))
    if not pairs:
        return ""
    found, expected = (" and ".join(side) for side in zip(*pairs, strict=True))
    return _unfit(f"it has {found}, and this launch has {expected}", f"{fix} (docs/cluster.md)")


def plugin_mismatch(sent: Iterable[Mapping[str, str]]) -> str:
    """Load a launch's plug-ins; return why this worker can't, empty if it can.

    Args:
        sent: What `Plugin.sent` returned in the launch's own process.
    """
    for one in sent:
        try:
            load_as_sent(one, Path(__file__).parents[2] / PLUGINS)
        except ConfigError as error:
            fix = "put the same file there, or add --ship-code, which sends it along"
            if not one["name"].endswith(SUFFIX):
                fix = "install the same package there"
            return _unfit(_placed(error), fix)
    return ""


def program_mismatch(sent: Iterable[Mapping[str, str]]) -> str:
    """Find a launch's programs; return why this worker can't run one, empty if it can.

    Args:
        sent: What `Source.sent` returned in the launch's own process.
    """
    for one in sent:
        try:
            find_as_sent(one, Path(__file__).parents[2] / PROGRAMS)
        except ConfigError as error:
            return _unfit(f"{one['program']}: {_placed(error)}", error.fix)
    return ""


def _placed(error: ConfigError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


def _name_code(versions: Mapping[str, str]) -> str:
    commit = f"commit {versions['commit']}, " if versions["commit"] else ""
    return f"nas-sweep {versions['release']} ({commit}code {versions['code']})"


def _unfit(what: str, fix: str) -> str:
    return str(MachineError(what, where=f"node {socket.gethostname()}", fix=fix))


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


def train_item(config: dict[str, Any]) -> None:
    """Run one item, reporting epochs or points as they come, and how each part of it went.

    Args:
        config: "token" of the item, "names" and "specs" of its trials or its surface, the latter
            as canonical JSON, "until" with the epoch after which each trial waits for a decision,
            and under "settings" what is the same for the whole launch: "store", "launch", "device",
            "deterministic", "checkpoint_every", "checkpoint_at", "versions", "plugins", "programs",
            "report_every", and "gpus_per_trial" and "gpus_per_surface", the share of a GPU that a
            process of either kind has.
    """
    settings = config["settings"]
    # Versions first: an unlike worker may not even be able to open the store.
    unfit, store = version_mismatch(settings["versions"]), None
    unfit = unfit or plugin_mismatch(settings["plugins"])
    unfit = unfit or program_mismatch(settings["programs"])
    if not unfit:
        store = attach_store(settings["store"])
        # A node that does not share the store would create another one at the same path. The
        # launch's own file is there from before the first worker starts.
        if not store.has(layout.launch(settings["launch"])):
            fix = f"every node must reach {store.location}"
            unfit = _unfit("it does not see the store", fix)
    if unfit or store is None:
        for name in config["names"]:
            _report_outcome(name, Outcome("failed", unfit, kind="unfit"))
    elif layout.is_surface(config["names"][0]):
        _measure(config, store)
    else:
        _train(config, store)


def measure_packs(
    spec: TrialSpec, *, plugins: Iterable[Mapping[str, str]], **options: Any
) -> list[PackSpeed]:
    """Load a launch's plug-ins and return what `measure_pack_sizes` does.

    Raises:
        MachineError: A plug-in is not here, or differs.
    """
    if unfit := plugin_mismatch(plugins):
        raise MachineError(unfit)
    from workers.training.packing import measure_pack_sizes

    return measure_pack_sizes(spec, **options)


class NamedItem(wrap_function(train_item)):
    """The same, named in Ray's dashboard by its item; for processes that run one item alone."""

    def __repr__(self) -> str:
        return ", ".join(self.config["names"])


def _train(config: dict[str, Any], store: Store) -> None:
    """Train a pack; `on_epoch` and `on_outcome` run in the one thread from which Tune reports."""
    from workers.program.training import train as run_program
    from workers.training.checkpoint import Checkpointing
    from workers.training.packing import train_pack

    settings, unreported = config["settings"], defaultdict[str, list["Row"]](list)
    due = _Throttle(settings["report_every"])

    specs = [read_trial(text) for text in config["specs"]]
    until = dict(zip(config["names"], config["until"], strict=True))

    def on_epoch(spec: Trial, row: Row) -> None:
        name = spec.trial_id
        unreported[name].append(row)
        # The last epoch goes with the outcome, which follows at once: one report fewer a trial.
        if row["epoch"] != spec.epochs and due(name):
            tune.report({"item": name, **_epochs(unreported.pop(name))})

    def on_outcome(spec: Trial, outcome: Outcome) -> None:
        _report_outcome(spec.trial_id, outcome, **_epochs(unreported.pop(spec.trial_id, [])))

    shared: dict[str, Any] = {
        "device": settings["device"],
        "deterministic": settings["deterministic"],
        "token": config["token"],
        "checkpointing": Checkpointing(
            every=settings["checkpoint_every"], at=frozenset(settings["checkpoint_at"])
        ),
        "gpu_share": settings["gpus_per_trial"],
    }
    if isinstance(spec := specs[0], ProgramSpec):  # which has its process to itself
        [sent] = [one for one in settings["programs"] if one["program"] == spec.program]
        outcome = run_program(
            spec,
            store,
            find_as_sent(sent, Path(__file__).parents[2] / PROGRAMS),
            on_epoch=lambda row: on_epoch(spec, row),
            ask=lambda: _stop_reason(spec.trial_id, store, settings),
            until=until[spec.trial_id],
            **shared,
        )
        on_outcome(spec, outcome)
        return
    train_pack(
        [one for one in specs if isinstance(one, TrialSpec)],
        store,
        on_epoch=on_epoch,
        on_outcome=on_outcome,
        ask=lambda spec: _stop_reason(spec.trial_id, store, settings),
        until=lambda spec: until[spec.trial_id],
        **shared,
    )


def _measure(config: dict[str, Any], store: Store) -> None:
    from workers.landscape.survey import survey

    settings, [name], [text] = config["settings"], config["names"], config["specs"]
    # The first point is reported at once: the driver counts what follows it as this launch's.
    due, unreported = _Throttle(settings["report_every"]), 0

    def on_points(done: int, total: int) -> None:
        nonlocal unreported
        unreported += 1
        if done == total or due(name):
            tune.report({"item": name, "points": done, "measured": unreported})
            unreported = 0

    outcome = survey(
        SurfaceSpec.from_json(text),
        store,
        device=settings["device"],
        deterministic=settings["deterministic"],
        token=config["token"],
        gpu_share=settings["gpus_per_surface"],
        on_points=on_points,
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
    """Whether another report of a trial or surface is due, so many seconds after the last one."""

    def __init__(self, every: float) -> None:
        self._every, self._next = every, dict[str, float]()

    def __call__(self, name: str) -> bool:
        now = time.monotonic()
        if now < self._next.get(name, 0.0):
            return False
        self._next[name] = now + self._every
        return True
