"""The network of a trial as it was after some epoch, from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from results_schema import layout
from results_schema.errors import CorruptData, DataError, MissingKey
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from workers.data.images import Data
from workers.network.network import Network
from workers.training import checkpoint
from workers.training.setup import fresh_network


@dataclass(frozen=True)
class Trained:
    """A network to be looked at.

    Attributes:
        network: On the device.
        epoch: After which it was so; earlier than asked for where the trial diverged before.
        finite: Whether every weight and running statistic is a finite number.
    """

    network: Network
    epoch: int
    finite: bool


def restore(spec: SurfaceSpec, store: Store, data: Data, device: torch.device) -> Trained:
    """The network that a surface is to be measured of.

    Args:
        spec: Names the trial and the epoch.
        store: Holds its checkpoints.
        data: The trial's; tells the network's ends.
        device: Where to.

    Raises:
        DataError: The checkpoint is missing or damaged.
    """
    trial = spec.trial
    network = fresh_network(trial, data)
    epoch = _epoch(spec, store)
    if epoch:
        where = layout.tensors(trial.trial_id, epoch)
        try:
            tensors = checkpoint.load(store, trial.trial_id, epoch).tensors
            network.load_state_dict({n: t for n, t in tensors.items() if n in network.state_dict()})
        except (CorruptData, MissingKey, RuntimeError) as error:
            raise DataError(
                f"the checkpoint of epoch {epoch} can't be used: {error}",
                where=store.locate(where),
                fix=f"train the trial anew: nas-sweep retry {trial.trial_id}, then launch",
            ) from error
    network.to(device)
    finite = all(bool(t.isfinite().all()) for t in network.state_dict().values())
    return Trained(network, epoch, finite)


def _epoch(spec: SurfaceSpec, store: Store) -> int:
    trial_id, last = spec.trial.trial_id, spec.trial.recipe.epochs
    there = checkpoint.epochs(store, trial_id)
    if spec.epoch == 0 or spec.epoch in there:
        return spec.epoch
    if spec.epoch == last and there and store.has(layout.trial(trial_id)):
        return there[-1]  # it ended before its time: it diverged
    kept = ", ".join(map(str, there)) or "none"
    raise DataError(
        f"{trial_id} has no checkpoint of epoch {spec.epoch}; kept are: {kept}",
        where=store.locate(layout.checkpoints(trial_id) + "state"),
        fix="name a kept epoch, or launch the trial anew with --checkpoint-at "
        f"{spec.epoch} after nas-sweep retry {trial_id}",
    )
