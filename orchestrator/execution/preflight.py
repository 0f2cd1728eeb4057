"""What is checked and decided before a launch starts Ray, and what `doctor` checks.

Each check is of one thing that a launch needs; what is missing comes with a way to fix it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement

from orchestrator.execution.packing import MAX_PACK
from orchestrator.housekeeping.contract import Check
from orchestrator.housekeeping.status import ItemTables
from orchestrator.output.text import byte_size, cores
from orchestrator.planning.estimate import (
    Speeds,
    format_duration,
    launch_seconds,
    measured_speeds,
)
from orchestrator.planning.plan import Plan
from results_schema import layout
from results_schema.errors import MachineError, NasSweepError, StoreError
from results_schema.s3.bucket import Bucket
from results_schema.s3.store import S3Store
from results_schema.store import LocalStore, Store, attach_store, find_store
from results_schema.trial import TrialSpec
from workers.data.catalog import DATASETS, describe
from workers.data.folder import check_ready

FREE = 10**9
"""Bytes that a store and main memory should have free at least."""
SHORT = 1800.0
"""Seconds that a launch may take on this machine's CPU without being asked for."""
YEARS = 2026, 2100
"""Years between which a clock may stand: nothing is run before it was released."""
SKEW = 30.0
"""Seconds by which the store's clock may differ: `status` calls workers lost by it after 60."""
DRIVER = Path("/proc/driver/nvidia/version")
"""File in which NVIDIA's kernel module gives its version."""
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvgpu")
"""One of them is there where torch can find a GPU: NVIDIA's, in WSL, AMD's, and two of Jetson's."""
_INSTALL_RAY = "pip install 'ray[default,tune]>=2.55'"


