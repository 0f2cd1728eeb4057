"""One sweep of trivial trials, ours or plain Ray Tune's: `python -m benchmarks.sweeps KIND ...`.

Prints what it took as a line of JSON. A process drives one sweep alone, because it does not give
back the memory and time that Ray takes of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import peak_resident
from orchestrator.execution.access import MODE, TOKEN, apply_ray_settings
from orchestrator.output.text import cores
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data.catalog import describe
from workers.training import device as devices
from workers.training.attempt import Stopping
from workers.training.setup import set_up
from workers.training.trial import train_epoch

NODES = 8
"""Of one core each, whatever this machine has."""

OBJECTS = 80_000_000
"""Bytes of each node's object store, near the least that Ray takes."""


@contextlib.contextmanager
def emulated(nodes: int) -> Iterator[str]:
    """So many nodes beside a head that does no work; all are gone at the end.

    Call it before Ray is imported, which reads then that a token is asked for, and which.

    Args:
        nodes: Their number.

    Yields:
        The cluster's address.
    """
    os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32)}
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(
        prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        # Where Ray notes the cluster's address; elsewhere it would be taken for the user's own.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        settings = {"object_store_memory": OBJECTS, "include_dashboard": False}
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, **settings)
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, **settings)
            yield str(cluster.address)
        finally:
            cluster.shutdown()


DATASET = "synthetic_8x1x8_2"
"""Eight images of 8×8 pixels: one step an epoch."""

EXPERIMENT = """\
title: Trivial trials
claim: None, this measures the sweep.
grid: {{genotype: [DARTS], dataset: [{dataset}], learning_rate: [0.025], seed: {seeds}}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}, batch_size: 8}}
"""
"""The same trials as `trial` makes, for the command line."""


def experiment(trials: int, epochs: int) -> str:
    """An experiment of so many trials, in YAML."""
    return EXPERIMENT.format(dataset=DATASET, seeds=list(range(trials)), epochs=epochs)


def trial(seed: int, epochs: int = 1) -> TrialSpec:
    """Three cells of the DARTS cell, with two channels."""
    return TrialSpec(
        genotype=named("DARTS"),
        dataset=DATASET,
        preprocessing=describe(DATASET).preprocessing,
        network=NetworkSpec(cells=3, channels=2),
        recipe=Recipe(epochs=epochs, batch_size=8),
        learning_rate=0.025,
        seed=seed,
    )


def train_bare(spec: TrialSpec) -> tuple[float, float]:
    """Trains a trial and keeps nothing.

    Returns:
        Seconds in all, and of them those inside its epochs.
    """
    start = time.perf_counter()
    device = devices.choose("cpu")
    data, engine = set_up(spec, device)
    never = Stopping()
    epochs = range(1, spec.recipe.epochs + 1)
    inside = sum(train_epoch(spec, e, engine, data, device, never)["seconds"] for e in epochs)
    return time.perf_counter() - start, inside


def own_seconds(trials: int, epochs: int = 1) -> float:
    """What a trial takes by itself: the mean over some, in one process that is warm.

    Seconds of the processor, which other work on the machine stretches less than those of a clock.
    """
    train_bare(trial(0))
    start = time.process_time()
    for seed in range(trials):
        train_bare(trial(seed, epochs))
    return (time.process_time() - start) / trials


