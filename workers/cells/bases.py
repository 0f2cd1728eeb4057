"""Published genotypes: the paper's cells (`cells.json`) and a zoo of other searches' (`zoo.json`).

The zoo holds the final genotypes of searches whose cells have two inputs, as their authors' or a
survey's repository lists them; each entry of the file names its source. The network around a cell
of the zoo is ours and not its authors'.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from results_schema.errors import SpecError, suggest
from results_schema.genotype import Genotype
from workers.cells.notation import FIELDS, parse_genotype

BASES = ("NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS")
"""The five best cells that the paper studies (Figure 1); DARTS is its second-order cell, SNAS the
one found under the mild constraint."""

ADAPTED = tuple(f"{base}_ADAPT" for base in BASES)
"""Each base rewired so that every node takes both inputs (Figure 25)."""

DARTS_CONNECTIONS = tuple(f"DARTS_CONN{i}" for i in range(1, 5))
"""The connection variants of DARTS in Figures 2 to 8, which no seed of the sampler yields."""

DARTS_OPERATIONS = tuple(f"DARTS_OPS{i}" for i in range(1, 6))
"""The first five operation variants of DARTS in Table 3, which no seed of the sampler yields."""

NAMES = (*BASES, "DARTS_V1", *ADAPTED, *DARTS_OPERATIONS, *DARTS_CONNECTIONS)
"""Every name that `named` accepts, except the aliases DARTS_V2 and SNAS_MILD."""

_ALIASES = {"DARTS_V2": "DARTS", "SNAS_MILD": "SNAS"}


def named(name: str) -> Genotype:
    """Return the genotype that the paper publishes under a name; see `official_name`."""
    return _genotype("cells.json", official_name(name))


def official_name(name: str) -> str:
    """Return the one of `NAMES` that a name or alias refers to.

    Raises:
        SpecError: No genotype has this name.
    """
    if isinstance(name, str) and (official := _ALIASES.get(name, name)) in NAMES:
        return official
    fix = suggest(name, (*NAMES, *_ALIASES), otherwise=f"use one of {', '.join(NAMES)}")
    raise SpecError(f"unknown genotype {name!r}", fix=fix)


def zoo() -> tuple[str, ...]:
    """Return the names of the zoo's genotypes; some are also names of bases, which may differ."""
    return tuple(_read("zoo.json"))


def zoo_genotype(name: str) -> Genotype:
    """Return the genotype of a name of the zoo.

    Raises:
        SpecError: The zoo lacks the name, or the network lacks one of the operations.
    """
    if name not in zoo():
        fix = suggest(name, zoo(), otherwise=f"use one of {', '.join(zoo())}")
        raise SpecError(f"the zoo has no {name!r}", fix=fix)
    try:
        return _genotype("zoo.json", name)
    except SpecError as error:
        where = f"{name} of the zoo, {error.where}"
        raise SpecError(error.what, where=where, fix=error.fix) from error


@cache
def _genotype(file: str, name: str) -> Genotype:
    entry = _read(file)[name]
    return parse_genotype({field: entry[field] for field in FIELDS})


@cache
def _read(file: str) -> dict[str, dict[str, Any]]:
    return json.loads(resources.files("workers.cells").joinpath(file).read_text("utf-8"))
