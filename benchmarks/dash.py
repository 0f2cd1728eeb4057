"""How soon the live page draws its first chart, and how soon a new epoch is on it.

    uv run python benchmarks/dash.py [--trials 1000] [--epochs 600]

A store is made up first, which takes a minute. The page is opened in headless Chromium, whose
software rendering is part of what is measured; medians over rounds are printed. A new epoch is
timed from the moment its file is in place until the browser has drawn it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

from windows import window

from benchmarks.large_store import large_store, parse_arguments
from results_schema import layout, tables
from results_schema.store import LocalStore

DRAWN = "document.querySelectorAll('#curves .scatterlayer .trace').length > 50"
FILLED = "document.querySelectorAll('.ag-center-cols-container .ag-row').length > 0"
PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true), 0)))"
LINES = "document.querySelector('#curves .js-plotly-plot')._fullData"


async def visit(address: str, start: float, store: LocalStore, epochs: int) -> tuple[float, ...]:
    """Return seconds from the server's start to the chart, from opening to it, to a new epoch."""
    async with window("about:blank") as opened:
        opening = time.perf_counter()
        opened.address = address
        await opened.tab.send_command("Page.navigate", {"url": address})
        await opened.until(f"{DRAWN} && {FILLED}", 120)
        await opened.call(PAINTED)
        drawn = time.perf_counter()
        await asyncio.sleep(3)
        key = store.list(layout.METRICS)[1]
        before = store.get(key)
        rows: list[dict[str, Any]] = tables.from_parquet(before, tables.METRICS, key).to_pylist()
        rows.append(rows[-1] | {"epoch": epochs + 1, "test_accuracy": 0.5})
        store.put(key, tables.to_parquet(rows, tables.METRICS))
        put = time.perf_counter()
        longer = f"{LINES}.some(line => line.x[line.x.length - 1] === {epochs + 1})"
        await opened.until(longer, 60)
        await opened.call(PAINTED)
        update = time.perf_counter() - put
        store.put(key, before)
        return drawn - start, drawn - opening, update


def main() -> None:
    """Serve, open and measure in several rounds."""
    options = parse_arguments(__doc__, rounds=3)
    command = [sys.executable, "-m", "orchestrator.cli", "dash", "--port", "0", "--store"]
    found = []
    with large_store(options.trials, options.epochs) as store:
        for _ in range(options.rounds):
            start = time.perf_counter()
            with subprocess.Popen(
                [*command, str(store.root)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ) as server:
                assert server.stdout
                address = server.stdout.readline().split()[0]
                found.append(asyncio.run(visit(address, start, store, options.epochs)))
                server.terminate()
    names = ("start of the server to the chart", "opening to the chart", "a new epoch")
    for name, seconds in zip(names, zip(*found, strict=True), strict=True):
        print(f"{name:34} {statistics.median(seconds):6.2f} s  (best {min(seconds):.2f})")


if __name__ == "__main__":
    main()
