"""`nas-sweep dash` as its user meets it, the page in a real browser, and its events."""

import asyncio
import contextlib
import re
import signal
import socket
from importlib import util

import pytest
from sweeps import started
from windows import window

from orchestrator.dash import server
from orchestrator.dash.app import build_app
from orchestrator.dash.live import Live
from orchestrator.dash.server import events
from orchestrator.figures.export import find_browser
from results_schema import layout, tables
from results_schema.errors import MachineError

ROWS = "document.querySelectorAll('.ag-center-cols-container .ag-row').length"
LINES = "document.querySelectorAll('#curves .scatterlayer .trace').length"
TITLE = "document.querySelector('#curves .gtitle').textContent"
COUNTS = "document.querySelector('#counts').textContent"


@contextlib.contextmanager
def page(store):
    """The address of a server of its own."""
    with started("dash", "--store", store.root, "--port", 0, PYTHONUNBUFFERED="1") as process:
        assert process.stdout
        line = process.stdout.readline()
        yield re.findall(r"http://127\.0\.0\.1:\d+", line)[0], process


@pytest.mark.timeout(180)
def test_the_page_in_a_browser(trained):
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: the page is not tested in a browser")
    key = layout.metrics(trained.ids[0])
    rows = tables.from_parquet(trained.store.get(key), tables.METRICS, key).to_pylist()
    evil = "<img src=x onerror=\"document.title='taken'\">"
    members = layout.members("small")
    named = tables.from_parquet(trained.store.get(members), tables.MEMBERS, members).to_pylist()
    named[1] |= {"variant": evil, "index": 1}
    trained.store.put(members, tables.to_parquet(named, tables.MEMBERS))

    async def visit(address: str) -> None:
        async with window(address) as opened:
            assert await opened.until(f"{ROWS} === 3 && {LINES} === 3")
            assert await opened.until(f"{COUNTS} === '3 trials: 3 done'")
            await opened.write("#find", "onerror")
            await opened.until(f"{ROWS} === 1 && {LINES} === 1")
            assert await opened.call(TITLE) == "1 trial"
            await opened.call("document.querySelector('#find').select()")
            await opened.write("#find", "DARTS")
            await opened.until(f"{ROWS} === 3 && {LINES} === 3")
            more = [*rows, rows[-1] | {"epoch": 3, "test_accuracy": 0.4321}]
            trained.store.put(key, tables.to_parquet(more, tables.METRICS))
            await opened.until("document.body.innerText.includes('0.4321')")
            await opened.until(
                "Math.max(...document.querySelector('#curves .js-plotly-plot')"
                "._fullData.flatMap(line => Array.from(line.x))) === 3"
            )
            await opened.call("document.querySelector('#test').click()")
            await opened.until("document.querySelector('#claims').innerText.length > 0")
            assert await opened.call("document.title") == "nas-sweep: results"
            assert opened.complaints == []

    with page(trained.store) as (address, process):
        asyncio.run(visit(address))
        # Ends it as Ctrl-C does, which shells let their background jobs ignore.
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert process.stdout
        assert "Traceback" not in process.stdout.read()


def test_it_listens_on_this_machine_alone(trained):
    with page(trained.store) as (address, _):
        port = int(address.rpartition(":")[2])
        for host in {socket.gethostbyname(socket.gethostname()), "127.0.0.2"} - {"127.0.0.1"}:
            with pytest.raises(OSError):
                socket.create_connection((host, port), timeout=2)
        socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_a_port_in_use_is_refused(run, trained):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, errors = run("dash", "--store", trained.store.root, "--port", port)
    assert code == 3
    assert f"port {port} can't be used" in errors
    assert "--port 0" in errors


def test_a_missing_store_is_refused(run, tmp_path):
    code, _, errors = run("dash", "--store", tmp_path / "none")
    assert code == 3
    assert "there is no store here" in errors


def test_without_dash_it_says_what_to_install(run, trained, monkeypatch):
    monkeypatch.setattr(
        server, "find_spec", lambda name: None if name == "dash" else util.find_spec(name)
    )
    code, _, errors = run("dash", "--store", trained.store.root)
    assert code == 3
    assert "nas-sweep[dash]" in errors


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(server, "POLL_SECONDS", 0.001)


def test_the_version_is_sent_at_once_and_again_when_something_is_new(trained, hurried):
    live = Live(trained.store)
    sent = events(live)
    first = next(sent)
    assert first == f"data: {live.session} {live.version}\n\n"
    trained.cut_off(trained.ids[1], rows=1)
    assert next(sent) == f"data: {live.session} {live.version}\n\n" != first


def test_an_empty_event_is_sent_so_that_a_page_that_went_is_noticed(trained, hurried, monkeypatch):
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.0)
    sent = events(Live(trained.store))
    assert [next(sent).startswith("data") for _ in range(3)] == [True, False, False]


def test_no_other_site_gets_events(trained):
    client = build_app(Live(trained.store)).server.test_client()
    assert client.get("/events", headers={"Host": "evil.example"}).status_code == 403
