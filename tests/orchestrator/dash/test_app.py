"""The page over HTTP: who is let in, what it serves, what its callbacks answer."""

import json

import pytest

from orchestrator.dash.app import build_app
from orchestrator.dash.live import Live


@pytest.fixture
def client(trained):
    return build_app(Live(trained.store)).server.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost", "localhost:1"])
def test_this_machine_is_let_in(client, host):
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8050"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": "localhost", "Origin": "null"},
        {"Host": "localhost:8050", "Origin": "http://localhost:9999"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/_dash-dependencies"])
def test_another_name_is_refused(client, headers, path):
    assert client.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/assets/pyproject.toml", "/assets/../app.py", "/_mcp", "/mcp"])
def test_no_file_of_this_machine_is_served(client, path):
    answer = client.get(path, headers={"Host": "localhost"})
    assert b"[project]" not in answer.data and b"def build_app" not in answer.data
    assert answer.status_code == 404 or b"react-entry-point" in answer.data


def test_the_page_names_nothing_elsewhere(client):
    page = client.get("/", headers={"Host": "localhost"}).data.decode()
    assert 'src="http' not in page and 'href="http' not in page and "//cdn" not in page


def test_an_opened_page_has_its_rows_and_its_curves(client, trained):
    layout = client.get("/_dash-layout", headers={"Host": "localhost"}).get_json()
    text = json.dumps(layout)
    assert all(trained_id in text for trained_id in trained.ids)
    assert "DARTS, digits, 0.025, seed 2" in text
    # Of any folder, Dash would serve the files that lie in the folder of its assets.
    assert "no-assets" not in text
