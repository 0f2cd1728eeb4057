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
    - A cutout that blanks every image whole wherever its centre is does so at any larger side, and
      however images were changed before.
    - Another data set's statistics that equal the trial's own are its own.
    - Mirroring and padding as the data set has them are not named.
    - A share that is held out is that of whole images.
    - Drop path never drops an identity, so it does nothing where all live operations are.

    Entries of plug-ins that it uses are named in its `extensions`.

    Raises:
        SpecError: A data set is unknown, its statistics have another number of channels, or none or
            all of its images are held out.
    """
    data, recipe = describe(spec.dataset), spec.recipe
    held = data.held_out(recipe.validation)
    changes: dict[str, Any] = {
        "batch_size": min(recipe.batch_size, data.train - held),
        "cutout": min(recipe.cutout, 2 * data.size - 1),
        "flip": None if recipe.flip == data.flip else recipe.flip,
        "padding": None if recipe.padding == data.padding else recipe.padding,
        "validation": held / data.train,
    }
    if changes["cutout"] == 2 * data.size - 1:
        changes |= {"flip": None, "padding": None, "augmentation": ()}
    largest = max(data.test, held)
    if recipe.evaluation_batch >= largest:
        # The default stays where it holds the whole set, as it is left out of the hash.
        changes["evaluation_batch"] = max(largest, Recipe.evaluation_batch)
    version = spec.statistics_preprocessing
    if recipe.statistics != "own":
        named = data.normalised_by(recipe.statistics)
        if (named.mean, named.std) == (data.mean, data.std):
            changes["statistics"], version = "own", 0
    if recipe.drop_path and not _drops_paths(spec):
        changes["drop_path"] = 0.0
    if any(getattr(recipe, name) != value for name, value in changes.items()):
        recipe = replace(recipe, **changes)
        spec = replace(spec, recipe=recipe, statistics_preprocessing=version)
    named = extensions(spec)
    return spec if named == spec.extensions else replace(spec, extensions=named)


def canonical_surface(spec: SurfaceSpec) -> SurfaceSpec:
    """Return the surface with a subset as large as the split written as all of its images."""
    data = describe(spec.trial.dataset)
    trained = data.train - data.held_out(spec.trial.recipe.validation)
    whole = data.test if spec.split == "test" else trained
    return replace(spec, subset=0) if spec.subset >= whole else spec


def _drops_paths(spec: TrialSpec) -> bool:
    """Return whether drop path can drop an edge: a live one whose operation is not the identity."""
    places = stack(spec.genotype, spec.network, auxiliary=spec.recipe.auxiliary > 0)
    return any(
        edge.live and not edge.is_identity for place in places if place.live for edge in place.edges
    )
