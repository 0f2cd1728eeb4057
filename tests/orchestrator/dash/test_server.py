"""`nas-sweep dash` as its user meets it, the page in a real browser, and its events."""

import asyncio
import re
import signal
import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from sweeps import started
from windows import window

from orchestrator.dash import server
from orchestrator.dash.live import Live
from orchestrator.dash.server import events
from orchestrator.figures.export import find_browser
from results_schema import layout, tables
from results_schema.errors import MachineError

ROWS = "document.querySelectorAll('.ag-center-cols-container .ag-row').length"
LINES = "document.querySelectorAll('#curves .scatterlayer .trace').length"
TITLE = "document.querySelector('#curves .gtitle').textContent"
COUNTS = "document.querySelector('#counts').textContent"


@pytest.fixture
def page(trained):
    """The address of a server of the store, and its process."""
    with started("dash", "--store", trained.store.root, "--port", 0, PYTHONUNBUFFERED="1") as run:
        assert run.stdout
        line = run.stdout.readline()
        yield re.findall(r"http://127\.0\.0\.1:\d+", line)[0], run


@pytest.mark.timeout(180)
def test_the_page_in_a_browser(trained, page):
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

    address, process = page
    asyncio.run(visit(address))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert "Traceback" not in process.stdout.read()


def test_it_listens_on_this_machine_alone(page):
    port = int(page[0].rpartition(":")[2])
    for host in {socket.gethostbyname(socket.gethostname()), "127.0.0.2"} - {"127.0.0.1"}:
        with pytest.raises(OSError):
            socket.create_connection((host, port), timeout=2)
    socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_elsewhere_it_prints_an_address_with_its_token(trained):
    options = ("--store", trained.store.root, "--port", 0, "--host", "0.0.0.0")
    with started("dash", *options, PYTHONUNBUFFERED="1") as process:
        assert process.stdout
        address = process.stdout.readline().split()[0]
        bare, _, token = address.partition("/?token=")
        assert len(token) >= 32
        with pytest.raises(HTTPError, match="401"):
            urlopen(bare, timeout=10)


def test_what_is_in_the_way_is_named(run, trained, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, errors = run("dash", "--store", trained.store.root, "--port", port)
    assert code == 3
    assert f"port {port} can't be used" in errors and "--port 0" in errors
    code, _, errors = run("dash", "--store", tmp_path / "none")
    assert code == 3 and "there is no store here" in errors
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    code, _, errors = run("dash", "--store", trained.store.root)
    assert code == 3 and "nas-sweep[dash]" in errors


def test_versions_are_sent_and_empty_events_notice_a_page_that_went(trained, monkeypatch):
    monkeypatch.setattr(server, "POLL_SECONDS", 0.001)
    live = Live(trained.store)
    sent = events(live)
    first = next(sent)
    assert first == f"data: {live.session} {live.version}\n\n"
    trained.cut_off(trained.ids[1], rows=1)
    assert next(sent) == f"data: {live.session} {live.version}\n\n" != first
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.0)
    assert next(sent) == ":\n\n"
