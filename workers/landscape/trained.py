"""The network of a trial as it was after some epoch, from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from results_schema import layout, tables
from results_schema.errors import CorruptData, DataError, MissingKey
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from workers.data.images import Data
from workers.network.network import Network
from workers.training import checkpoint
from workers.training.setup import fresh_network


@dataclass(frozen=True)
class Trained:
    """A network to be measured.

    Attributes:
        network: On the device.
        epoch: The last one that it was trained for; earlier than the spec's if the trial diverged.
        finite: Whether every weight and running statistic is a finite number.
        checkpoint: SHA-256 of the checkpoint's tensors; None of the untrained network.
    """

    network: Network
    epoch: int
    finite: bool
    checkpoint: str | None


def restore(spec: SurfaceSpec, store: Store, data: Data, device: torch.device) -> Trained:
    """Return the network that a surface is measured on.

    Args:
        spec: Names the trial and the epoch.
        store: Holds its checkpoints.
        data: The trial's; decides the shapes of the network's first and last layer.
        device: Where the network is placed.

    Raises:
        DataError: The checkpoint is missing or damaged.
    """
    trial = spec.trial
    network = fresh_network(trial, data)
    epoch, digest = _epoch(spec, store), None
    if epoch:
        where = layout.tensors(trial.trial_id, epoch)
        try:
            found = checkpoint.load(store, trial.trial_id, epoch)
            tensors, digest = found.tensors, found.digest
            # A checkpoint has momenta too. The names are taken once: a state dict of the paper's
            # network takes longer to build than to look up all of its tensors.
            own = network.state_dict().keys()
            network.load_state_dict({name: t for name, t in tensors.items() if name in own})
        except (CorruptData, MissingKey, RuntimeError) as error:
            raise DataError(
                f"the checkpoint of epoch {epoch} can't be used: {error}",
                where=store.locate(where),
                fix=f"train the trial anew: nas-sweep retry {trial.trial_id}, then launch",
            ) from error
    network.to(device)
    finite = all(bool(t.isfinite().all()) for t in network.state_dict().values())
    return Trained(network, epoch, finite, digest)


def _epoch(spec: SurfaceSpec, store: Store) -> int:
    """Return the epoch of the checkpoint to measure.

    It is the spec's own, except where the spec names the end of a trial that diverged before its
    last epoch: then it is the epoch at which the trial ended.
    """
    trial_id = spec.trial.trial_id
    there = checkpoint.epochs(store, trial_id)
    if spec.epoch == 0 or spec.epoch in there:
        return spec.epoch
    if spec.epoch == spec.trial.recipe.epochs:
        ended = _diverged_after(store, trial_id)
        if ended in there:
            return ended
    kept = ", ".join(map(str, there)) or "none"
    raise DataError(
        f"{trial_id} has no checkpoint of epoch {spec.epoch}; kept are: {kept}",
        where=store.locate(layout.checkpoints(trial_id) + "state"),
        fix="name a kept epoch, or launch the trial anew with --checkpoint-at "
        f"{spec.epoch} after nas-sweep retry {trial_id}",
    )


def _diverged_after(store: Store, trial_id: str) -> int:
    """Return the epochs that a diverged trial was trained for; 0 for any other trial."""
    key = layout.trial(trial_id)
    try:
        rows = tables.from_parquet(store.get(key), tables.TRIALS, key).to_pylist()
    except MissingKey:
        return 0
    return rows[0]["epochs"] if rows and rows[0]["status"] == "diverged" else 0
