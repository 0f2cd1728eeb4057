"""The plan: what experiments still owe, given what the store holds.

Pure: experiments and the names of ended trials in, owed trials and totals out. Only names are
listed; no table is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.config.experiment import Experiment, Member
from results_schema import layout
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import RECIPE_VERSION, TrialSpec, recipe_version
from workers.landscape.outdated import outdated


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        members: Of each experiment, by its name.
        ended: Trial ids with an ending in the store, of these experiments or any other.
        failed: Ids of trials and surfaces whose last attempt failed.
        surfaces: Of each experiment, by its name.
        measured: Ids of these experiments' finished surfaces. One that is of a network that its
            trial no longer has is not finished.
        measures: Whether surfaces are to be measured; if not, none is owed, and what they need is
            kept all the same.
        alone: Whether to measure alone: no trial is owed, nor a surface of one that has not ended.
        only: Beginnings of the ids of trials whose surfaces are owed; all if there are none.
    """

    members: Mapping[str, list[Member]]
    ended: Collection[str]
    failed: Collection[str]
    surfaces: Mapping[str, list[SurfaceSpec]]
    measured: Collection[str]
    measures: bool = True
    alone: bool = False
    only: Collection[str] = ()

    @cached_property
    def trials(self) -> dict[str, TrialSpec]:
        """Every distinct trial of the experiments, by id, in their order."""
        return {
            member.spec.trial_id: member.spec
            for members in self.members.values()
            for member in members
        }

    @cached_property
    def owed(self) -> list[TrialSpec]:
        """Trials without an ending."""
        if self.alone:
            return []
        return [spec for trial_id, spec in self.trials.items() if trial_id not in self.ended]

    @cached_property
    def wanted(self) -> dict[str, SurfaceSpec]:
        """Every distinct surface that is to be measured, by id, in the experiments' order."""
        return self._named if self.measures else {}

    @cached_property
    def _named(self) -> dict[str, SurfaceSpec]:
        """Every distinct surface of the experiments, by id."""
        return {
            surface.surface_id: surface
            for surfaces in self.surfaces.values()
            for surface in surfaces
        }

    @cached_property
    def unmeasured(self) -> list[SurfaceSpec]:
        """Surfaces that are not finished."""
        return [
            surface
            for name, surface in self.wanted.items()
            if name not in self.measured
            and (not self.alone or not surface.epoch or surface.trial.trial_id in self.ended)
            and (not self.only or name.startswith(tuple(self.only)))
        ]

    @property
    def earlier(self) -> int:
        """Number of ended trials whose ids have an earlier format, so that none is reused."""
        return sum(recipe_version(trial_id) < RECIPE_VERSION for trial_id in self.ended)

    @property
    def points(self) -> int:
        """Of the surfaces that are not finished; those that were begun will take fewer."""
        return sum(surface.points for surface in self.unmeasured)

    @property
    def looked_at(self) -> set[int]:
        """Epochs before a trial's last whose checkpoints surfaces need, if in a later launch.

        A surface that was measured before its trial has ended is known by its checkpoint to be of
        this training, so that the checkpoint stays until then.
        """
        return {
            surface.epoch
            for name, surface in self._named.items()
            if 0 < surface.epoch < surface.trial.recipe.epochs
            and (name not in self.measured or surface.trial.trial_id not in self.ended)
        }

    @property
    def epochs(self) -> int:
        """Of the owed trials; those that left a checkpoint will train fewer."""
        return sum(spec.recipe.epochs for spec in self.owed)


def make_plan(experiments: Sequence[Experiment], store: Store | None) -> Plan:
    """The plan of some experiments.

    Args:
        experiments: With distinct names.
        store: None if there is none yet.
    """
    surfaces = {e.name: e.surfaces() for e in experiments}
    ended = layout.names(store.list(layout.TRIALS)) if store else set()
    wanted = {one.surface_id for group in surfaces.values() for one in group}
    measured = finished_surfaces(store, wanted) if store else set()
    failed = layout.names(store.list(layout.FAILURES)) - ended - measured if store else set()
    return Plan({e.name: e.members() for e in experiments}, ended, failed, surfaces, measured)


def finished_surfaces(store: Store, wanted: Collection[str]) -> set[str]:
    """Return the finished ones of some surfaces, without those of networks that are gone."""
    found = layout.names(store.list(layout.SURFACES)) & set(wanted)
    return found - outdated(store, found) if found else found
