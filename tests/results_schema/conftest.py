import pytest
from clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
