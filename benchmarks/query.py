"""How long a question about many trials takes, beside reading the same with pandas.

    uv run python benchmarks/query.py [--trials 1000] [--epochs 600]

A store is made up first, which takes a minute. Each way to answer is a process of its own, timed
from its start to its answer, in alternation; medians are printed.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.large_store import large_store, parse_arguments
from benchmarks.measure import processor_seconds, time_rounds

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
        busy: dict[str, list[float]] = {name: [] for name in commands}

        def answer(name: str) -> None:
            before = processor_seconds(RUSAGE_CHILDREN)
            subprocess.run(commands[name], check=True, stdout=subprocess.DEVNULL)
            busy[name].append(processor_seconds(RUSAGE_CHILDREN) - before)

        runs = {name: partial(answer, name) for name in commands}
        times = time_rounds(runs, torch.device("cpu"), options.rounds, warmup=0)
    medians = {name: median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        ratio = seconds / medians["nas-sweep query"]
        best = f"(best {min(times[name]):.2f})  {ratio:5.2f}×"
        print(f"{name:30} {seconds:6.2f} s {best}  {median(busy[name]):5.2f} s of processors")


if __name__ == "__main__":
    main()
