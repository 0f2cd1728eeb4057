"""How soon the live page draws its first chart, and how soon a new epoch is on it.

    uv run python benchmarks/dash.py [--trials 1000] [--epochs 600]

A store is made up first, which takes a minute. The page is opened in headless Chromium, whose
software rendering is part of what is measured; told are medians over turns. A new epoch is counted
from the moment its file is in place until the browser has drawn it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from large_store import make_store

from results_schema import layout, tables
from results_schema.store import LocalStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from windows import window

DRAWN = "document.querySelectorAll('#curves .scatterlayer .trace').length > 50"
FILLED = "document.querySelectorAll('.ag-center-cols-container .ag-row').length > 0"
PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true), 0)))"


async def visit(address: str, start: float, store: LocalStore, epochs: int) -> tuple[float, ...]:
    """Seconds from the server's start to the chart, from opening to it, and to a new epoch."""
    async with window("about:blank") as opened:
        asked = time.perf_counter()
        opened.address = address
        await opened.tab.send_command("Page.navigate", {"url": address})
        await opened.until(f"{DRAWN} && {FILLED}", 120)
        await opened.call(PAINTED)
        first = time.perf_counter()
        await asyncio.sleep(3)
        key = store.list(layout.METRICS)[1]
        rows: list[dict[str, Any]] = tables.from_parquet(
            store.get(key), tables.METRICS, key
        ).to_pylist()
        last = rows[-1] | {"epoch": epochs + 1, "test_accuracy": 0.5}
        data = tables.to_parquet([*rows, last], tables.METRICS)
        store.put(key, data)
        put = time.perf_counter()
        latest = "document.querySelector('#curves .js-plotly-plot')._fullData"
        ended = f"{latest}.some(line => line.x[line.x.length - 1] === {epochs + 1})"
        await opened.until(ended, 60)
        await opened.call(PAINTED)
        update = time.perf_counter() - put
        store.put(key, tables.to_parquet(rows, tables.METRICS))
        return first - start, first - asked, update


def main() -> None:
    """Serves, opens and measures, some times over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--store", help="One made up before, to make none.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = (
            LocalStore(asked.store)
            if asked.store
            else make_store(Path(folder) / "results", asked.trials, asked.epochs)
        )
        words = [sys.executable, "-m", "orchestrator.cli", "dash", "--port", "0", "--store"]
        found = []
        for _ in range(asked.turns):
            start = time.perf_counter()
            with subprocess.Popen(
                [*words, str(store.root)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ) as server:
                assert server.stdout
                address = server.stdout.readline().split()[0]
                found.append(asyncio.run(visit(address, start, store, asked.epochs)))
                server.terminate()
    print(f"{asked.trials} trials of {asked.epochs} epochs; load {os.getloadavg()[0]:.1f}")
    for name, times in zip(
        ("start of the server to the chart", "opening to the chart", "a new epoch"),
        zip(*found, strict=True),
        strict=True,
    ):
        print(f"{name:34} {statistics.median(times):6.2f} s  (best {min(times):.2f})")


if __name__ == "__main__":
    main()