@dataclass(frozen=True)
class Options:
    """How to launch; none of it is part of a trial's identity.

    Attributes:
        device: "cuda", "cpu", or None to choose by what the cluster has.
        address: Address of a Ray cluster: "auto" or HOST:PORT; None starts Ray on this machine.
        allow_open_cluster: Whether to join a cluster that asks for no token.
        ship_code: Whether its nodes are sent this very code.
        gpus_per_trial: Share of a GPU that each process takes; below 1 several share one. "auto"
            is a process a GPU that trains as many trials side by side as is measured to be best.
        pack: Number of trials that a process trains side by side; None for one, or what "auto"
            finds.
        gpus_per_surface: Share of a GPU that each surface takes.
        landscape: "first" measures a surface as soon as its checkpoint has landed, "last" when no
            trial waits, "none" not at all.
        checkpoint_every: Seconds between checkpoints.
        checkpoint_at: Epochs whose checkpoints are kept for good.
        deterministic: Whether results on a GPU must repeat bit by bit.
        report_every: Seconds between two reports of a trial or surface to the driver, which takes
            some hundred reports a second. The store has every epoch at once.
        max_hours: Hours after which the launch stops; None for no limit.
        fail_fast: Whether it stops when a trial or surface has failed.
        cpu_suffices: Whether a CPU may be chosen: a profile made the experiments small enough.
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
    report_every: float = 1.0
    max_hours: float | None = None
    fail_fast: bool = False
    cpu_suffices: bool = False

    @property
    def share(self) -> float:
        """Share of a GPU that each process takes which trains."""
        return 1.0 if self.gpus_per_trial == "auto" else self.gpus_per_trial


def prepare(plan: Plan, store: Store, options: Options) -> Options:
    """Check that a plan can be carried out, as far as can be seen in a moment.

    The nodes of a cluster have GPUs and data folders of their own, so that those of this machine
    do not count with an address.

    Returns:
        The options with the device chosen, unless a cluster decides it.

    Raises:
        StoreError: The store can't be written durably and by one worker alone, or lacks space.
        MachineError: The clock is wrong; there is no GPU and one is needed; or the device lacks
            the arithmetic of a trial.
        DataError: A dataset is damaged, or neither here nor available.
    """
    local, device = options.address is None, options.device
    gpus = local_gpus() if device == "cuda" or (device is None and local) else 0
    if device or local:
        device = choose_device(plan, options, measured_speeds(store), has_gpu=gpus > 0)
    check_clock()
    if local and device == "cuda" and not gpus:
        raise MachineError(
            "no CUDA GPU is visible on this machine",
            where="--device cuda",
            fix="nas-sweep doctor shows why; or use --device cpu, or --address for a cluster",
        )
    at_once = trials_at_once(options, gpus if device == "cuda" else 0)
    check_place(store.location, plan.disk_bytes(kept=options.checkpoint_at, side_by_side=at_once))
    # Last, as it may ask a server over the network. Nodes of a cluster have data of their own.
    if local:
        cells = [spec for spec in plan.remaining if isinstance(spec, TrialSpec)]
        specs = [*cells, *(surface.trial for surface in plan.unmeasured)]
        for dataset in dict.fromkeys(spec.dataset for spec in specs):
            check_ready(describe(dataset))
    return replace(options, device=device)


def choose_device(plan: Plan, options: Options, speeds: Speeds, *, has_gpu: bool) -> str:
    """Return "cuda" or "cpu": what the user asked for, or else by whether there is a GPU.

    Without one the CPU is chosen where a profile allows it or it takes less than `SHORT` seconds.

    Raises:
        MachineError: There is no GPU, and a CPU would take too long; or the device lacks
            the arithmetic of a trial. Some GPUs lack it too, which their workers report.
    """
    device = options.device or ("cuda" if has_gpu else "cpu")
    total = speeds.total_seconds(plan.work, "cpu")
    suffices = options.cpu_suffices or launch_seconds(total, cores()) < SHORT
    if not (options.device or has_gpu or suffices):
        raise MachineError(
            "there is no GPU, and on this machine's CPU this would take "
            + format_duration(total, "cpu", cores()),
            fix="add --profile laptop for a small version, --device cpu to do it all the same, or "
            "--address to use a Ray cluster that has GPUs",
        )
    if device == "cpu" and any(
        isinstance(spec, TrialSpec) and spec.precision == "tf32" for spec in plan.remaining
    ):
        raise MachineError(
            "some trials are of precision tf32, which a CPU does not have",
            fix="train them on a GPU, or use --set precision=fp32",
        )
    return device


def local_gpus() -> int:
    """Return the number of GPUs that torch sees on this machine."""
    if not any(map(os.path.exists, GPU_DEVICES)):
        return 0  # seconds before torch, which takes them to import, could find out
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def trials_at_once(options: Options, gpus: int) -> int:
    """Return how many trials run side by side at most on this machine's GPUs, or cores without."""
    if not gpus:
        return cores()
    if options.gpus_per_trial == "auto":
        return gpus * (options.pack or MAX_PACK)
    return min(cores(), max(1, int(gpus / options.gpus_per_trial))) * (options.pack or 1)


class Note(Exception):
    """What a check found to be missing that not everyone needs, and how to get it."""


def run_checks(location: str) -> Iterator[Check]:
    """Yield what each check of this machine and a store's location found, the quick ones first."""
    yield _run("python", lambda: f"{platform.python_version()} on {platform.platform()}")
    yield _run("packages", check_packages)
    yield _run("machine", check_memory)
    yield _run("clock", check_clock)
    yield _run("store", check_place, location, FREE)
    yield _run("tables", check_damage, location)
    yield _run("browser", check_browser)
    yield _run("ray", check_ray)
    yield _run("ray folder", check_ray_folder)
    yield _run("gpu", check_gpu)
    with ThreadPoolExecutor() as pool:  # asking a server over the network takes its time
        yield from pool.map(lambda name: _run(f"data {name}", check_data, name), DATASETS)


def _run(name: str, check: Callable[..., str], *arguments: Any) -> Check:
    """Return what a check found, which raises for what is missing or bad."""
    try:
        return Check(name, "ok", check(*arguments))
    except Note as note:
        return Check(name, "note", *note.args)
    except NasSweepError as error:
        found = f"{error.where}: {error.what}" if error.where else error.what
        return Check(name, "bad", found, error.fix)


