"""What is sent to a cluster: this very code, and the files that an experiment is read from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.config.experiment import Experiment, find_profile, load_experiment
from results_schema.errors import ConfigError

PACKAGES = ("results_schema", "workers", "orchestrator")
FILES = "files"
"""Folder of a shipment for the experiments' files, with the same paths between them as here."""


class Shipment(NamedTuple):
    """Experiments' files in a folder of their own.

    Attributes:
        experiments: Paths of their files in the folder.
        profile: Path of the profile's file in the folder, or None.
    """

    experiments: list[str]
    profile: str | None


def pack_code(folder: Path) -> None:
    """Copy this code into an empty folder, with a note of its release and commit."""
    from workers.training.device import SHIPPED, code_origin

    root, ignore = Path(__file__).parents[2], shutil.ignore_patterns("__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(root / name, folder / name, ignore=ignore)
    (folder / SHIPPED).write_text(json.dumps(code_origin()))


def pack(
    folder: Path,
    paths: Sequence[Path],
    experiments: Sequence[Experiment],
    *,
    profile: str | None,
    overrides: Sequence[str],
) -> Shipment:
    """Copy this code, and all that is read for some experiments, into an empty folder.

    Args:
        folder: The folder.
        paths: The experiments' files.
        experiments: What was read from them.
        profile: A profile as `load_experiment` takes it.
        overrides: Values as `load_experiment` takes them.

    Raises:
        ConfigError: A cell's file is named by a path that means nothing on another machine.
    """
    pack_code(folder)
    chosen = [find_profile(profile, path) for path in paths] if profile else []
    cells = [base.file for one in experiments for base in one.grid.genotype if base.file]
    # Files name each other by relative paths, which stay right below a common root.
    root = Path(os.path.commonpath([_plain(path).parent for path in (*paths, *chosen, *cells)]))

    def place(path: Path) -> str:
        return (Path(FILES) / _plain(path).relative_to(root)).as_posix()

    for path in (*paths, *chosen, *cells):
        target = folder / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shipment = Shipment([*map(place, paths)], _only([*map(place, chosen)]))
    for path, name in zip(paths, shipment.experiments, strict=True):
        _check(path, folder, name, shipment.profile, overrides)
    return shipment


def _check(
    path: Path, folder: Path, name: str, profile: str | None, overrides: Sequence[str]
) -> None:
    """Raise ConfigError unless what was packed names nothing outside of the folder."""
    # Overrides may name files too, so the whole is read again, from where it will be read.
    moved = str(folder / profile) if profile else None
    packed = load_experiment(folder / name, profile=moved, overrides=overrides)
    for base in packed.grid.genotype:
        if base.file and not base.file.is_relative_to(folder):
            raise ConfigError(
                f"the cells of {base.name} are in {base.file}, a path of this machine alone",
                where=str(path),
                fix="name the file by its path from the experiment's file",
            )


def _only(profiles: Iterable[str]) -> str | None:
    """Return the profile of all experiments; raise ConfigError if their folders have several."""
    found = sorted(set(profiles))
    if len(found) > 1:
        names = " and ".join(name.removeprefix(f"{FILES}/") for name in found)
        raise ConfigError(
            f"the experiments have several profiles of this name: {names}",
            where="--profile",
            fix="launch them apart, or give the profile's path",
        )
    return found[0] if found else None


def _plain(path: Path) -> Path:
    """Return the absolute path without `..` in it."""
    return Path(os.path.normpath(path.absolute()))
