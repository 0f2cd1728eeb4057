from collections.abc import Iterator

import pytest
from small_checkpoints import ID
from small_trials import COMMIT_LAST, few_digits, small_spec

from results_schema.lease import Lease
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


@pytest.fixture(autouse=True)
def _few_digits() -> Iterator[None]:
    with few_digits():
        yield


@pytest.fixture
def spec() -> TrialSpec:
    return small_spec()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store in which `small_spec()` was trained without any trouble."""
    store = open_store(tmp_path_factory.mktemp("undisturbed") / "results")
    with few_digits():
        outcome = train(small_spec(), store, device="cpu", checkpointing=COMMIT_LAST)
    assert outcome.status == "done"
    return store


@pytest.fixture
def lease(store: LocalStore) -> Iterator[Lease]:
    lease = store.leases.take(ID)
    assert lease is not None
    with lease:
        yield lease