@dataclass(frozen=True)
class Sweep:
    """What a sweep took.

    Attributes:
        trials: That were to be trained.
        epochs: Of each.
        ended: Trials that did end.
        wall: Seconds from before Ray was started until after it had ended.
        processor: Seconds of this process, of all its threads.
        memory: Most bytes resident in this process.
        between: Seconds that the sweep adds to an epoch, the median over all epochs but each
            trial's first; None if a trial has no second.
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


def ours(trials: int, epochs: int, *, nodes: int = 0) -> Sweep:
    """The sweep as `nas-sweep launch` runs it, without the report at its end.

    Args:
        trials: Their number.
        epochs: Of each.
        nodes: Of an emulated cluster, up before the clock starts, that the launch joins, and whose
            workers report each epoch, however short; 0 lets it start Ray on this machine.
    """
    apply_ray_settings()
    with emulated(nodes) if nodes else contextlib.nullcontext() as address:
        return _ours(trials, epochs, address)


def _ours(trials: int, epochs: int, address: str | None) -> Sweep:
    from rich.console import Console

    from orchestrator.config.experiment import load_experiment
    from orchestrator.config.record import record
    from orchestrator.execution.launch import run
    from orchestrator.execution.preflight import Options
    from orchestrator.planning.plan import make_plan
    from results_schema import layout
    from results_schema.results import Results
    from results_schema.store import open_store

    with tempfile.TemporaryDirectory(prefix="nas-sweep-overhead-") as folder:
        path = Path(folder, "trivial.yaml")
        path.write_text(experiment(trials, epochs), "utf-8")
        loaded, store = load_experiment(path), open_store(Path(folder, "results"))
        start = time.perf_counter()
        record(loaded, store)
        console = Console(file=io.StringIO())
        options = Options(device="cpu", address=address)
        if address:
            options = replace(options, report_every=0.0)
        run(make_plan([loaded], store), store, options, console)
        wall, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        ended = len(layout.names(store.list(layout.TRIALS)))
        between = _between(Results(store).metrics()) if epochs > 1 else None
        attempts: Any = Results(store).trials()["attempts"]
        repeated = int((attempts > 1).sum())
    return replace(_sweep(trials, epochs, ended, wall, usage, between), repeated=repeated)


def plain(trials: int, epochs: int, *, reuse: bool = False) -> Sweep:
    """The same trials by a function trainable under Tune's own settings.

    Args:
        trials: Their number.
        epochs: Of each.
        reuse: Whether a process goes on with another trial; Tune's default is that it does not.
    """
    # Read as Ray is imported: under `uv run` its workers would be started through uv, and hang.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    import ray
    from ray import tune

    with tempfile.TemporaryDirectory(prefix="tune-", dir="/tmp") as folder:
        start = time.perf_counter()
        ray.init("local", num_cpus=cores(), _temp_dir=f"{folder}/ray", log_to_driver=False)
        trainable: Any = tune.with_resources(_trainable, {"CPU": 1})
        results = tune.Tuner(
            trainable,
            param_space={"seed": tune.grid_search(list(range(trials))), "epochs": epochs},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(name="plain", storage_path=folder, verbose=0),
        ).fit()
        ended = sum(not result.error for result in results)
        between = None
        if epochs > 1:
            between = statistics.median(dict(r.metrics or {})["between"] for r in results)
        ray.shutdown()
        wall, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return _sweep(trials, epochs, ended, wall, usage, between)


def _trainable(config: dict[str, Any]) -> None:
    from ray import tune

    if config["epochs"] == 1:
        seconds, _ = train_bare(trial(config["seed"]))
        tune.report({"loss": seconds})
        return
    # Every report is made after an epoch's work, so the time beside that work is Tune's.
    last, between = time.perf_counter(), 0.0
    for _ in range(config["epochs"]):
        taken, _ = train_bare(trial(config["seed"]))
        now = time.perf_counter()
        between += now - last - taken
        last = now
        tune.report({"loss": taken, "between": between / config["epochs"]})


def _between(metrics: Any) -> float:
    """Of consecutive rows of a trial: the time between them less that of the later one's epoch."""
    gaps = metrics.groupby("trial_id")["finished_at"].diff().dt.total_seconds()
    return float((gaps - metrics["seconds"]).dropna().median())


def _sweep(
    trials: int, epochs: int, ended: int, wall: float, usage: Any, between: float | None
) -> Sweep:
    processor = usage.ru_utime + usage.ru_stime
    return Sweep(trials, epochs, ended, wall, processor, peak_resident(), between)


KINDS: dict[str, Callable[[int, int], Sweep]] = {
    "ours": ours,
    "nodes": lambda trials, epochs: ours(trials, epochs, nodes=NODES),
    "plain": plain,
    "plain-reused": lambda trials, epochs: plain(trials, epochs, reuse=True),
}


def main() -> None:
    """Drives one and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    # What Ray and Tune print is not ours to be read.
    with contextlib.redirect_stdout(sys.stderr):
        sweep = KINDS[options.kind](options.trials, options.epochs)
    print(json.dumps(asdict(sweep)))


if __name__ == "__main__":
    main()
