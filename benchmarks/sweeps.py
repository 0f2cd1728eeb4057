"""One sweep of trivial trials, ours or plain Ray Tune's: `python -m benchmarks.sweeps KIND N E`.

Prints what N trials of E epochs took as a line of JSON. `drive` starts it for `overhead.py` and
`scale.py`: each sweep gets a process of its own, because a process never gives back the memory
that Ray takes of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import peak_resident, processor_seconds, table
from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.execution.access import MODE, TOKEN, apply_ray_settings
from orchestrator.output.text import cores
from results_schema.trial import TrialSpec
from workers.training import device as devices
from workers.training.attempt import Stopping
from workers.training.setup import set_up
from workers.training.trial import train_epoch

ROOT = Path(__file__).resolve().parents[1]

NODES = 8
"""Emulated nodes of one core each, whatever this machine has."""

EXPERIMENT = """\
title: Trivial trials
claim: None, this measures the sweep.
grid: {{genotype: [DARTS], dataset: [synthetic_8x1x8_2], learning_rate: [0.025], seed: {seeds}}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}, batch_size: 8}}
"""


def experiment(trials: int, epochs: int) -> Experiment:
    """Return an experiment of trivial trials: one step an epoch of three cells of two channels."""
    text = EXPERIMENT.format(seeds=list(range(trials)), epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trivial.yaml")
        path.write_text(text, "utf-8")
        return load_experiment(path)


def specs(trials: int, epochs: int = 1) -> list[TrialSpec]:
    """Return the trials of `experiment`."""
    return [member.spec for member in experiment(trials, epochs).members()]


def train_bare(spec: TrialSpec) -> float:
    """Train a trial on a CPU and keep nothing; return the seconds inside its epochs."""
    device = devices.choose("cpu")
    data, engine = set_up(spec, device)
    never = Stopping()
    epochs = range(1, spec.recipe.epochs + 1)
    return sum(train_epoch(spec, e, engine, data, never)["seconds"] for e in epochs)


def own_seconds(trials: int, epochs: int = 1) -> float:
    """Return the mean processor seconds of a trial's own work, measured in one warm process."""
    first, *measured = specs(1 + trials, epochs)
    train_bare(first)
    start = time.process_time()
    for spec in measured:
        train_bare(spec)
    return (time.process_time() - start) / trials


@dataclass(frozen=True)
class Sweep:
    """The cost of a sweep.

    Attributes:
        epochs: Epochs of each trial.
        wall: Seconds from before Ray started until after it ended.
        processor: Processor seconds of all threads of the driver.
        memory: Most bytes resident in the driver.
        between: Seconds that the sweep adds to an epoch, the median over all but each trial's
            first.
        repeated: Trials that took more than one attempt.
    """

    trials: int
    epochs: int
    ended: int
    wall: float
    processor: float
    memory: int
    between: float | None = None
    repeated: int = 0

    def beyond(self, own: float) -> float:
        """Return the seconds of a trial beyond its own work, which the machine's cores share."""
        return self.wall / self.trials - own / cores()


def sweeps_table(sweeps: Sequence[tuple[str, Sweep, float]]) -> str:
    """Return a row for each sweep, given with its name and the seconds of a trial's own work."""
    header = (
        "sweep", "trials", "epochs of each", "trained twice", "wall, with Ray's start", "a trial",
        f"a trial, beyond its own work on {cores()} cores", "an epoch, beyond its own work",
        "driver's CPU a trial", "driver's memory",
    )  # fmt: skip
    rows = [
        [
            name,
            f"{sweep.trials:,}",
            f"{sweep.epochs:,}",
            f"{sweep.repeated}",
            f"{sweep.wall:.1f} s",
            f"{sweep.wall / sweep.trials:.3f} s",
            f"{sweep.beyond(own):.3f} s",
            "–" if sweep.between is None else f"{1e3 * sweep.between:.2f} ms",
            f"{1e3 * sweep.processor / sweep.trials:.0f} ms",
            f"{sweep.memory / 2**20:,.0f} MiB",
        ]
        for name, sweep, own in sweeps
    ]
    return table(header, rows)


def growth(one: Sweep, other: Sweep) -> tuple[float, float, float]:
    """Return elapsed seconds, the driver's and its bytes, of each further trial of a sweep."""
    more = other.trials - one.trials
    pairs = ((one.wall, other.wall), (one.processor, other.processor), (one.memory, other.memory))
    wall, processor, memory = ((after - before) / more for before, after in pairs)
    return wall, processor, memory


def growth_table(sweeps: Sequence[Sweep]) -> str:
    """Return a row for the further trials from each sweep to the next."""
    rows = []
    for one, other in pairwise(sweeps):
        wall, processor, memory = growth(one, other)
        numbers = [f"{wall:.3f} s", f"{1e3 * processor:.1f} ms", f"{memory / 2**10:,.1f} KiB"]
        rows.append([f"{one.trials:,} to {other.trials:,}", *numbers])
    return table(("nas-sweep, further trials", "wall", "driver's CPU", "driver's memory"), rows)


