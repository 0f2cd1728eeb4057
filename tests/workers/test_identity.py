"""Ids against the numbers they name: each field of a spec is changed, and both are compared.

Specs of recipe version 1 keep fields without effect, so the numbers are computed from them as they
are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_surfaces import few_products
from small_trials import GENOTYPE, bits

from results_schema import tables
from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.plugins import Registry, registry
from results_schema.surface import SurfaceSpec
from results_schema.trial import _OPTIONS, RECIPE_VERSION, NetworkSpec, Recipe, TrialSpec
from workers.identity import canonical_surface, canonical_trial
from workers.landscape.instances import select_instances
from workers.landscape.measures import Case, measure
from workers.training.attempt import Stopping
from workers.training.recipe import OPTIMIZERS, SCHEDULES
from workers.training.setup import set_up
from workers.training.trial import train_epoch

CPU = torch.device("cpu")
IMAGES, LARGER = "synthetic_24x1x8_4", "synthetic_28x1x8_4"
_IDENTITIES = Cell(((Edge("skip_connect", 0), Edge("skip_connect", 1)),), (2,))
_POOLS = Cell(((Edge("max_pool_3x3", 1), Edge("skip_connect", 0)),), (2,))
_DEAD_POOL = Cell((_IDENTITIES.nodes[0], (Edge("max_pool_3x3", 2),)), (2,))
_NO_STRIDE = Cell(((), (Edge("skip_connect", 2),)), (3,))

registry("augmentation").enter("dim", lambda images, draws: images / 2)

BASE = TrialSpec(
    genotype=GENOTYPE,
    dataset=IMAGES,
    preprocessing=1,
    network=NetworkSpec(cells=3, channels=2),
    recipe=Recipe(epochs=2, batch_size=10, version=1),
    learning_rate=0.1,
    seed=0,
)


def _with(spec: TrialSpec, **changes: Any) -> TrialSpec:
    """The trial with fields of its recipe, its network and its own changed."""
    for name in ("recipe", "network"):
        part = getattr(spec, name)
        own = {f.name for f in fields(part)}
        given = {key: value for key, value in changes.items() if key in own}
        spec = replace(spec, **{name: replace(part, **given)})
        changes = {key: value for key, value in changes.items() if key not in own}
    return replace(spec, **changes)


TRIALS = {
    "plain": BASE,
    "one epoch": _with(BASE, epochs=1),
    "no decay": _with(BASE, weight_decay=0.0),
    "drop path": _with(BASE, drop_path=0.5),
    "drop path at once": _with(BASE, drop_path=0.5, drop_path_growth="constant", epochs=1),
    "drop path of one epoch": _with(BASE, drop_path=0.5, epochs=1),
    "drop path of pools": _with(BASE, genotype=Genotype(_POOLS, _POOLS), drop_path=0.5),
    "drop path of identities": _with(
        BASE, genotype=Genotype(_DEAD_POOL, _NO_STRIDE), drop_path=0.5
    ),
    "whole batches": _with(BASE, batch_size=24, evaluation_batch=4),
    "whole cutout": _with(BASE, cutout=15),
    "adamw": _with(BASE, optimizer="adamw"),
    "no momentum": _with(BASE, momentum=0.0),
    "steps": _with(BASE, schedule="step", step_epochs=1, epochs=3),
    "late steps": _with(BASE, schedule="step", step_epochs=2, epochs=3, warmup_epochs=1),
    "one cycle": _with(BASE, schedule="one_cycle", epochs=4),
    "warmed up": _with(BASE, warmup_epochs=1, schedule="constant"),
    "validation": _with(BASE, validation=0.25, batch_size=18, evaluation_batch=6),
    "auxiliary": _with(BASE, dataset="synthetic_24x1x32_4", auxiliary=0.4, epochs=1),
}
CHANGES: dict[str, tuple[Any, ...]] = {
    "genotype": (Genotype(_POOLS, _POOLS),),
    "dataset": ("synthetic_20x1x8_4",),
    "cells": (4,),
    "channels": (4,),
    "stem_stride": (2,),
    "epochs": (1, 2, 3),
    "batch_size": (9, 24, 25, 100),
    "momentum": (0.5,),
    "weight_decay": (0.0, 0.1),
    "grad_clip": (0.01,),
    "cutout": (0, 5, 14, 15, 16, 100),
    "auxiliary": (0.0, 0.1),
    "drop_path": (0.0, 0.7),
    "schedule": ("cosine", "cosine_shifted", "constant", "step", "one_cycle"),
    "decayed": ("all", "weights"),
    "drop_path_growth": ("linear", "constant"),
    "statistics": ("own", IMAGES, LARGER, "digits"),
    "evaluation_batch": (1, 4, 5, 500, 600),
    "optimizer": ("sgd", "adamw"),
    "nesterov": (True,),
    "beta2": (0.5,),
    "epsilon": (0.1,),
    "warmup_epochs": (1, 2),
    "step_epochs": (1, 2, 3),
    "step_factor": (0.5,),
    "rise": (0.6,),
    "label_smoothing": (0.0, 0.1),
    "flip": (None, True, False),
    "padding": (None, 0, 1, 2),
    "augmentation": ((), ("dim",)),
    "validation": (0.0, 0.09, 0.1, 0.2),
    "learning_rate": (0.05,),
    "seed": (1,),
    "precision": ("fp32", "bf16"),
}
COUNTED = {
    "version",
    "preprocessing",
    "statistics_preprocessing",
    "extensions",
    "network",
    "recipe",
}
"""Versions, which count changes of code, and parts whose own fields are changed."""
RECENT = {
    "adamw": ("momentum", "nesterov", "beta2", "epsilon", "decayed", "optimizer"),
    "no momentum": ("nesterov", "optimizer"),
    "steps": ("step_epochs", "step_factor", "rise", "schedule", "warmup_epochs"),
    "late steps": ("step_epochs", "step_factor", "epochs"),
    "one cycle": ("rise", "step_epochs", "schedule", "epochs"),
    "warmed up": ("warmup_epochs", "schedule", "epochs"),
    "validation": ("validation", "batch_size", "evaluation_batch"),
}
"""Fields that have an effect under some others alone, of trials in which no other is changed."""
ROUNDING = {"evaluation_batch"}
"""Fields that are part of an id though they change no more than rounding, or not even that."""


def _variants(trial: str) -> Iterator[tuple[str, Any, TrialSpec]]:
    spec = TRIALS[trial]
    for name in RECENT.get(trial, CHANGES):
        for value in CHANGES[name]:
            large = spec.dataset.endswith("x32_4")
            if name in ("dataset", "stem_stride") and large:
                continue  # the auxiliary head takes maps of one size
            if name == "auxiliary" and value and not large:
                continue
            with suppress(SpecError):  # such as a warm-up longer than the training
                yield name, value, _with(spec, **{name: value})


def _canonical(spec: TrialSpec) -> TrialSpec:
    """The canonical form of the trial in the current version."""
    version = 1 if spec.recipe.statistics != "own" else 0
    recipe = replace(spec.recipe, version=RECIPE_VERSION)
    return canonical_trial(replace(spec, recipe=recipe, statistics_preprocessing=version))


def _id(spec: TrialSpec) -> str:
    return _canonical(spec).trial_id


@cache
def _numbers(spec: TrialSpec) -> tuple[Any, ...]:
    """What a trial comes to: the result columns of its rows, and its tensors as bytes."""
    data, engine = set_up(spec, CPU)
    rows = [
        train_epoch(spec, epoch, engine, data, Stopping())
        for epoch in range(1, spec.recipe.epochs + 1)
    ]
    columns = [
        f.name for f in tables.METRICS if f.metadata[b"kind"] == b"result" and f.name != "trial_id"
    ]
    tensors = {name: bits(tensor).numpy().tobytes() for name, tensor in engine.state().items()}
    return [repr([row[name] for name in columns]) for row in rows], tensors


def test_every_field_of_a_trial_is_changed():
    known = {f.name for part in (TrialSpec, Recipe, NetworkSpec) for f in fields(part)}
    assert known - COUNTED == CHANGES.keys(), "enter new fields, with other values, in CHANGES"


@pytest.mark.parametrize("known", [OPTIMIZERS, SCHEDULES], ids=lambda known: known.kind)
def test_every_built_in_choice_is_tried_and_lists_its_options(known: Registry):
    # Other modules of tests enter their own beside them.
    entries = {n: e for n, e in known.items() if e.resolve().__module__.startswith("workers.")}
    assert entries.keys() == set(CHANGES[known.kind]), "enter it in CHANGES"
    assert entries.keys() == _OPTIONS[known.kind].keys(), "enter it in _OPTIONS"
    for name, entry in entries.items():
        assert {*entry.about.get("options", ())} <= _OPTIONS[known.kind][name], name


@pytest.mark.parametrize("trial", TRIALS)
def test_trials_of_equal_numbers_and_no_others_have_one_id(trial: str):
    spec = TRIALS[trial]
    for name, value, other in _variants(trial):
        same_id, same_numbers = _id(other) == _id(spec), _numbers(other) == _numbers(spec)
        ids, numbers = ("equal" if same else "different" for same in (same_id, same_numbers))
        found = f"with {name} {value!r} the ids are {ids} and the numbers {numbers}"
        if name in ROUNDING:
            assert same_numbers or not same_id, found
        else:
            assert same_id == same_numbers, found


@pytest.mark.parametrize("trial", TRIALS)
def test_a_canonical_trial_is_its_own_canonical_form(trial: str):
    for _, _, other in _variants(trial):
        found = _canonical(other)
        assert canonical_trial(found) == found
        assert TrialSpec.from_json(found.to_json()) == found


@given(st.data())
def test_a_default_that_holds_the_whole_test_set_stays(data: st.DataObject):
    batch = data.draw(st.integers(4, 10_000))
    spec = _with(BASE, version=RECIPE_VERSION, evaluation_batch=batch)
    assert canonical_trial(spec) == _with(BASE, version=RECIPE_VERSION)


SURFACES = {
    "contour": SurfaceSpec(BASE, 0, "contour", 3, 3),
    "line": SurfaceSpec(BASE, 0, "contour", 1, 3),
    "centre": SurfaceSpec(BASE, 0, "contour", 1, 1),
    "subset": SurfaceSpec(BASE, 0, "contour", 1, 1, subset=3, split="train"),
    "variance": SurfaceSpec(BASE, 0, "gradient_variance", 3, 1),
    "variance at the centre": SurfaceSpec(BASE, 0, "gradient_variance", 1, 1),
    "curvature": SurfaceSpec(BASE, 0, "curvature", 1, 1),
}
SURFACE_CHANGES: dict[str, tuple[Any, ...]] = {
    "rows": (1, 5),
    "columns": (1, 5),
    "extent": (0.5,),
    "seed": (1,),
    "pair": (1,),
    "normalisation": ("none", "layer"),
    "split": ("train",),
    "subset": (4, 0, 3, 5, 24, 1000),
    "subset_seed": (1,),
    "precision": ("fp64",),
    "by_parameter": (True,),
}
ELSEWHERE = {"trial", "epoch", "kind", "auxiliary", "version"}
"""Fields whose every allowed value names another network, other numbers, or a version."""


@cache
def _measured(surface: SurfaceSpec) -> tuple[Any, ...]:
    """What a surface comes to: its points and its summary."""
    data, engine = set_up(surface.trial, CPU)
    images, labels = select_instances(surface, data)
    with few_products():
        measuring = measure(Case(surface, engine.network, images, labels, len(data.train)))
        measuring.resume([], {})
        found = list(measuring.missing())
    summary = measuring.summary(found)
    if len(found) == 1:
        summary.pop("cosine", None)  # of directions along which no point lies
    return repr(found), repr(summary)


def test_every_field_of_a_surface_is_changed():
    assert {f.name for f in fields(SurfaceSpec)} - ELSEWHERE == SURFACE_CHANGES.keys()


@pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
def test_surfaces_of_equal_numbers_and_no_others_have_one_id(surface: SurfaceSpec):
    today = replace(BASE, recipe=replace(BASE.recipe, version=RECIPE_VERSION))

    def name(other: SurfaceSpec) -> str:
        return canonical_surface(replace(other, trial=today)).surface_id

    for field, values in SURFACE_CHANGES.items():
        for value in values:
            if field in ("rows", "columns") and surface.kind == "curvature":
                continue  # it has no grid
            if field == "by_parameter" and surface.kind != "gradient_variance":
                continue
            other = replace(surface, **{field: value})
            assert (name(other) == name(surface)) == (_measured(other) == _measured(surface)), (
                field,
                value,
            )
