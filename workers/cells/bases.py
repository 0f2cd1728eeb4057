"""The published genotypes: the paper's bases, their adapted forms and the fixed DARTS variants."""

from __future__ import annotations

import difflib
import json
from functools import cache
from importlib import resources

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Genotype

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
"""Every name that `named` knows, aside from the aliases DARTS_V2 and SNAS_MILD."""

_ALIASES = {"DARTS_V2": "DARTS", "SNAS_MILD": "SNAS"}


def named(name: str) -> Genotype:
    """The genotype published under a name.

    Raises:
        SpecError: No genotype has this name.
    """
    return _published()[official_name(name)]


def official_name(name: str) -> str:
    """The one of `NAMES` that a name or alias stands for.

    Raises:
        SpecError: No genotype has this name.
    """
    if isinstance(name, str) and (official := _ALIASES.get(name, name)) in NAMES:
        return official
    by_fold = {known.casefold(): known for known in (*NAMES, *_ALIASES)}
    close = difflib.get_close_matches(str(name).casefold(), by_fold, n=3)
    raise SpecError(
        f"unknown genotype {name!r}",
        fix=f"did you mean {', '.join(by_fold[fold] for fold in close)}?"
        if close
        else f"use one of {', '.join(NAMES)}",
    )


@cache
def _published() -> dict[str, Genotype]:
    text = resources.files("workers.cells").joinpath("cells.json").read_text("utf-8")
    return {
        name: Genotype(
            Cell.from_pairs(cells["normal"], cells["normal_concat"]),
            Cell.from_pairs(cells["reduce"], cells["reduce_concat"]),
        )
        for name, cells in json.loads(text).items()
    }
