"""The files of experiments that a user names: one by one, or all of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from results_schema.errors import ConfigError
from results_schema.layout import natural

SUFFIXES = (".yaml", ".yml")


def find_files(names: Iterable[str]) -> list[Path]:
    """The files in the order given, those of a folder by name (fig2 before fig10), each once.

    Folders below are passed over.

    Raises:
        ConfigError: A folder has no such file.
    """
    found: dict[Path, None] = {}
    for path in map(Path, names):
        files = [path]
        if path.is_dir():
            files = sorted(
                (f for f in path.iterdir() if f.suffix in SUFFIXES),
                key=lambda file: natural(file.stem),
            )
            if not files:
                raise ConfigError(
                    "the folder has no experiment", where=str(path), fix="name .yaml files"
                )
        found |= dict.fromkeys(files)
    return list(found)
