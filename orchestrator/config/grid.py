"""The grid: the axes whose product is an experiment's trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, PlainValidator

from orchestrator.config.documents import Document, Problem
from orchestrator.config.fields import STRICT, Axis, DatasetName, check_distinct
from orchestrator.config.genotypes import Base, Bases
from orchestrator.config.variants import Variants, read_variants
from results_schema.errors import SpecError
from workers.cells.topology import reconcat
from workers.cells.variants import Variant

MAX_MEMBERS = 100_000

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0)]


class Grid(BaseModel):
    """The axes."""

    model_config = STRICT

    genotype: Bases = Field(description="published cells, such as [DARTS, ENAS]")
    variants: Annotated[Variants, PlainValidator(read_variants)] = Variants()
    reconcat: bool = False
    dataset: Annotated[tuple[DatasetName, ...], AfterValidator(check_distinct)] = Field(
        description="data sets, such as [cifar10]; [] if cells are only drawn"
    )
    learning_rate: Axis[Rate] = (0.025,)
    seed: Axis[Seed] = (0,)

    def cells(self, base: Base) -> list[Variant]:
        """The base itself, as index 0, and its variants.

        Raises:
            SpecError: The base has no such variants.
        """
        cells = [Variant(0, base.name, base.genotype), *self.variants.of(base)]
        if self.reconcat:
            cells = [replace(cell, genotype=reconcat(cell.genotype)) for cell in cells]
        return cells


def problems_of_product(grid: Grid, document: Document, file: Path) -> Iterator[Problem]:
    """What no axis can tell alone: a base without such variants, and too large a product.

    Args:
        grid: Its axes are sound.
        document: That the grid was read from.
        file: That a mismatch is blamed on only if nothing overrode it.
    """
    cells = 0
    for position, base in enumerate(grid.genotype):
        try:
            cells += len(grid.cells(base))
        except SpecError as error:
            place = document.place(("grid", "variants"))
            if place.source == str(file):
                place = document.place(("grid", "genotype", position))
            what = error.what if base.name in error.what else f"{base.name}: {error.what}"
            yield Problem(place, f"grid.variants: {what}", error.fix)
    size = cells * len(grid.dataset) * len(grid.learning_rate) * len(grid.seed)
    if size > MAX_MEMBERS:
        what = f"the grid has {size:,} trials"
        yield Problem(document.place(("grid",)), what, f"stay within {MAX_MEMBERS:,}")
