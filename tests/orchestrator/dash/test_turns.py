"""An open page hears of each turn, once."""

import pytest

from orchestrator.dash import turns
from orchestrator.dash.app import build_app
from orchestrator.dash.live import Live
from orchestrator.dash.turns import events


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(turns, "EVERY", 0.001)


def test_the_turn_is_told_at_once_and_again_when_something_is_new(trained):
    live = Live(trained.store)
    heard = events(live)
    first = next(heard)
    assert first == f"data: {live.name} {live.turn}\n\n"
    trained.cut_off(trained.ids[1], rows=1)
    assert next(heard) == f"data: {live.name} {live.turn}\n\n" != first


def test_silence_is_broken_so_that_a_page_that_went_is_noticed(trained, monkeypatch):
    monkeypatch.setattr(turns, "SILENCE", 0.0)
    heard = events(Live(trained.store))
    assert [next(heard).startswith("data") for _ in range(3)] == [True, False, False]


def test_no_other_site_hears(trained):
    client = build_app(Live(trained.store)).server.test_client()
    assert client.get("/turns", headers={"Host": "evil.example"}).status_code == 403
