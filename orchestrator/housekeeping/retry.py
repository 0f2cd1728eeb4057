"""Puts trials back: forgets why they failed, or that they ended, so that a launch trains them.

A launch tries failed trials again of its own accord. Forgetting their failure takes it off what
`status` shows; only a trial that has ended needs to be put back to be trained anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.lookup import Named
from orchestrator.housekeeping.removal import Contents, amount, remove, remove_some
from orchestrator.housekeeping.status import Observer
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
        ConfigError: A name fits nothing, or a worker has one of the trials or of their surfaces.
        StoreError: The store can't be read or written.
    """
    store = lookup.existing_store(location)
    again, named = choose(store, names, diverged=diverged), Named(store)
    contents = Contents(store, named) if again.ended else None
    ended = [contents.shown(item, traces=False) for item in again.ended] if contents else []
    needed = dict.fromkeys([*again.failed, *(lease for shown in ended for lease in shown.leases)])
    if held := [item for item in needed if not _free(store, item)]:
        raise _held(store, held)
    if not again.failed and not ended:
        click.echo("nothing to put back: no such trial has failed" + " or diverged" * diverged)
        return
    if ended:
        files = [stat for shown in ended for stat in shown.files.values()]
        for shown in ended:
            click.echo(f"  {shown.item}")
        click.echo(
            f"{len(ended)} ended trials lose their results: {len(files)} files, "
            f"{amount(sum(stat.size for stat in files))}. The same release on the same machine "
            "would find the same again."
        )
        if not yes:
            click.confirm("Remove them?", abort=True)
    for shown in ended:
        outcome = remove(store, shown, named, traces=False)
        if outcome == "held":
            raise _held(store, shown.leases)
        if outcome == "changed":
            raise ConfigError(
                f"{shown.item} has changed since it was shown, and was left as it is",
                fix="look at it with nas-sweep status, then name it again",
            )
    for item in again.failed:
        key = layout.failure(item)
        if remove_some(store, item, [key], lambda key=key: [key]) is None:
            raise _held(store, [item])
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


def _free(store: Store, item: str) -> bool:
    """Reads alone: the lease of a dead holder is left to `remove`."""
    leases = store.leases
    return all(leases.expired(item, holder) for holder in leases.holders(item))


def _held(store: Store, items: Sequence[str]) -> ConfigError:
    who = [f"{t} by {holder.host}" for t in items for holder in store.leases.holders(t)]
    return ConfigError(
        f"held by a worker: {', '.join(who) or ', '.join(items)}",
        fix="wait for its end, or stop it by nas-sweep cancel",
    )
