"""What a trial is trained with: its images and its engine, on a device."""

from __future__ import annotations

import torch

from results_schema.errors import SpecError
from results_schema.plugins import require
from results_schema.trial import RECIPE_VERSION, TrialSpec, extensions
from workers.cells.cost import check_batches, check_image
from workers.data.batches import Data, evaluation_batches, load, training_batches
from workers.data.catalog import Dataset, describe
from workers.network.network import Network, build_network
from workers.training.engine import Batch, Engine
from workers.training.graphs import RECORDER, StepMode
from workers.training.recipe import entries


def check_versions(spec: TrialSpec) -> None:
    """Raise `SpecError` unless this process trains what the trial's spec means."""
    require(spec.extensions)
    entries(spec.recipe)
    if unnamed := {*extensions(spec)} - {*spec.extensions}:
        raise SpecError(
            f"the trial's id does not name {', '.join(sorted(unnamed))}, which is a plug-in's here",
            fix="plan it again, or rename the plug-in's entry",
        )
    current, statistics = describe(spec.dataset).preprocessing, spec.recipe.statistics
    versions = [
        ("recipe version", spec.recipe.version, RECIPE_VERSION),
        (f"preprocessing of {spec.dataset}", spec.preprocessing, current),
    ]
    if statistics != "own":
        current = describe(statistics).preprocessing
        versions.append((f"preprocessing of {statistics}", spec.statistics_preprocessing, current))
    for name, asked, ours in versions:
        if asked != ours:
            raise SpecError(
                f"the {name} is {asked}, and this release's is {ours}",
                fix="train it with the release that named it, or plan it again with this one",
            )


def set_up(
    spec: TrialSpec, device: torch.device, mode: StepMode | None = None
) -> tuple[Data, Engine]:
    """Return the images, shared with other trials on the device, and an engine of fresh weights.

    Whatever the trial will run is warmed up and recorded here, so that a resumed trial runs the
    same kernels from its first step.

    Raises:
        SpecError: The trial names an unknown data set, a network that can't be, or a batch size by
            which an epoch would fail at its end.
        DataError: The images can't be loaded.
        CaptureFailed: The steps can't be captured in a CUDA graph.
        RuntimeError: The GPU is out of memory or broken.
    """
    with RECORDER.lock.step():  # what is copied to a GPU may not meet a capture
        data = load_for(spec, device)
        auxiliary = spec.recipe.auxiliary > 0
        side = check_image(data.about.size, spec.network.stem_stride, auxiliary=auxiliary)
        check_batches(len(data.train), spec.recipe.batch_size, side, auxiliary=auxiliary)
        network = fresh_network(spec, data.about).to(device)
        engine = Engine(network, spec.recipe, spec.precision, mode)
    record(engine, spec, data)
    return data, engine


def load_for(spec: TrialSpec, device: torch.device) -> Data:
    """Return a trial's images on a device, as its recipe splits and prepares them."""
    return load(spec.dataset, device, validation=spec.recipe.validation).prepared(spec.recipe)


def record(engine: Engine, spec: TrialSpec, data: Data) -> None:
    """Record an engine's steps (`Engine.record`) for all shapes of batches that the trial has."""
    if engine.mode != "eager":
        recipe = spec.recipe
        training = training_batches(
            data, recipe.batch_size, spec.seed, 1, recipe.cutout, recipe.augmentation
        )
        evaluation = [
            batch
            for images in (data.test, data.validation)
            if images is not None
            for batch in _shapes(
                next(evaluation_batches(images, data.about, recipe.evaluation_batch)), len(images)
            )
        ]
        distinct = {pixels.shape: (pixels, labels) for pixels, labels in evaluation}
        engine.record(_shapes(next(training), len(data.train)), [*distinct.values()])


def _shapes(batch: Batch, images: int) -> list[Batch]:
    """Return a batch of each shape that so many images are split into, given the first."""
    pixels, labels = batch
    # The last batch of an epoch holds what is left over; a graph serves one shape alone.
    rest = images % len(labels)
    return [batch, (pixels[:rest], labels[:rest])] if rest else [batch]


def fresh_network(spec: TrialSpec, about: Dataset) -> Network:
    """Return a trial's network as it is before the first step, on the CPU."""
    # On the CPU, whose generator draws the same weights wherever they are trained.
    return build_network(
        spec.genotype,
        spec.network,
        in_channels=about.channels,
        classes=about.classes,
        seed=spec.seed,
        auxiliary=spec.recipe.auxiliary > 0,
    )
