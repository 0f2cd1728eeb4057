"""What a trial's spec tells of its cell and its setting, beyond the columns of its row."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from orchestrator.figures.evidence import setting_key
from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.cost import count_on
from workers.cells.topology import used_inputs

BASE, ADAPTED, CONNECTIONS, OPERATIONS = "base", "adapted", "connections", "operations"


class Traits(NamedTuple):
    """Of one trial.

    Attributes:
        setting: Key of what trials that may be compared have in common (`evidence.Setting`).
        planned: Epochs of the recipe; NaN without a spec.
        width: Of the normal cell over its live nodes, in units of c, as Table 2 prints it.
        depth: Of the normal cell, in edges.
        live_parameters: Parameters that get a gradient; NaN without a spec.
        skips: Skip connections into live nodes of the normal cell; NaN without a spec.
        inputs: How many of the normal cell's inputs reach its output; NaN without a spec.
    """

    setting: str
    planned: float
    width: float
    depth: float
    live_parameters: float
    skips: float
    inputs: float


def traits(row: dict[Any, Any]) -> Traits:
    """The traits of a trial.

    Args:
        row: dataset, width, depth and spec, which may be null in a store that others filled.
    """
    spec = _spec(row["spec"])
    if spec is None:
        width, depth = (math.nan if row[k] is None else float(row[k]) for k in ("width", "depth"))
        return Traits(str(row["dataset"]), math.nan, width, depth, *[math.nan] * 3)
    cell = spec.genotype.normal
    live = cell.live_nodes
    edges = [e for node, edges in enumerate(cell.nodes, start=2) if node in live for e in edges]
    return Traits(
        setting=setting_key(spec),
        planned=spec.recipe.epochs,
        width=cell.width,
        depth=cell.depth,
        live_parameters=_live_parameters(spec.genotype, spec.network, spec.dataset),
        skips=sum(edge.op == "skip_connect" for edge in edges),
        inputs=len(used_inputs(cell)),
    )


def kind(base: str, variant: str, index: int) -> str:
    """What a member is: base, adapted, connections or operations.

    Operation variants are told by their names, `OPS3` or `ops seed 3`; adapted cells by the
    ending `_ADAPT` of theirs.
    """
    if index == 0:
        return ADAPTED if base.endswith("_ADAPT") else BASE
    return OPERATIONS if variant.lower().startswith("ops") else CONNECTIONS


def _spec(text: Any) -> TrialSpec | None:
    try:
        return TrialSpec.from_json(text) if isinstance(text, str) and text else None
    except SpecError:
        return None


@lru_cache(maxsize=10_000)
def _live_parameters(genotype: Genotype, network: NetworkSpec, dataset: str) -> float:
    try:
        return count_on(genotype, network, dataset).live_parameters
    except SpecError:
        return math.nan
