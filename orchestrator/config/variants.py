"""What `grid.variants` may say: which cells stand beside every base."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainValidator, model_validator

from orchestrator.config.documents import show, suggest
from orchestrator.config.fields import STRICT, Axis, one_of, part
from orchestrator.config.genotypes import Base
from orchestrator.config.refusals import bad_value, refusal, unknown_keys
from results_schema.errors import SpecError
from workers.cells.bases import NAMES
from workers.cells.sampling import Profile, Sampling, Stratified, Uniform
from workers.cells.variants import Variant, connection_variants, operation_variants

_SAMPLINGS = {"profile": part(Profile), "uniform": part(Uniform), "stratified": part(Stratified)}

OPERATIONS = ("paper10", "legacy")
"""Sets of operation variants."""

REDUCTIONS = ("drawn", "kept")
"""Whether a variant's reduction cell is drawn like its normal cell, as published, or the base's."""

MODES = ("paper4", "paper10", "paper13", "main_text", *_SAMPLINGS)
"""Sets of connection variants: the paper's own, and those drawn with options."""


def _read_connections(value: Any) -> str | Sampling:
    if isinstance(value, Sampling):
        return value
    options = dict(value) if isinstance(value, dict) else {"mode": value}
    if "mode" not in options:
        raise SpecError("no mode is given", fix=f"add mode: {', '.join(MODES)}")
    mode = options.pop("mode")
    if mode not in MODES:
        error = SpecError(
            f"unknown set of connection variants {show(mode)}", fix=suggest(str(mode), MODES)
        )
        raise refusal([bad_value("mode", mode, error)]) if isinstance(value, dict) else error
    if mode in _SAMPLINGS:
        return _SAMPLINGS[mode](options)
    if options:
        raise refusal(unknown_keys(options, ["mode"]))
    return mode


class Variants(BaseModel):
    """Sets of variants, of which a grid has one at most."""

    model_config = STRICT

    connections: Annotated[str | Sampling | None, PlainValidator(_read_connections)] = None
    operations: Annotated[str | None, one_of("set of operation variants", OPERATIONS)] = None
    indices: Axis[Annotated[int, Field(ge=1)]] = ()
    reduction: Annotated[str, one_of("kind of reduction cell", REDUCTIONS)] = "drawn"

    @model_validator(mode="after")
    def _one_set(self) -> Variants:
        if self.connections and self.operations:
            raise SpecError(
                "connections and operations are both given",
                fix="keep one; a second experiment shares the trials of the bases",
            )
        if not (self.connections or self.operations):
            for key in sorted(self.model_fields_set & {"indices", "reduction"}):
                raise SpecError(f"{key} of no variants", fix="add connections or operations")
        return self

    def of(self, base: Base) -> list[Variant]:
        """The variants of a base, by index.

        Raises:
            SpecError: The base has no such set, its drawing fails, or an index is not in it.
        """
        drawn = _draw(base, self.connections, self.operations)
        if missing := set(self.indices) - {variant.index for variant in drawn}:
            raise SpecError(
                f"there is no variant {min(missing)}", fix=f"use indices from 1 to {len(drawn)}"
            )
        chosen = [v for v in drawn if not self.indices or v.index in self.indices]
        if self.reduction == "drawn":
            return chosen
        kept = base.genotype.reduce
        return [replace(v, genotype=replace(v.genotype, reduce=kept)) for v in chosen]


@cache
def _draw(
    base: Base, connections: str | Sampling | None, operations: str | None
) -> tuple[Variant, ...]:
    # What the paper drew of a base goes by its name.
    origin = base.name if base.name in NAMES else base.genotype
    if connections:
        return tuple(connection_variants(origin, connections))
    if not operations:
        return ()
    return tuple(
        Variant(v.index, v.name if v.name.startswith("OPS") else f"ops {v.name}", v.genotype)
        for v in operation_variants(origin, operations)
    )


def read_variants(value: Any) -> Variants:
    """Validates `grid.variants`: `none`, a set of connection variants, or keys and values.

    Raises:
        SpecError: The value is none of them.
        ValidationError: A key or its value is not as it should be.
    """
    if isinstance(value, Variants):
        return value
    if not isinstance(value, dict):
        known = ("none", *MODES)
        if value not in known:
            raise SpecError(
                f"unknown set of variants {show(value)}", fix=suggest(str(value), known)
            )
        value = {} if value == "none" else {"connections": value}
    return Variants.model_validate_json(json.dumps(value))
