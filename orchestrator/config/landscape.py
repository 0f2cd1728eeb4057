"""The surfaces that an experiment asks for, of every distinct trial or of those at some indices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from itertools import islice, product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainValidator

from orchestrator.config.documents import STRICT, Axis, Document, one_of, show
from results_schema.errors import SpecError
from results_schema.surface import KINDS, NORMALISATIONS, PRECISIONS, SPLITS, SurfaceSpec
from results_schema.trial import TrialSpec
from workers.identity import canonical_surface

MAX_SURFACES = 100_000
MAX_SIDE = 1001
_SPEC_FIELDS = {field.name for field in fields(SurfaceSpec)}

Whole = Annotated[int, Field(ge=0)]
Extent = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _read_grid(value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise SpecError(
            f"{show(value)} is no grid",
            fix="write an odd number of points a side, or [rows, columns]",
        )
    if any(side % 2 == 0 for side in sides):
        odd = [min(side | 1, MAX_SIDE) for side in sides]
        raise SpecError(
            f"a grid of {show(value)} has no point at the centre, where the trained network is",
            fix=f"use odd sides, such as {odd if isinstance(value, list | tuple) else odd[0]}",
        )
    return sides[0], sides[1]


def _read_cell(value: Any) -> str:
    if not re.fullmatch(r"base|C[1-9]\d{0,5}", str(value)):
        raise SpecError(f"{show(value)} is no cell of a figure", fix="write base, C1, C2, …")
    return value


def _read_epoch(value: Any) -> Any:
    if value != "last" and not (type(value) is int and value >= 0):
        raise SpecError(f"{show(value)} is no epoch", fix="write a whole number or 'last'")
    return value


_EPOCHS: Any = Whole | Literal["last"]
Epoch = Annotated[
    int | Literal["last"], PlainValidator(_read_epoch, json_schema_input_type=_EPOCHS)
]


class Surfaces(BaseModel, **STRICT):
    """Surfaces of one kind of every trial."""

    subset: Whole = 0
    subset_seed: Whole = 0
    split: Annotated[str, one_of("split", SPLITS)] = "test"
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "fp32"
    seed: Whole = 0
    epochs: Axis[Epoch] = ("last",)
    indices: Axis[Whole] = ()

    def settings(self, index: int) -> Iterable[dict[str, Any]]:
        """Yield the fields of `SurfaceSpec` but trial, epoch and kind, for a member's surfaces."""
        yield self.model_dump(include=_SPEC_FIELDS) | {"rows": 1, "columns": 1}


class Contours(Surfaces):
    """Loss over a grid of points."""

    grid: Annotated[tuple[int, int], PlainValidator(_read_grid)] = (51, 51)
    extent: Extent = 1.0
    extents: dict[Annotated[str, PlainValidator(_read_cell)], Extent] = {}
    pairs: Annotated[int, Field(ge=1, le=MAX_SIDE)] = 1
    normalisation: Annotated[str, one_of("normalisation", NORMALISATIONS)] = "filter"

    def settings(self, index: int) -> Iterable[dict[str, Any]]:
        """See `Surfaces.settings`."""
        for common in super().settings(index):
            for pair in range(self.pairs):
                yield common | {
                    "rows": self.grid[0],
                    "columns": self.grid[1],
                    "extent": self.extents.get(f"C{index}" if index else "base", self.extent),
                    "pair": pair,
                }


class Variances(Contours):
    """Gradient variance over a grid of points."""

    grid: Annotated[tuple[int, int], PlainValidator(_read_grid)] = (21, 21)
    subset: Whole = 1000
    auxiliary: bool = False
    by_parameter: bool = False


class Curvatures(Surfaces):
    """Curvature at the centre."""

    subset: Whole = 1000


class Landscape(BaseModel, **STRICT):
    """The kinds of surfaces that are measured."""

    contour: Contours | None = None
    gradient_variance: Variances | None = None
    curvature: Curvatures | None = None

    def of(self, members: Iterable[tuple[int, TrialSpec]]) -> list[SurfaceSpec]:
        """Return every distinct surface of some members, each an index and a trial.

        Raises:
            SpecError: A trial has no such epoch, a kind cannot be measured so, or there are more
                than `MAX_SURFACES`.
        """
        kinds: list[tuple[str, Surfaces]] = [
            (kind, wanted) for kind in KINDS if (wanted := getattr(self, kind)) is not None
        ]
        asked: list[tuple[TrialSpec, int | Literal["last"], str, dict[str, Any]]] = []
        for (index, trial), (kind, wanted) in product(members, kinds):
            if not wanted.indices or index in wanted.indices:
                every = product([trial], wanted.epochs, [kind], wanted.settings(index))
                asked += islice(every, MAX_SURFACES + 1)
            if len(asked) > MAX_SURFACES:
                fix = f"stay within {MAX_SURFACES:,}"
                raise SpecError("it asks for too many surfaces", fix=fix)
        found: dict[str, SurfaceSpec] = {}
        for trial, epoch, kind, settings in asked:
            at = trial.recipe.epochs if epoch == "last" else epoch
            surface = canonical_surface(SurfaceSpec(trial, at, kind, **settings))
            found[surface.surface_id] = surface
        return list(found.values())


def override_landscape(settings: Document, document: Document) -> Document:
    """Return the document with a profile's options for the kinds that the document itself names.

    A grid of 1, the centre alone, stays: it asks for a number and not for a picture of some size.
    """
    named = document.data.get("landscape")
    for kind, options in settings.data.get("landscape", {}).items():
        if not isinstance(named, dict) or not isinstance(named.get(kind), dict):
            continue
        for key in options:
            if key == "grid" and named[kind].get("grid") == 1:
                continue
            path = ("landscape", kind, key)
            document = document.override(path, settings, path)
    return document