# Each check returns what it found, and raises `Note` for what not everyone needs, or an error.


def check_packages() -> str:
    """Check that every direct dependency has a version that can be used."""
    try:
        asked = [Requirement(line) for line in metadata.requires("nas-sweep") or []]
    except metadata.PackageNotFoundError:
        raise Note("nas-sweep is not installed", "uv sync, in its checkout") from None
    wrong, found = [], []
    for one in asked:
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        found.append(f"{one.name} {version}")
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} is {version}, not {one.specifier}")
    if wrong:
        raise MachineError(", ".join(wrong), fix="pip install --upgrade nas-sweep")
    return ", ".join(found)


def check_memory() -> str:
    """Check the cores that this process may use, and main memory."""
    free = psutil.virtual_memory().available
    found = f"{cores()} cores, {byte_size(free)} of memory free"
    if free < FREE:
        raise Note(found, f"a trial needs about {byte_size(FREE)}")
    return found


def check_clock() -> str:
    """Check that this machine's clock was ever set, as it dates rows and heartbeats."""
    now = time.gmtime()
    found = f"it shows {time.strftime('%Y-%m-%d %H:%M UTC', now)}"
    if not YEARS[0] <= now.tm_year <= YEARS[1]:
        raise MachineError(found, where="clock", fix="set this machine's clock, by NTP")
    return found


def check_damage(location: str) -> str:
    """Check the tables of a store's trials and surfaces against their seals."""
    if (store := find_store(location)) is None:
        return "there is no store yet"
    if damaged := ItemTables(store).damaged():
        shown = ", ".join([*damaged][:3]) + ", …" * (len(damaged) > 3)
        raise StoreError(
            f"those of {len(damaged)} trials or surfaces are damaged: {shown}",
            fix="launch their experiments, which rebuilds them",
        )
    return "none is damaged"


def check_browser() -> str:
    """Check for a browser, which draws .png, .svg and .pdf; figures are .html without one."""
    from orchestrator.figures.export import find_browser

    try:
        return find_browser()
    except MachineError as error:
        raise Note(f"{error.what}: figures are .html alone", error.fix) from error