def drive(kind: str, trials: int, epochs: int = 1) -> Sweep:
    """Run a sweep in a process of its own; raise `RuntimeError` if it or a trial fails."""
    print(f"{kind}: {trials} trials of {epochs} epoch(s)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.sweeps", kind, str(trials), str(epochs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{kind} failed: {done.stderr[-2000:]}")
    sweep = Sweep(**json.loads(done.stdout.splitlines()[-1]))
    if sweep.ended != trials:
        raise RuntimeError(f"{kind}: {sweep.ended} of {trials} trials ended")
    return sweep


@contextlib.contextmanager
def emulated(nodes: int) -> Iterator[str]:
    """Before Ray is imported, start so many nodes beside an idle head; yield the address."""
    os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32)}
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(
        prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        # Where Ray notes the cluster's address; elsewhere it would be taken for the user's own.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        # The object store is near the least that Ray takes.
        settings = {"object_store_memory": 80_000_000, "include_dashboard": False}
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, **settings)
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, **settings)
            yield str(cluster.address)
        finally:
            cluster.shutdown()


def ours(trials: int, epochs: int, *, nodes: int = 0) -> Sweep:
    """Run the sweep as `nas-sweep launch` does, without the report at its end.

    With `nodes` it joins an emulated cluster of so many, which is up before the clock starts, and
    whose workers report each epoch, however short.
    """
    apply_ray_settings()
    with emulated(nodes) if nodes else contextlib.nullcontext() as address:
        from rich.console import Console

        from orchestrator.config.record import record
        from orchestrator.execution.launch import run
        from orchestrator.execution.preflight import Options
        from orchestrator.planning.plan import make_plan
        from results_schema.results import Results
        from results_schema.store import open_store

        with tempfile.TemporaryDirectory(prefix="nas-sweep-overhead-") as folder:
            loaded, store = experiment(trials, epochs), open_store(folder)
            start = time.perf_counter()
            record(loaded, store)
            options = Options(device="cpu", address=address)
            if address:
                options = replace(options, report_every=0.0)
            run(make_plan([loaded], store), store, options, Console(file=io.StringIO()))
            wall, processor = time.perf_counter() - start, processor_seconds()
            rows: Any = Results(store).trials()
            between = None
            if epochs > 1:
                # Time between an epoch's end and the next one's, less the work of the latter.
                metrics: Any = Results(store).metrics()
                gaps = metrics.groupby("trial_id")["finished_at"].diff().dt.total_seconds()
                between = float((gaps - metrics["seconds"]).dropna().median())
    repeated = int((rows["attempts"] > 1).sum())
    memory = peak_resident()
    return Sweep(trials, epochs, len(rows), wall, processor, memory, between, repeated)


def plain(trials: int, epochs: int, *, reuse: bool = False) -> Sweep:
    """Run the same trials in a function trainable under Tune's own settings.

    With `reuse`, unlike Tune's default, a process continues with another trial.
    """
    # Read as Ray is imported: under `uv run` its workers would be started through uv, and hang.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    import ray
    from ray import tune

    with tempfile.TemporaryDirectory(prefix="tune-", dir="/tmp") as folder:
        start = time.perf_counter()
        ray.init("local", num_cpus=cores(), _temp_dir=f"{folder}/ray", log_to_driver=False)
        trainable: Any = tune.with_resources(_trainable, {"CPU": 1})
        texts = [spec.to_json() for spec in specs(trials)]
        results = tune.Tuner(
            trainable,
            param_space={"spec": tune.grid_search(texts), "epochs": epochs},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
        ).fit()
        ended = sum(not result.error for result in results)
        between = None
        if epochs > 1:
            between = statistics.median(dict(r.metrics or {})["between"] for r in results)
        ray.shutdown()
        wall, processor = time.perf_counter() - start, processor_seconds()
    return Sweep(trials, epochs, ended, wall, processor, peak_resident(), between)


def _trainable(config: dict[str, Any]) -> None:
    from ray import tune

    # Every report is made after an epoch's work, so the time beside that work is Tune's.
    spec = TrialSpec.from_json(config["spec"])
    last, between = time.perf_counter(), 0.0
    for _ in range(config["epochs"]):
        start = time.perf_counter()
        train_bare(spec)
        now = time.perf_counter()
        between += start - last
        last = now
        tune.report({"loss": now - start, "between": between / config["epochs"]})


KINDS: dict[str, Callable[[int, int], Sweep]] = {
    "ours": ours,
    "nodes": lambda trials, epochs: ours(trials, epochs, nodes=NODES),
    "plain": plain,
    "plain-reused": lambda trials, epochs: plain(trials, epochs, reuse=True),
}


def main() -> None:
    """Run one sweep and print its cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("trials", type=int)
    parser.add_argument("epochs", type=int)
    options = parser.parse_args()
    # Ray and Tune print too.
    with contextlib.redirect_stdout(sys.stderr):
        sweep = KINDS[options.kind](options.trials, options.epochs)
    print(json.dumps(asdict(sweep)))


if __name__ == "__main__":
    main()
