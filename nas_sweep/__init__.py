"""Sweeps over cell-based neural architectures, from Python.

    import nas_sweep

    fig9 = nas_sweep.load_experiment("experiments/fig9.yaml", profile="laptop")
    nas_sweep.plan([fig9], "results").remaining  # the trials that a launch would train
    nas_sweep.launch([fig9], "results")
    results = nas_sweep.Results("results")
    trials = results.trials("fig9")
    network = nas_sweep.load_network("results", trials["trial_id"].iloc[0])

Nothing is loaded before it is used, so that importing this costs neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas_sweep import landscape
    from nas_sweep.extending import (
        augmentation,
        claim,
        dataset,
        figure,
        operation,
        optimizer,
        schedule,
    )
    from orchestrator.config.experiment import Experiment, load_experiment
    from orchestrator.paper.claims import findings
    from orchestrator.planning.plan import Plan
    from results_schema.results import Results
    from workers.network.network import Network

__all__ = [
    "Results",
    "augmentation",
    "claim",
    "dataset",
    "figure",
    "findings",
    "landscape",
    "launch",
    "load_experiment",
    "load_network",
    "load_plugin",
    "operation",
    "optimizer",
    "plan",
    "schedule",
]

_DECORATORS = (
    *("augmentation", "claim", "dataset", "figure"),
    *("operation", "optimizer", "schedule"),
)
_ELSEWHERE = {
    **dict.fromkeys(_DECORATORS, "nas_sweep.extending"),
    "Results": "results_schema.results",
    "findings": "orchestrator.paper.claims",
    "load_experiment": "orchestrator.config.experiment",
}


def __getattr__(name: str) -> Any:
    if name == "landscape":
        return import_module("nas_sweep.landscape")
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ELSEWHERE, "landscape"})


def plan(experiments: Sequence[Experiment], store: str = "results") -> Plan:
    """Return what remains to be trained and measured; nothing is written.

    Args:
        experiments: Experiments with distinct names (`load_experiment`).
        store: Its folder, which need not exist, or `s3://bucket/prefix`.

    Raises:
        StoreError: The store can't be read.
    """
    from orchestrator.planning.plan import make_plan
    from results_schema.store import find_store

    return make_plan(experiments, find_store(store))


def launch(experiments: Sequence[Experiment], store: str = "results", **options: Any) -> int:
    """Train and measure what remains, as `nas-sweep launch` does, and print its results.

    Args:
        experiments: Experiments with distinct names.
        store: Its folder, made if it is not there, or `s3://bucket/prefix`.
        options: Fields of `orchestrator.execution.preflight.Options`, such as `device="cpu"`,
            `address="auto"` or `gpus_per_trial=0.5`; `only` and `limit` as of `nas-sweep launch`.

    Returns:
        The exit code: 0 if all has ended, 1 if something failed, 3 if the store became unfit, 130
        if it was interrupted.

    Raises:
        MachineError: This machine or the cluster can't run it.
        StoreError: The store can't be used.
        DataError: A data set is missing or damaged.
    """
    from orchestrator.cli.launch import launch as run

    return run(experiments, store, **options)


def load_plugin(name: str) -> None:
    """Load a plug-in, as an experiment that names it does.

    Args:
        name: A Python file, or the name under which an installed package offers it.

    Raises:
        ConfigError: It does not exist, it fails, or another plug-in has its name.
    """
    from results_schema.plugins import load

    load(name)


def load_network(store: str, trial: str, epoch: int | None = None) -> Network:
    """Return a trial's network with its weights, on the CPU in evaluation mode.

    It takes images [N, C, H, W], normalised as in training, and returns logits [N, classes].

    Args:
        store: Its folder or `s3://bucket/prefix`.
        trial: Id of a trial that has ended, or the beginning of its id.
        epoch: Epoch of a checkpoint that was kept; the trial's last by default.

    Raises:
        ConfigError: No trial of the store has such an id, several have, or it has not ended.
        DataError: There is no such checkpoint, or it is damaged.
        SpecError: The trial depends on a plug-in that is not loaded (`load_plugin`).
    """
    from orchestrator.housekeeping.lookup import find_item
    from results_schema import layout, tables
    from results_schema.errors import ConfigError, MissingKey
    from results_schema.plugins import require
    from results_schema.program import is_program
    from results_schema.store import existing_store
    from results_schema.trial import TrialSpec
    from workers.data.catalog import describe
    from workers.landscape.survey import load_weights
    from workers.training.setup import fresh_network

    opened = existing_store(store)
    trial_id = find_item(opened, trial)
    key = layout.trial(trial_id)
    try:
        row = tables.from_parquet(opened.get(key), tables.TRIALS, key).to_pylist()[0]
    except MissingKey as error:
        fix = "launch its experiment again, and load it when it has ended"
        raise ConfigError(f"{trial_id} has not ended", where=str(store), fix=fix) from error
    if is_program(trial_id):
        what = f"{trial_id} is a program's trial, whose network nas-sweep does not know"
        fix = "build it, and read its state with workers.training.checkpoint.load"
        raise ConfigError(what, where=str(store), fix=fix)
    spec = TrialSpec.from_json(row["spec"])
    require(spec.extensions)
    network = fresh_network(spec, describe(spec.dataset))
    load_weights(network, opened, trial_id, row["epochs"] if epoch is None else epoch)
    return network.eval()
