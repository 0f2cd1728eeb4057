"""Surfaces of a small trial, measured within a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from same_results import result_columns
from small_trials import EPOCHS, small_spec

from results_schema import layout, tables
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec
from results_schema.tables import POINTS, SURFACES
from workers.landscape.curvature import Hutchinson, Lanczos
from workers.training import checkpoint


def small_surface(kind: str = "contour", epoch: int = EPOCHS, **changes: Any) -> SurfaceSpec:
    """Of `small_spec()`, on a grid of 25 points."""
    trial = changes.pop("trial", small_spec())
    side = 1 if kind == "curvature" else 5
    return SurfaceSpec(trial, epoch, kind, **dict[str, Any](rows=side, columns=side) | changes)


@contextmanager
def few_products() -> Iterator[None]:
    """Within it a curvature makes at most a dozen products for the spectrum, and ten for the trace.

    They are too few for either to converge.
    """
    with pytest.MonkeyPatch.context() as patch:
        lanczos: Any = Lanczos.__init__.__kwdefaults__
        hutchinson: Any = Hutchinson.__init__.__kwdefaults__
        patch.setitem(lanczos, "iterations", 12)
        patch.setitem(hutchinson, "probes", 10)
        yield


def points(store: LocalStore, spec: SurfaceSpec) -> pd.DataFrame:
    """The surface's points, as a reader finds them now."""
    key = layout.points(spec.surface_id)
    return tables.from_parquet(store.get(key), POINTS, key).to_pandas()


def summary(store: LocalStore, spec: SurfaceSpec) -> dict[str, Any]:
    """The finished surface's row."""
    key = layout.surface(spec.surface_id)
    [row] = tables.from_parquet(store.get(key), SURFACES, key).to_pylist()
    return row


def assert_same_surface(store: LocalStore, other: LocalStore, spec: SurfaceSpec) -> None:
    """Both stores hold the same surface, to the last bit."""
    for key, schema in (
        (layout.points(spec.surface_id), POINTS),
        (layout.surface(spec.surface_id), SURFACES),
    ):
        one, two = (
            result_columns(tables.from_parquet(s.get(key), schema, key), schema).to_pandas()
            for s in (store, other)
        )
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def other_network(store: LocalStore, spec: SurfaceSpec, factor: float = 1.001) -> None:
    """Puts other weights under the trial's last checkpoint, as another machine would round them."""
    trial_id = spec.trial.trial_id
    found = checkpoint.load(store, trial_id, checkpoint.epochs(store, trial_id)[-1])
    tensors = {
        name: tensor.nan_to_num() * factor if tensor.is_floating_point() else tensor
        for name, tensor in found.tensors.items()
    }
    lease = store.leases.take(trial_id)
    assert lease is not None
    with lease:
        checkpoint.save(store, lease, trial_id, replace(found, tensors=tensors))
