"""What is looked at before the first trial: the store, its room, the clock, the GPU, the data."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from orchestrator.execution.checks import Check, check_clock
from orchestrator.execution.device import local_gpus
from orchestrator.execution.store_checks import check_place
from orchestrator.planning.plan import Plan
from results_schema.errors import MachineError, StoreError
from results_schema.store import Store
from workers.data.folder import ready


def check(
    plan: Plan,
    store: Store,
    *,
    device: str | None,
    address: str | None,
    kept: Collection[int] = (),
    side_by_side: int = 1,
) -> None:
    """Returns if a plan can be carried out, as far as can be seen in a moment.

    Args:
        plan: What is owed.
        store: Where it goes.
        device: "cuda", "cpu", or None if the cluster decides.
        address: Of a cluster, whose nodes have GPUs and data folders of their own; or None.
        kept: Epochs whose checkpoints stay.
        side_by_side: Trials that run at once.

    Raises:
        StoreError: The store can't be written durably and by one worker alone, or lacks room.
        MachineError: The clock is wrong, or there is no GPU and one is asked for.
        DataError: A data set is damaged, or neither here nor to be had.
    """
    if (clock := check_clock()).verdict == "bad":
        raise MachineError(clock.found, where="clock", fix=clock.fix)
    if address is None and device == "cuda" and not local_gpus():
        raise MachineError(
            "no CUDA GPU is visible on this machine",
            where="--device cuda",
            fix="nas-sweep doctor says why; or use --device cpu, or --address for a cluster",
        )
    need = plan.disk_bytes(kept=kept, side_by_side=side_by_side)
    if (found := check_place(store.location, room=need)).verdict == "bad":
        _refuse(found, store)
    if address is None:
        work = [*plan.remaining, *(surface.trial for surface in plan.unmeasured)]
        for dataset in dict.fromkeys(spec.dataset for spec in work):
            ready(dataset)


def _refuse(found: Check, store: Store) -> NoReturn:
    where = store.location
    raise StoreError(found.found.removeprefix(f"{where}: "), where=where, fix=found.fix)
