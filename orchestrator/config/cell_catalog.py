"""A cell by what a user calls it: a published name, a name of the zoo, or a file of one's own."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import NamedTuple

from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import NAMES, named, official_name, zoo, zoo_genotype
from workers.cells.notation import load_genotype

ZOO = "zoo:"
"""Begins a name that is the zoo's alone, such as zoo:SNAS."""

SUFFIXES = (".json", ".yaml", ".yml", ".txt")
"""What the name of a file with a genotype ends in."""


class Found(NamedTuple):
    """A genotype, and what to call it; `published` where the samplers know it by that name."""

    name: str
    genotype: Genotype
    published: bool = False

    @property
    def origin(self) -> str | Genotype:
        """What the samplers take: the name, since a base's own sets go by it, or the genotype."""
        return self.name if self.published else self.genotype


def find(what: str) -> Found:
    """The cell of a name or file. The paper's names come before the zoo's.

    Raises:
        ConfigError: There is no such name.
        SpecError: The file or the zoo's entry holds no sound genotype.
        MachineError: The file is YAML and ruamel.yaml is not installed.
    """
    if Path(what).suffix.lower() in SUFFIXES:
        return Found(Path(what).stem, load_genotype(what))
    if what.startswith(ZOO):
        return Found(what, zoo_genotype(what.removeprefix(ZOO)))
    try:
        name = official_name(what)
    except SpecError as error:
        if what in zoo():
            return Found(what, zoo_genotype(what))
        close = difflib.get_close_matches(what.casefold(), [n.casefold() for n in _names()], n=3)
        near = [name for name in _names() if name.casefold() in close]
        raise ConfigError(
            f"no cell is called {what!r}",
            fix=f"did you mean {', '.join(near)}?"
            if near
            else f"`nas-sweep cells` lists the names; a file ends in {', '.join(SUFFIXES)}",
        ) from error
    return Found(name, named(name), published=True)


def _names() -> list[str]:
    return list(dict.fromkeys((*NAMES, *zoo())))
