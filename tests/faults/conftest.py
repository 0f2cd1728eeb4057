from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from small_trials import COMMIT_LAST, few_digits, small_spec

from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.loop import train


@pytest.fixture
def on_few_digits() -> Iterator[None]:
    """For trials that are trained in this process; those of Ray have all digits."""
    with few_digits():
        yield


@pytest.fixture(scope="session")
def specs() -> Sequence[TrialSpec]:
    """Three trials of six epochs, a second or less each."""
    return [replace(small_spec(epochs=6), seed=seed) for seed in range(3)]


@pytest.fixture(scope="session")
def reference(specs: Sequence[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store in which they were trained without any trouble."""
    store = open_store(tmp_path_factory.mktemp("reference") / "results")
    with few_digits():
        for spec in specs:
            assert train(spec, store, device="cpu", checkpointing=COMMIT_LAST).status == "done"
    return store
