"""The page over HTTP: who is let in, what it serves, what its callbacks send again."""

import json
from typing import Any

import pytest

from orchestrator.dash import live as live_module
from orchestrator.dash.app import CLAIM_COLUMNS, build_app, claims_table
from orchestrator.dash.live import Live
from orchestrator.dash.server import TOKEN, token_for
from orchestrator.paper.claims import findings
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results
from results_schema.store import open_store

LOCAL = {"Host": "localhost"}


@pytest.fixture
def live(trained, monkeypatch):
    monkeypatch.setattr(live_module, "RECHECK_SECONDS", 0.0)
    return Live(trained.store)


@pytest.fixture
def client(live):
    return build_app(live).server.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost", "localhost:1"])
def test_this_machine_is_let_in(client, host):
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    page = answer.data.decode()
    assert 'src="http' not in page and 'href="http' not in page and "//cdn" not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8050"},
        {"Host": "localhost.evil.example"},
        LOCAL | {"Origin": "http://evil.example"},
        LOCAL | {"Origin": "null"},
        LOCAL | {"Origin": "http://["},
        {"Host": "["},
        {"Host": "localhost:8050", "Origin": "http://localhost:9999"},
    ],
)
def test_another_name_is_refused(client, headers):
    for path in ("/", "/_dash-layout", "/_dash-dependencies", "/events"):
        assert client.get(path, headers=headers).status_code == 403


SECRET = "correct-horse-battery"


def test_from_elsewhere_the_page_needs_its_token(live):
    server = build_app(live, "0.0.0.0", SECRET).server
    there = {"Host": "gpu7.lab.example:8050"}
    for path in ("/", "/_dash-layout", "/events", "/?token=", "/?token=wrong", "/?token=%ff%00"):
        answer = server.test_client().get(path, headers=there)
        assert answer.status_code == 401
        assert SECRET not in answer.data.decode()
    for given in ("Basic x", "Bearer wrong", "Bearer", f"Basic {SECRET}"):
        headers = there | {"Authorization": given}
        assert server.test_client().get("/", headers=headers).status_code == 401
    bearer = there | {"Authorization": f"Bearer {SECRET}"}
    assert server.test_client().get("/", headers=bearer).status_code == 200
    browser = server.test_client()
    answer = browser.get(f"/?token={SECRET}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert browser.get("/_dash-layout").status_code == 200
    assert browser.get("/", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("host", "asks"),
    [("127.0.0.1", False), ("localhost", False), ("127.0.0.2", False), ("::1", False),
     ("0.0.0.0", True), ("::", True), ("10.0.0.7", True), ("gpu7", True)],
)  # fmt: skip
def test_only_this_machines_own_addresses_ask_for_no_token(host, asks, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    first, second = token_for(host), token_for(host)
    assert bool(first) == asks
    assert not asks or (len(first) >= 32 and first != second)
    monkeypatch.setenv(TOKEN, SECRET)
    assert token_for(host) == (SECRET if asks else "")
    monkeypatch.setenv(TOKEN, "short")
    if asks:
        with pytest.raises(ConfigError, match="5 characters"):
            token_for(host)


@pytest.mark.parametrize("path", ["/assets/pyproject.toml", "/assets/../app.py", "/_mcp", "/mcp"])
def test_no_file_of_this_machine_is_served(client, path):
    answer = client.get(path, headers=LOCAL)
    assert b"[project]" not in answer.data and b"def build_app" not in answer.data
    assert answer.status_code == 404 or b"react-entry-point" in answer.data


def test_an_opened_page_has_its_rows_and_its_curves(client, trained):
    text = json.dumps(client.get("/_dash-layout", headers=LOCAL).get_json())
    assert all(trained_id in text for trained_id in trained.ids)
    assert "DARTS, digits, 0.025, seed 2" in text
    # Of any folder, Dash would serve the files that lie in the folder of its assets.
    assert "no-assets" not in text


def test_only_lines_that_changed_are_sent_again(client, live, trained):
    def update(before: list[Any], **changes: Any) -> dict[str, Any]:
        live.refresh()
        state = [live.session, live.version, "all"]
        values = {"table-state": state, "shown": trained.ids, "chosen": None,
                  "column": "test_loss", "log": [], **changes}  # fmt: skip
        keys = {"column": "value", "log": "value"}
        inputs = [{"id": k, "property": keys.get(k, "data"), "value": v} for k, v in values.items()]
        body = {
            "output": "..curves.figure...curves-state.data..",
            "outputs": [{"id": "curves", "property": "figure"},
                        {"id": "curves-state", "property": "data"}],
            "inputs": inputs,
            "state": [{"id": "curves-state", "property": "data", "value": before}],
            "changedPropIds": ["table-state.data"],
        }  # fmt: skip
        return client.post("/_dash-update-component", json=body, headers=LOCAL).get_json()[
            "response"
        ]

    first = update(["", 0, ["", 0, "all"]])
    lines = first["curves"]["figure"]["data"]
    assert [line["meta"]["trial"] for line in lines] == trained.ids
    state = first["curves-state"]["data"]
    again = update(state)
    assert "curves" not in again
    trained.cut_off(trained.ids[1], rows=1)
    changed = update(again["curves-state"]["data"])["curves"]["figure"]
    assert [one["location"] for one in changed["operations"]] == [["data", 1]]
    line = changed["operations"][0]["params"]["value"]
    assert (line["meta"]["trial"], line["mode"]) == (trained.ids[1], "markers")
    assert "data" in update(state, log=["log"])["curves"]["figure"]


def rows(table: Any) -> list[list[str]]:
    head, body = table.children
    assert [cell.children for cell in head.children.children] == list(CLAIM_COLUMNS.values())
    return [[cell.children for cell in row.children] for row in body.children]


def test_every_claim_is_a_row(trained):
    found = [one for one in findings(Results(trained.store), ["small"]) if one.primary]
    table: Any = claims_table(trained.store, "small")
    shown = rows(table)
    assert {row[0] for row in shown} == {one.claim for one in found}
    assert {row[0]: row[1] for row in shown} == {one.claim: one.verdict for one in found}
    assert all(isinstance(text, str) for row in shown for text in row)
    details = [row.title for row in table.children[1].children]
    assert {one.statement for one in found} == {
        text.partition("statement: ")[2].splitlines()[0] for text in details
    }


def test_claims_of_an_empty_store_and_of_a_damaged_one(trained, tmp_path):
    shown = rows(claims_table(open_store(tmp_path / "empty"), None))
    assert "no data" in {row[1] for row in shown}
    path = trained.store.root / layout.metrics(trained.ids[0])
    path.write_bytes(path.read_bytes()[:-9])
    assert trained.ids[0] in claims_table(trained.store, None).children
