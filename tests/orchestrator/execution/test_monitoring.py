"""A sweep as those who monitor it see it: in a real Prometheus, and in Ray's dashboard."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from grafana import GPU_ONLY, expressions
from items import sent
from metric_pages import discovery, served
from prometheus import DOCS, Prometheus, documented, missing, prometheus
from ray_heads import TOKEN, Head, small_head
from small_trials import small_spec
from sweeps import launch, trained_epochs, wait_for, write_experiment
from windows import window

from orchestrator.execution.progress import METRICS
from orchestrator.figures.export import find_browser
from results_schema import layout
from results_schema.errors import MachineError
from results_schema.results import Results
from results_schema.store import LocalStore, open_store

pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.docs, pytest.mark.timeout(600)]

AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
OFTEN = {"RAY_metrics_report_interval_ms": "2000"}
EPOCHS, SEEDS, SIDE = 12, "0, 1, 2, 3", 15

NAMED = """
import sys, json, ray
from ray.train._internal.storage import StorageContext
from orchestrator.execution.trainable import NamedItem

ray.init(sys.argv[1], log_to_driver=False)
items = [
    ray.remote(NamedItem).options(num_cpus=1).remote(
        config, storage=StorageContext(sys.argv[2], "sweep", trial_dir_name=str(number))
    )
    for number, config in enumerate(json.load(sys.stdin))
]
for item in items:
    assert ray.get(item.train.remote())["epoch"] == 1
print("trained", flush=True)
while True:
    ray.get([item.train.remote() for item in items])
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with small_head(tmp_path_factory.mktemp("home"), **AUTH, **OFTEN) as head:
        yield head


@pytest.fixture(scope="module")
def watched(
    head: Head, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, LocalStore]]:
    """Prometheus, after a sweep of which it scraped the metrics."""
    if why := missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("m")
    experiment, store = write_experiment(folder, epochs=EPOCHS, seeds=SEEDS), folder / "results"
    landscape = f"\nlandscape: {{contour: {{grid: {SIDE}}}}}\n"
    experiment.write_text(experiment.read_text() + landscape)
    config = documented(discovery(head.folder)).replace("interval: 10s", "interval: 1s")
    with prometheus(folder, config) as asked:
        options = ("--address", head.address, "--store", store)
        code, output = launch(experiment, *options, **AUTH, **OFTEN)
        assert code == 0, output
        yield asked, LocalStore(store)


def test_prometheus_counts_what_the_store_holds_by_host_and_item(watched, head: Head):
    asked, store = watched
    trials, host = len(SEEDS.split(",")), platform.node()
    [(labels, epochs)] = asked.until("ray_nas_sweep_epochs_total", lambda found: found != [])
    assert epochs == trials * EPOCHS == trained_epochs(store)
    assert (labels["host"], labels["experiments"]) == (host, "small")
    [(labels, points)] = asked.ask("ray_nas_sweep_points_total")
    assert points == trials * SIDE**2 == len(Results(store.root).points())
    assert labels["kind"] == "contour"
    # A gauge ends with its launch: its last values lie a little back.
    for name in ("trials", "surfaces"):
        ended = asked.ask(f"last_over_time(ray_nas_sweep_{name}[10m])")
        states = {labels["state"]: value for labels, value in ended}
        assert states["done"] == trials == sum(states.values()), states
    [(_, most)] = asked.ask('max_over_time(ray_nas_sweep_trials{state="running"}[10m])')
    assert most == 2
    found = asked.ask("last_over_time(ray_nas_sweep_item_progress[10m])")
    trained = {labels["item"] for labels, _ in found if labels["kind"] == "trial"}
    assert trained and trained <= layout.names(store.list(layout.TRIALS))
    assert all(0 < share <= 1 and labels["host"] == host for labels, share in found)
    for metric, least, most in (("images_per_second", 10, 1e6), ("peak_memory_bytes", 1e7, 1e11)):
        values = asked.ask(f"last_over_time(ray_nas_sweep_{metric}[10m])")
        assert {labels["item"] for labels, _ in values} == trained
        assert all(least < value < most for _, value in values), values
    shown = wait_for(lambda: served(head.folder, "ray_nas_sweep_"))
    meanings = {f"ray_{m.name}".removesuffix("_total"): f"{m.meaning} ({m.unit})" for m in METRICS}
    assert {"ray_nas_sweep_epochs", "ray_nas_sweep_points"} <= shown.keys()
    assert all(metric.documentation == meanings[name] for name, metric in shown.items())


def test_every_expression_of_the_dashboard_and_of_the_documents_finds_data(watched):
    asked, _ = watched

    def finds(expression: str) -> bool:
        return bool(asked.ask(f"count_over_time(({expression})[15m:1s])"))

    for title, expression in expressions():
        assert finds(expression) or title in GPU_ONLY, title
    rows = [line.split(" | ") for line in DOCS.read_text().splitlines() if "_sweep_" in line]
    shown = [row[1].strip("| `") for row in rows if len(row) == 2]
    assert len(shown) == 5
    for expression in shown:
        assert finds(expression) != ("retries" in expression), "nothing was tried again"


@pytest.fixture
def at_work(head: Head, tmp_path: Path) -> Iterator[list[str]]:
    """Two trials that train for as long as the test does, each in a process of its own."""
    store = open_store(tmp_path / "results")
    store.put(layout.launch("now"), b"")
    specs = [small_spec(rate=rate, epochs=5000) for rate in (0.1, 0.2)]
    configs = [sent(store.location, spec, report_every=1.0) for spec in specs]
    with subprocess.Popen(
        [sys.executable, "-c", NAMED, head.address, str(tmp_path / "tune")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A driver under `uv run` would have its workers install everything again.
        env={**os.environ, **AUTH, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    ) as driver:
        try:
            assert driver.stdin and driver.stdout
            driver.stdin.write(json.dumps(configs))
            driver.stdin.close()
            assert driver.stdout.readline() == "trained\n", "the trials did not start"
            yield [spec.trial_id for spec in specs]
        finally:
            driver.kill()


@pytest.mark.browser
def test_the_dashboard_opens_with_the_token_and_names_what_runs(head: Head, at_work: list[str]):
    try:
        find_browser()
    except MachineError as error:
        pytest.skip(f"{error.what}: Ray's dashboard is not tested in a browser")

    async def visit() -> None:
        async with window(head.dashboard, "/#/actors") as page:
            await page.until("!!document.querySelector('[role=dialog] input')")
            assert not await page.call(f"document.body?.innerText.includes({at_work[0]!r})")
            await page.write("[role=dialog] input", "0" * 64)
            submit = "[...document.querySelectorAll('[role=dialog] button')].at(-1).click()"
            await page.call(submit)
            await page.until("document.body?.innerText.includes('Invalid authentication token')")
            await page.call("document.querySelector('[role=dialog] input').select()")
            await page.write("[role=dialog] input", TOKEN)
            await page.call(submit)
            for name in at_work:
                await page.until(f"document.body?.innerText.includes({name!r})")
            assert not await page.call("document.cookie"), "scripts can't read the cookie"

    asyncio.run(visit())


def test_the_documented_request_is_let_in_by_the_token(head: Head, tmp_path: Path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text(TOKEN)
    [command] = [line for line in DOCS.read_text().splitlines() if line.startswith("curl ")]
    command = command.replace("http://127.0.0.1:8265", head.dashboard)
    own = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=own)
    assert "ray_version" in json.loads(done.stdout), done.stderr
    assert subprocess.run(["curl", "--fail", command.split()[-1]], capture_output=True).returncode