def check_ray() -> str:
    """Check that Ray can be imported, in a process of its own, since the import may crash."""
    command = [sys.executable, "-c", "import ray.tune; print(ray.__version__)"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(str(error), fix=_INSTALL_RAY) from error
    found = (ran.stdout if ran.returncode == 0 else ran.stderr).strip().splitlines()
    found = found[-1] if found else f"exit code {ran.returncode}"
    if ran.returncode or [int(n) for n in re.findall(r"\d+", found)[:2]] < [2, 55]:
        raise MachineError(found, fix=_INSTALL_RAY)
    return found


def check_ray_folder() -> str:
    """Check who may write where nodes of `ray start` keep sockets; a launch's Ray is private."""
    # Ray itself gives the folder mode 0777, so that only a closed or sticky folder is safe.
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    try:
        modes = [one.stat().st_mode for one in (folder, *folder.resolve().parents)]
    except OSError:
        return f"no node has used {folder}"
    closed = any(not mode & stat.S_IXOTH for mode in modes)
    if closed or modes[0] & stat.S_ISVTX or not modes[0] & stat.S_IWOTH:
        return f"{folder} is closed to other users"
    raise Note(
        f"every user of this machine can replace the sockets in {folder} of nodes that were "
        "started by ray start",
        "start nodes with RAY_TMPDIR set to a folder of mode 0700 (docs/cluster.md)",
    )


def check_gpu() -> str:
    """Check for a GPU: a machine without one trains on its CPU, one that torch can't use is bad."""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            import torch

            names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
            usable = torch.cuda.is_available()
    except (ImportError, OSError, RuntimeError) as error:
        fix = "pip install --force-reinstall torch"
        raise MachineError(f"torch: {error}", fix=fix) from error
    version = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    if usable:
        return f"{', '.join(names)}; {version}; driver {_driver()}"
    # Where GPUs were hidden on purpose, a driver without one is as it should be.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if (driver := _driver()) and not hidden:
        why = "; ".join(str(one.message).split("(")[0].strip() for one in warned)
        raise MachineError(
            f"driver {driver} is there, and {version} sees no GPU: {why}",
            fix="install a driver for this CUDA, or a torch for the driver",
        )
    raise Note(f"none; {version}", "use --profile laptop, --device cpu or --address")


def _driver() -> str:
    """Return the version of NVIDIA's kernel module, empty without one."""
    text = DRIVER.read_text() if DRIVER.exists() else ""
    found = re.search(r"\s(\d+\.\d[\d.]*)\s", text)
    return found[1] if found else ""


def check_data(name: str) -> str:
    """Check that a dataset is here or available; one to download is needed by some alone."""
    try:
        check_ready(DATASETS[name])
    except NasSweepError as error:
        if DATASETS[name].archive:
            raise Note(error.what, error.fix) from error
        raise MachineError(error.what, fix=error.fix) from error
    return "ready, or available"


def check_place(location: str, needed: int) -> str:
    """Check a store's location, which need not exist yet, and return in a few words what it is.

    Args:
        location: The value of `--store`.
        needed: Bytes that should be free; how much a bucket has free is not known.

    Raises:
        StoreError: It can't be written durably and by one worker alone, or lacks space.
    """
    store = attach_store(location)
    if isinstance(store, S3Store):
        return _test_bucket(store)
    # A store that does not exist yet is made in the nearest folder that does.
    place = Path(location).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise StoreError("it is no folder", where=str(place), fix="use --store with a folder")
    try:
        free = _test_folder(place)
    except OSError as error:
        fix = "correct its permissions, or use --store with a folder of your own"
        raise StoreError(error.strerror or str(error), where=str(place), fix=fix) from error
    if free < needed:
        raise StoreError(
            f"{byte_size(free)} free, and {byte_size(needed)} may be needed",
            where=str(place),
            fix="free some space there (nas-sweep gc finds what nobody needs), or use --store "
            "elsewhere",
        )
    return f"{place} can be written, {byte_size(free)} free"


def _test_folder(place: Path) -> int:
    """Return the bytes that a folder has free; raise StoreError if a store can't work there."""
    # In a folder of its own beside the store's files: what is there stays as it is, and the file
    # system is the same.
    with tempfile.TemporaryDirectory(prefix=".nas-sweep-doctor-", dir=place) as folder:
        trial, where = LocalStore(folder), str(place)
        lease, other = trial.leases.take("doctor"), trial.leases.take("doctor")
        if lease is None or other is not None:
            what = "two workers can hold one lease: its renames are not exclusive"
            raise StoreError(what, where=where, fix="use --store on another file system")
        for content in (b"old", b"new"):
            trial.put("doctor/file", content, lease=lease, durable=True)
        if trial.get("doctor/file") != b"new":
            raise StoreError(
                "it does not give back what was written", where=where, fix="replace it"
            )
        skew = (Path(folder) / "doctor/file").stat().st_mtime - time.time()
        if abs(skew) > SKEW:
            what = f"its clock is {skew:+.0f} s off this machine's"
            raise StoreError(what, where=where, fix="set both by NTP")
        lease.release()
    return shutil.disk_usage(place).free


def _test_bucket(store: S3Store) -> str:
    """Check that a bucket exists, can be written, and creates each name for one writer alone."""
    name = layout.probe(f"check-{uuid.uuid4().hex}")
    bucket: Bucket = store.bucket
    list(bucket.list(name))
    first, second = bucket.create(name, b"first"), bucket.create(name, b"second")
    found = bucket.get(name)
    bucket.remove([name])
    if not first or second:
        raise StoreError(
            "its server ignores If-None-Match: two workers can hold one lease",
            where=store.location,
            fix="use a server that supports conditional PUTs",
        )
    if not found or found[0] != b"first":
        what, fix = "it does not give back what was written", "use --store with another bucket"
        raise StoreError(what, where=store.location, fix=fix)
    return f"{store.location} can be written, by one worker alone"
