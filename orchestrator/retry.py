"""Puts trials back: forgets why they failed, or that they ended, so that a launch trains them.

A launch tries failed trials again of its own accord. Forgetting their failure takes it off what
`status` shows; only a trial that has ended needs to be put back to be trained anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from orchestrator import lookup
from orchestrator.removal import amount, everything, remove, size
from orchestrator.status import Observer
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.store import Store


@dataclass(frozen=True)
class Again:
    """What is to be forgotten.

    Attributes:
        failed: Trials whose failure is forgotten; their checkpoints stay.
        ended: Trials whose ending, metrics and checkpoints are removed.
    """

    failed: list[str]
    ended: list[str]


def retry(names: Sequence[str], location: str, *, diverged: bool, yes: bool) -> None:
    """Puts trials back after a preview, and a yes if results are to go.

    Args:
        names: Of experiments or trials; all experiments and trials if there are none.
        location: The store's folder.
        diverged: Whether diverged trials of the experiments are put back too.
        yes: Whether not to ask.

    Raises:
        ConfigError: A name fits nothing, or a worker has one of the trials.
        StoreError: The store can't be read or written.
    """
    store = lookup.existing_store(location)
    again = choose(store, names, diverged=diverged)
    if held := [t for t in [*again.failed, *again.ended] if not _free(store, t)]:
        raise _held(store, held)
    if not again.failed and not again.ended:
        click.echo("nothing to put back: no such trial has failed" + " or diverged" * diverged)
        return
    if again.ended:
        keys = [key for t in again.ended for key in everything(store, t, log=False)]
        for trial_id in again.ended:
            click.echo(f"  {trial_id}")
        click.echo(
            f"{len(again.ended)} ended trials lose their results: {len(keys)} files, "
            f"{amount(size(store, keys))}. The same release on the same machine would find the "
            "same again."
        )
        if not yes:
            click.confirm("Remove them?", abort=True)
    for trial_id in again.ended:
        if not remove(store, trial_id, everything(store, trial_id, log=False)):
            raise _held(store, [trial_id])
    for trial_id in again.failed:
        if not remove(store, trial_id, [layout.failure(trial_id)]):
            raise _held(store, [trial_id])
    if again.failed:
        click.echo(f"{len(again.failed)} failures forgotten; checkpoints stay")
    click.echo("the next launch trains them; one that runs now does not look again")


def choose(store: Store, names: Sequence[str], *, diverged: bool) -> Again:
    """What the names mean: of experiments what failed or diverged, of trials just these."""
    known = lookup.experiments(store)
    groups = [name for name in names if lookup.stem(name) in known]
    others = [name for name in names if name not in groups]
    single = [*lookup.find_trials(store, others), *lookup.find_surfaces(store, others)]
    failed: dict[str, None] = {}
    ended: dict[str, None] = {}
    if groups or not names:
        status = Observer(store).look(groups)
        failed |= dict.fromkeys(status.of("failed"))
        failed |= dict.fromkeys(one["surface_id"] for one in status.surfaces.failed)
        if diverged:
            ended |= dict.fromkeys(status.of("diverged"))
    for trial_id in single:
        ending = layout.surface if layout.is_surface(trial_id) else layout.trial
        if store.has(ending(trial_id)):
            ended[trial_id] = None
        elif store.has(layout.failure(trial_id)):
            failed[trial_id] = None
        elif _free(store, trial_id):
            raise ConfigError(
                f"{trial_id} has neither ended nor failed", fix="launch its experiment: it is owed"
            )
        else:
            raise _held(store, [trial_id])
    return Again(list(failed), list(ended))


def _free(store: Store, trial_id: str) -> bool:
    """Reads alone: the lease of a dead holder is left to `remove`."""
    leases = store.leases
    return all(leases.expired(trial_id, holder) for holder in leases.holders(trial_id))


def _held(store: Store, trial_ids: list[str]) -> ConfigError:
    who = [f"{t} by {holder.host}" for t in trial_ids for holder in store.leases.holders(t)]
    return ConfigError(
        f"held by a worker: {', '.join(who) or ', '.join(trial_ids)}",
        fix="wait for its end, or stop it by nas-sweep cancel",
    )
