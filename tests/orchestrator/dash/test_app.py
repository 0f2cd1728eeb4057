"""The page over HTTP: who is let in, what it serves, what it says of the claims."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dash.app import CLAIM_COLUMNS, build_app, claims_table
from orchestrator.dash.live import Live
from orchestrator.paper.claims import findings
from results_schema import layout
from results_schema.results import Results
from results_schema.store import open_store


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


def rows(table: Any) -> list[list[str]]:
    head, body = table.children
    assert [cell.children for cell in head.children.children] == list(CLAIM_COLUMNS.values())
    return [[cell.children for cell in row.children] for row in body.children]


def test_every_finding_is_a_row(trained):
    found = findings(Results(trained.store), ["small"])
    shown = rows(claims_table(trained.store, "small"))
    assert [row[0] for row in shown] == [one.claim for one in found]
    assert [row[4] for row in shown] == [one.verdict for one in found]
    assert all(isinstance(text, str) for row in shown for text in row)


def test_a_store_without_results_has_no_data_and_no_error(tmp_path: Path):
    shown = rows(claims_table(open_store(tmp_path / "empty"), None))
    assert "no data" in {row[4] for row in shown}


def test_damage_is_shown(trained):
    path = trained.store.root / layout.metrics(trained.ids[0])
    path.write_bytes(path.read_bytes()[:-9])
    assert trained.ids[0] in claims_table(trained.store, None).children
