"""How long a question about many trials takes, beside reading the same with pandas.

    uv run python benchmarks/query.py [--trials 1000] [--epochs 600]

A store is made up first, which takes a minute. Each way is a process of its own, from its start to
its answer, several times in turns; told are medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_store import make_store

SQL = """
SELECT base, epoch, median(test_accuracy), quantile_cont(test_loss, 0.9), count(*)
FROM member_metrics GROUP BY base, epoch ORDER BY base, epoch
"""

PANDAS = """
import sys
from results_schema.results import Results
rows = Results(sys.argv[1]).metrics("large")
groups = rows.groupby(["base", "epoch"])
groups["test_accuracy"].median().to_csv(sys.stdout)
groups["test_loss"].quantile(0.9).to_csv(sys.stdout)
"""

PLAIN = """
import sys
import pandas as pd
rows = pd.read_parquet(sys.argv[1] + "/metrics")
rows = pd.read_parquet(sys.argv[1] + "/members")[["trial_id", "base"]].merge(rows, on="trial_id")
groups = rows.groupby(["base", "epoch"])
groups["test_accuracy"].median().to_csv(sys.stdout)
groups["test_loss"].quantile(0.9).to_csv(sys.stdout)
"""


def main() -> None:
    """Times a query as one command, `Results` and plain pandas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--store", help="One made up before, to make none.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = asked.store or str(
            make_store(Path(folder) / "results", asked.trials, asked.epochs).root
        )
        cli = [sys.executable, "-m", "orchestrator.cli", "query", "--store", store]
        ways = {
            "nas-sweep query": [*cli, SQL, "--format", "csv"],
            "nas-sweep query, one number": [*cli, "SELECT max(test_accuracy) FROM metrics"],
            "Results and pandas": [sys.executable, "-c", PANDAS, store],
            "pandas alone, unchecked": [sys.executable, "-c", PLAIN, store],
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        worked: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(asked.turns):
            for name, words in ways.items():
                start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                taken[name].append(time.perf_counter() - start)
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                busy = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
                worked[name].append(busy)
    rows = f"{asked.trials * asked.epochs:,} rows"
    print(f"{asked.trials} trials of {asked.epochs} epochs: {rows}; load {os.getloadavg()[0]:.1f}")
    first = statistics.median(next(iter(taken.values())))
    for name, times in taken.items():
        middle = statistics.median(times)
        best = f"(best {min(times):.2f})"
        busy = f"{statistics.median(worked[name]):5.2f} s of processors"
        print(f"{name:30} {middle:6.2f} s {best}  {middle / first:5.2f}×  {busy}")


if __name__ == "__main__":
    main()
