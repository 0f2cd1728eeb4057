"""Trials that end within a second: some hundred weights, trained on a few real digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from same_results import result_columns
from torch import Tensor

from results_schema import layout, tables
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.store import LocalStore, Store
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers import identity
from workers.data import batches, catalog, embedded
from workers.training import checkpoint
from workers.training.attempt import Outcome
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

TRAIN, TEST = 160, 80
EPOCHS = 3

_CELL = Cell(((Edge("conv_1x1", 1), Edge("skip_connect", 0)),), (2,))
GENOTYPE = Genotype(_CELL, _CELL)

COMMIT_ALL, COMMIT_LAST = Checkpointing(every=0), Checkpointing(every=1e9)


def small_spec(*, genotype: Genotype = GENOTYPE, rate: float = 0.1, **recipe: Any) -> TrialSpec:
    """A trial of three cells on digits."""
    return TrialSpec(
        genotype=genotype,
        dataset="digits",
        preprocessing=catalog.DATASETS["digits"].preprocessing,
        network=NetworkSpec(cells=3, channels=2),
        recipe=Recipe(**dict[str, Any](epochs=EPOCHS, batch_size=48) | recipe),
        learning_rate=rate,
        seed=0,
    )


@contextmanager
def few_digits() -> Iterator[None]:
    """Within it the data set digits has its first 160 training and 80 test images alone.

    Trials are still named by the whole data set, so that they have one id within and without.
    """
    (train, labels), (test, test_labels) = embedded._sources()
    few = (train[:TRAIN], labels[:TRAIN]), (test[:TEST], test_labels[:TEST])
    about = replace(catalog.DATASETS["digits"], train=TRAIN, test=TEST)
    whole = dict(catalog.DATASETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "describe", lambda name: whole.get(name) or catalog.describe(name))
        patch.setitem(catalog.DATASETS, "digits", about)
        patch.setattr(embedded, "_sources", lambda: few)
        batches._loaded.cache_clear()
        yield
        batches._loaded.cache_clear()


def train_on_few_digits(spec: TrialSpec, store: Store, checkpointing: Checkpointing) -> Outcome:
    """What a child process runs."""
    with few_digits():
        return train(spec, store, device="cpu", checkpointing=checkpointing)


def rows(store: Store, spec: TrialSpec) -> pd.DataFrame:
    """The trial's metrics, as a reader finds them now."""
    return table(store, layout.metrics(spec.trial_id), tables.METRICS).to_pandas()


def ending(store: Store, spec: TrialSpec) -> dict[str, Any]:
    """The ended trial's row."""
    [row] = table(store, layout.trial(spec.trial_id), tables.TRIALS).to_pylist()
    return row


def log(store: Store, spec: TrialSpec) -> str:
    """What the trial's workers said; empty if they wrote nothing."""
    key = layout.log(spec.trial_id)
    return store.get(key).decode() if store.has(key) else ""


def table(store: Store, key: str, schema: pa.Schema) -> pa.Table:
    return tables.from_parquet(store.get(key), schema, key)


def tensors(store: Store, spec: TrialSpec) -> dict[str, Tensor]:
    """Those of the newest checkpoint."""
    newest = checkpoint.epochs(store, spec.trial_id)[-1]
    return checkpoint.load(store, spec.trial_id, newest).tensors


def assert_same(store: Store, other: Store, spec: TrialSpec) -> None:
    """Both stores hold the same results of an ended trial, to the last bit."""
    for key, schema in (
        (layout.metrics(spec.trial_id), tables.METRICS),
        (layout.trial(spec.trial_id), tables.TRIALS),
    ):
        one, two = (result_columns(table(s, key, schema), schema) for s in (store, other))
        pd.testing.assert_frame_equal(one.to_pandas(), two.to_pandas(), check_exact=True)
    assert_same_bits(tensors(store, spec), tensors(other, spec))


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(bits(found[name]), bits(expected[name])), name


def bits(tensor: Tensor) -> Tensor:
    """NaN is equal to itself as bits."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def files(store: LocalStore) -> set[str]:
    """Every file of the store but the tables' empty schemas."""
    paths = (path for path in store.root.rglob("*") if not path.is_dir())
    keys = {path.relative_to(store.root).as_posix() for path in paths}
    return {key for key in keys if not key.endswith("/0-schema.parquet")}
