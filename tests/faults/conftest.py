from collections.abc import Iterator

import pytest
from small_trials import few_digits


@pytest.fixture
def on_few_digits() -> Iterator[None]:
    """For trials that are trained in this process; those of Ray have all digits."""
    with few_digits():
        yield
