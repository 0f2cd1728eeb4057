"""How long a question about many trials takes, beside reading the same with pandas.

    uv run python benchmarks/query.py [--trials 1000] [--epochs 600]

A store is made up first, which takes a minute. Each way to answer is a process of its own, timed
from its start to its answer, in alternation; medians are printed.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

from large_store import large_store, parse_arguments

SQL = """
SELECT base, epoch, median(test_accuracy), quantile_cont(test_loss, 0.9), count(*)
FROM member_metrics GROUP BY base, epoch ORDER BY base, epoch
"""

GROUPS = """
groups = rows.groupby(["base", "epoch"])
groups["test_accuracy"].median().to_csv(sys.stdout)
groups["test_loss"].quantile(0.9).to_csv(sys.stdout)
"""

RESULTS = """
import sys
from results_schema.results import Results
rows = Results(sys.argv[1]).metrics("large")
"""

PANDAS = """
import sys
import pandas as pd
rows = pd.read_parquet(sys.argv[1] + "/metrics")
rows = pd.read_parquet(sys.argv[1] + "/members")[["trial_id", "base"]].merge(rows, on="trial_id")
"""


def main() -> None:
    """Time a query as one command, `Results` and plain pandas."""
    options = parse_arguments(__doc__, rounds=5)
    with large_store(options.trials, options.epochs) as store:
        root = str(store.root)
        query = [sys.executable, "-m", "orchestrator.cli", "query", "--store", root]
        commands = {
            "nas-sweep query": [*query, SQL, "--format", "csv"],
            "nas-sweep query, one number": [*query, "SELECT max(test_accuracy) FROM metrics"],
            "Results and pandas": [sys.executable, "-c", RESULTS + GROUPS, root],
            "pandas alone, unchecked": [sys.executable, "-c", PANDAS + GROUPS, root],
        }
        elapsed: dict[str, list[float]] = {name: [] for name in commands}
        processor: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                start, before = time.perf_counter(), _children_seconds()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                elapsed[name].append(time.perf_counter() - start)
                processor[name].append(_children_seconds() - before)
    first = statistics.median(next(iter(elapsed.values())))
    for name, seconds in elapsed.items():
        median = statistics.median(seconds)
        busy = f"{statistics.median(processor[name]):5.2f} s of processors"
        print(
            f"{name:30} {median:6.2f} s (best {min(seconds):.2f})  {median / first:5.2f}×  {busy}"
        )


def _children_seconds() -> float:
    """Return the processor seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
