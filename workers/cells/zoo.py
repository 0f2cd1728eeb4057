"""Cells that other searches published, to ask of them what the paper asks of its five.

They are the final genotypes of searches that use cells of two inputs, as their authors' or a
survey's repository lists them; the network's details outside the cell are not theirs but ours.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.notation import parse_genotype
from workers.cells.readers import FIELDS


@dataclass(frozen=True)
class Origin:
    """Where a cell of the zoo comes from.

    Attributes:
        source: The GitHub repository and the file in it.
        note: What to know before using it; often empty.
    """

    source: str
    note: str


def zoo() -> tuple[str, ...]:
    """The names of the zoo's genotypes. Some are also names of bases, which may differ."""
    return tuple(_entries())


def zoo_genotype(name: str) -> Genotype:
    """The genotype of a name.

    Raises:
        SpecError: The zoo lacks the name, or the network lacks one of the operations.
    """
    entry = _entry(name)
    try:
        return parse_genotype({field: entry[field] for field in FIELDS})
    except SpecError as error:
        raise SpecError(
            error.what, where=f"{name} of the zoo, {error.where}", fix=error.fix
        ) from error


def zoo_origin(name: str) -> Origin:
    """Where the genotype of a name comes from.

    Raises:
        SpecError: The zoo lacks the name.
    """
    entry = _entry(name)
    return Origin(entry["source"], entry.get("note", ""))


def _entry(name: str) -> dict[str, Any]:
    entries = _entries()
    if name not in entries:
        by_fold = {known.casefold(): known for known in entries}
        close = difflib.get_close_matches(str(name).casefold(), by_fold, n=3)
        near = ", ".join(by_fold[fold] for fold in close)
        raise SpecError(
            f"the zoo has no {name!r}",
            fix=f"did you mean {near}?" if near else f"use one of {', '.join(entries)}",
        )
    return entries[name]


@cache
def _entries() -> dict[str, dict[str, Any]]:
    return json.loads(resources.files("workers.cells").joinpath("zoo.json").read_text("utf-8"))
