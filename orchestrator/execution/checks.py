"""What a launch needs of a machine, one check each; what is missing comes with its cure."""

from __future__ import annotations

import os
import platform
import re
import stat
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from orchestrator.output.text import byte_size, cores
from results_schema.errors import MachineError, NasSweepError
from workers.data.folder import ready
from workers.data.sources import SOURCES

ROOM = 10**9
"""Bytes that a store and main memory should have free at least."""
YEARS = 2026, 2100
"""Between which a clock may stand: nothing is run before it was released."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Where NVIDIA's kernel module tells its version."""


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        name: What was looked at.
        verdict: "ok"; "note", something is missing that not everyone needs; or "bad".
        found: In a few words.
        fix: How to mend it, empty if there is nothing to mend.
    """

    name: str
    verdict: str
    found: str
    fix: str = ""


def check_python() -> Check:
    """The interpreter; an older one would not have come so far."""
    return Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def check_packages() -> Check:
    """Every direct dependency in a version that will do."""
    try:
        asked = [Requirement(line) for line in metadata.requires("nas-sweep") or []]
    except metadata.PackageNotFoundError:
        return Check("packages", "note", "nas-sweep is not installed", "uv sync, in its checkout")
    wrong, found = [], []
    for requirement in asked:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if wrong:
        return Check("packages", "bad", ", ".join(wrong), "pip install --upgrade nas-sweep")
    return Check("packages", "ok", ", ".join(found))


def check_memory() -> Check:
    """Cores that this process may use, and main memory."""
    free = psutil.virtual_memory().available
    found = f"{cores()} cores, {byte_size(free)} of memory free"
    if free < ROOM:
        return Check("machine", "note", found, f"a trial needs about {byte_size(ROOM)}")
    return Check("machine", "ok", found)


def check_clock() -> Check:
    """A clock that was never set dates rows and heartbeats wrongly."""
    now = time.gmtime()
    found = time.strftime("%Y-%m-%d %H:%M UTC", now)
    if not YEARS[0] <= now.tm_year <= YEARS[1]:
        return Check("clock", "bad", f"it says {found}", "set this machine's clock, by NTP")
    return Check("clock", "ok", found)


def check_browser() -> Check:
    """A browser draws .png, .svg and .pdf; figures are written as .html without one."""
    from orchestrator.figures.export import find_browser

    try:
        return Check("browser", "ok", find_browser())
    except MachineError as error:
        return Check("browser", "note", f"{error.what}: figures are .html alone", error.fix)


def check_ray() -> Check:
    """Imported in a process of its own, since an import may crash."""
    command = [sys.executable, "-c", "import ray.tune; print(ray.__version__)"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("ray", "bad", str(error), "pip install 'ray[default,tune]>=2.55'")
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        return Check("ray", "bad", said, "pip install 'ray[default,tune]>=2.55'")
    version = ran.stdout.split()[-1]
    if [int(n) for n in re.findall(r"\d+", version)[:2]] < [2, 55]:
        return Check("ray", "bad", version, "pip install 'ray[default,tune]>=2.55'")
    return Check("ray", "ok", version)


def check_ray_folder() -> Check:
    """Where nodes started by `ray start` keep sockets and logs; a launch's own Ray is private."""
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
    try:
        about = [one.stat() for one in (folder, *folder.resolve().parents)]
    except OSError:
        return Check("ray folder", "ok", f"no node has used {folder}")
    closed = any(not one.st_mode & stat.S_IXOTH for one in about)
    sticky = about[0].st_mode & stat.S_ISVTX
    if closed or sticky or not about[0].st_mode & stat.S_IWOTH:
        return Check("ray folder", "ok", f"{folder} is closed to other users")
    return Check(
        "ray folder",
        "note",
        f"every user of this machine can replace the sockets in {folder} of nodes that were "
        "started by ray start",
        "start nodes with RAY_TMPDIR set to a folder of mode 0700 (docs/cluster.md)",
    )


def check_gpu() -> Check:
    """A machine without a GPU trains on its CPU; one whose GPU torch can't use is to be mended."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            import torch

            names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
            usable = torch.cuda.is_available()
    except (ImportError, OSError, RuntimeError) as error:
        return Check("gpu", "bad", f"torch: {error}", "pip install --force-reinstall torch")
    version = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    if usable:
        return Check("gpu", "ok", f"{', '.join(names)}; {version}; driver {_driver()}")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if (driver := _driver()) and not hidden:
        said = f"driver {driver} is there, and {version} sees no GPU: "
        said += "; ".join(str(one.message).split("(")[0].strip() for one in told)
        return Check(
            "gpu", "bad", said, "install a driver for this CUDA, or a torch for the driver"
        )
    return Check(
        "gpu", "note", f"none; {version}", "use --profile laptop, --device cpu or --address"
    )


def check_data(name: str) -> Check:
    """A data set that is downloaded is needed by some experiments alone."""
    try:
        ready(name)
    except NasSweepError as error:
        verdict = "note" if name in SOURCES else "bad"
        return Check(f"data {name}", verdict, error.what, error.fix)
    return Check(f"data {name}", "ok", "ready, or to be had")


def _driver() -> str:
    """The NVIDIA kernel module's version, empty without one."""
    text = DRIVER.read_text() if DRIVER.exists() else ""
    found = re.search(r"\s(\d+\.\d[\d.]*)\s", text)
    return found[1] if found else ""
