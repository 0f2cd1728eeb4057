"""Remove trials and surfaces, exactly as a preview showed them and never while a worker has one.

`plan_retry` and `put_back` are the two halves of `nas-sweep retry`, which forgets that trials or
surfaces failed or ended, so that a launch runs them again; the rest serves `housekeeping.gc` too.

The worker of a surface reads its trial's checkpoint and writes its row much later. So the leases of
all surfaces of a trial are taken before anything of the trial is removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.lookup import NamedItems
from orchestrator.housekeeping.status import StatusReader
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.layout import Stat
from results_schema.lease import Lease
from results_schema.store import Store

Outcome = Literal["removed", "held", "changed"]
"""How a removal ended: nothing was removed if a worker has a lease, or anything has changed."""


@dataclass(frozen=True)
class ItemFiles:
    """The files of a trial with its surfaces, or of a surface alone, as a preview shows them.

    Attributes:
        surfaces: Ids of the trial's surfaces, with those of which the store has nothing yet.
        traces: Whether logs and requests to cancel are to be removed too.
        files: Keys of all that is to be removed, in the order of removal.
    """

    item: str
    surfaces: tuple[str, ...]
    traces: bool
    files: Mapping[str, Stat]

    @property
    def leases(self) -> tuple[str, ...]:
        """The items whose leases the removal needs."""
        return self.item, *self.surfaces


class StoreListing:
    """What a store has of all trials and surfaces, listed once, so that an item costs no request.

    Attributes:
        checkpoints: The keys below each trial's folder of checkpoints.
        surfaces: Every surface of which the store has anything, or which an experiment wants.
    """

    def __init__(self, store: Store, named: NamedItems) -> None:
        folders = (*layout.LEASED, layout.REQUESTS)
        self._files = {k: stat for folder in folders for k, stat in store.stats(folder).items()}
        self.checkpoints: dict[str, list[str]] = {}
        found = set(store.leases.held()).union(*named.surfaces().values())
        for key in self._files:
            folder, name, *rest = key.split("/")
            if folder + "/" == layout.CHECKPOINTS and rest:
                self.checkpoints.setdefault(name, []).append(key)
            elif key.startswith(layout.LEASED):
                found |= layout.names([key])
        self.surfaces = {item for item in found if layout.is_surface(item)}
        self._of_trial: dict[str, list[str]] = {}
        for surface in sorted(self.surfaces):
            self._of_trial.setdefault(layout.trial_of(surface), []).append(surface)

    def item(self, item: str, *, traces: bool) -> ItemFiles:
        """Return all files of a trial and its surfaces, or of a surface; see `ItemFiles`."""
        surfaces = self._of_trial.get(item, [])
        keys = _keys(item, surfaces, self.checkpoints.get(item, ()), traces=traces)
        return ItemFiles(item, tuple(surfaces), traces, self.files(keys))

    def files(self, keys: Iterable[str]) -> dict[str, Stat]:
        """Return those of the keys that the store has."""
        return {key: self._files[key] for key in keys if key in self._files}


def remove(
    store: Store, shown: ItemFiles, named: NamedItems, *, still: Callable[[], bool] = lambda: True
) -> Outcome:
    """Remove a trial or surface, unless a worker has it or it is not as it was shown.

    Under the leases, `still` is called for whether the item may still be removed.
    """
    # Surfaces that have come to be wanted since are leased too.
    surfaces = sorted({*shown.surfaces, *named.surfaces().get(shown.item, ())})
    with contextlib.ExitStack() as stack:
        leases = _take(store, [shown.item, *surfaces], stack)
        if leases is None:
            return "held"
        checkpoints = store.list(layout.checkpoints(shown.item))
        keys = _keys(shown.item, surfaces, checkpoints, traces=shown.traces)
        now = {key: stat.version for key in keys if (stat := store.stat(key))}
        if now != {key: stat.version for key, stat in shown.files.items()} or not still():
            return "changed"
        for key in shown.files:
            [name] = layout.names([key])
            store.delete(key, lease=leases.get(name, leases[shown.item]))
    return "removed"


def remove_keys(
    store: Store,
    item: str,
    keys: Collection[str],
    choose: Callable[[], Collection[str]] | None = None,
) -> list[str] | None:
    """Remove some files of a trial or surface, and return which; None if a worker has it.

    Under the lease, `choose` is called for the keys that may still be removed; by default, all.
    """
    with contextlib.ExitStack() as stack:
        leases = _take(store, [item], stack)
        if leases is None:
            return None
        allowed = keys if choose is None else choose()
        removed = [key for key in keys if key in allowed]
        for key in removed:
            store.delete(key, lease=leases[item])
    return removed


@dataclass(frozen=True)
class Retry:
    """Trials and surfaces to be put back, as a preview shows them.

    Attributes:
        failed: Those whose failure is forgotten; their checkpoints stay.
        ended: Those whose results and checkpoints are removed.
        named: What the experiments name.
    """

    failed: list[str]
    ended: list[ItemFiles]
    named: NamedItems

    @property
    def files(self) -> list[Stat]:
        """The files that are removed with results."""
        return [stat for shown in self.ended for stat in shown.files.values()]


def plan_retry(store: Store, names: Sequence[str], *, diverged: bool) -> Retry:
    """Return what is to be put back; nothing is changed.

    Of experiments, or of the whole store without names, this is what has failed and, if asked for,
    what has diverged; single trials and surfaces are put back also if they are done. A launch tries
    failed trials again anyway: forgetting a failure only takes it off the list.

    Raises:
        ConfigError: A name fits nothing, or a worker has one of the items or of their surfaces.
    """
    failed, ended = _choose(store, names, diverged=diverged)
    # No launch could train an imported trial again.
    ended = [item for item in ended if not item.startswith(layout.IMPORTED)]
    named = NamedItems(store)
    listing = StoreListing(store, named) if ended else None
    shown = [listing.item(item, traces=False) for item in ended] if listing else []
    needed = dict.fromkeys([*failed, *(lease for one in shown for lease in one.leases)])
    if held := [item for item in needed if not _is_free(store, item)]:
        raise _held(store, held)
    return Retry(failed, shown, named)


def put_back(store: Store, retry: Retry) -> None:
    """Forget the failures and remove the results that a preview showed.

    Raises:
        ConfigError: A worker has an item, or the item has changed since; earlier ones are put back.
    """
    for shown in retry.ended:
        outcome = remove(store, shown, retry.named)
        if outcome == "held":
            raise _held(store, shown.leases)
        if outcome == "changed":
            raise ConfigError(
                f"{shown.item} has changed since it was shown, and nothing of it was removed",
                fix="look at it with nas-sweep status, then name it again",
            )
    for item in retry.failed:
        if remove_keys(store, item, [layout.failure(item)]) is None:
            raise _held(store, [item])


def _choose(store: Store, names: Sequence[str], *, diverged: bool) -> tuple[list[str], list[str]]:
    """Return the items whose failure is to be forgotten, and those whose results are to go."""
    known = lookup.experiments(store)
    groups = [one for one in names if layout.variations(lookup.experiment_name(one), known)]
    failed: dict[str, None] = {}
    ended: dict[str, None] = {}
    if groups or not names:
        status = StatusReader(store).read([lookup.find_experiment(store, one) for one in groups])
        for part in (status.trials, status.surfaces):
            failed |= dict.fromkeys(part.having("failed"))
        if diverged:
            ended |= dict.fromkeys(status.trials.having("diverged"))
    for item in lookup.find_items(store, [name for name in names if name not in groups]):
        if store.has(lookup.row_of(item)):
            ended[item] = None
        elif store.has(layout.failure(item)):
            failed[item] = None
        elif not _is_free(store, item):
            raise _held(store, [item])
        else:
            raise ConfigError(
                f"{item} has neither ended nor failed", fix="launch its experiment, which runs it"
            )
    return list(failed), list(ended)


def _is_free(store: Store, item: str) -> bool:
    """Whether no living worker has the item; the lease of a dead one is left for `remove`."""
    leases = store.leases
    return all(leases.expired(item, holder) for holder in leases.holders(item))


def _held(store: Store, items: Sequence[str]) -> ConfigError:
    by = [f"{i} by {holder.host}" for i in items for holder in store.leases.holders(i)]
    return ConfigError(
        f"held by a worker: {', '.join(by) or ', '.join(items)}",
        fix="wait for its end, or stop it by nas-sweep cancel",
    )


def _take(
    store: Store, items: Iterable[str], stack: contextlib.ExitStack
) -> dict[str, Lease] | None:
    """Take the leases of some items for as long as the stack is open; None if one is held."""
    leases: dict[str, Lease] = {}
    for item in items:
        lease = store.leases.take(item)
        if lease is None:
            return None
        leases[item] = stack.enter_context(lease)
    return leases


def _keys(
    item: str, surfaces: Iterable[str], checkpoints: Iterable[str], *, traces: bool
) -> list[str]:
    """Return every key of a trial or surface, its ending first.

    A removal that is cut short leaves an item that has not ended: a launch continues it.
    """
    if layout.is_surface(item):
        keys = [layout.surface(item), layout.failure(item)]
        keys += [layout.points(item), layout.vectors(item)]
    else:
        # Each state.json sorts before its tensors, which without it are no checkpoint.
        keys = [layout.trial(item), layout.failure(item), *sorted(checkpoints)]
        keys += [layout.metrics(item)]
    if traces:
        keys += [layout.log(item), layout.cancel(item)]
    return keys + [key for name in surfaces for key in _keys(name, (), (), traces=traces)]
