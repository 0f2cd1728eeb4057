"""A store whose trials were measured for the theory, made once."""

from pathlib import Path

import pytest
from small_theory import studied_store

from results_schema.store import LocalStore


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder: Path = tmp_path_factory.mktemp("studied")
    return studied_store(folder)
