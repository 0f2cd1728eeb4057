"""Canonical specs: what trains to equal numbers gets one id.

A spec itself sets a field without effect to its default where its other fields show that
(`results_schema.trial`, `results_schema.surface`). The cases here need more: how many images a data
set has, its statistics, and the operations of the cells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from results_schema.surface import SurfaceSpec
from results_schema.trial import Recipe, TrialSpec, extensions
from workers.cells.stack import stack
from workers.data.catalog import describe


def canonical_trial(spec: TrialSpec) -> TrialSpec:
    """Return the trial with every field that changes none of its numbers at one fixed value.

    - A batch larger than the training or test set holds all of it, whatever its size.
    - A cutout that blanks every image whole wherever its centre is does so at any larger side.
    - Another data set's statistics that equal the trial's own are its own.
    - Drop path never drops an identity, so it does nothing where all live operations are.

    Entries of plug-ins that it uses are named in its `extensions`.

    Raises:
        SpecError: A data set is unknown, or its statistics have another number of channels.
    """
    data, recipe = describe(spec.dataset), spec.recipe
    changes: dict[str, Any] = {
        "batch_size": min(recipe.batch_size, data.train),
        "cutout": min(recipe.cutout, 2 * data.size - 1),
    }
    if recipe.evaluation_batch >= data.test:
        # The default stays where it holds the whole set, as it is left out of the hash.
        changes["evaluation_batch"] = max(data.test, Recipe.evaluation_batch)
    version = spec.statistics_preprocessing
    if recipe.statistics != "own":
        named = data.normalised_by(recipe.statistics)
        if (named.mean, named.std) == (data.mean, data.std):
            changes["statistics"], version = "own", 0
    if recipe.drop_path and not _drops_paths(spec):
        changes["drop_path"] = 0.0
    canonical = replace(recipe, **changes)
    named = extensions(spec)
    if canonical == recipe and named == spec.extensions:
        return spec
    return replace(spec, recipe=canonical, statistics_preprocessing=version, extensions=named)


def canonical_surface(spec: SurfaceSpec) -> SurfaceSpec:
    """Return the surface with a subset as large as the split written as all of its images."""
    data = describe(spec.trial.dataset)
    whole = data.test if spec.split == "test" else data.train
    return replace(spec, subset=0) if spec.subset >= whole else spec


def _drops_paths(spec: TrialSpec) -> bool:
    """Return whether drop path can drop an edge: a live one whose operation is not the identity."""
    places = stack(spec.genotype, spec.network, auxiliary=spec.recipe.auxiliary > 0)
    return any(
        edge.live and not edge.is_identity for place in places if place.live for edge in place.edges
    )
