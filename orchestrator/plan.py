"""The plan: what experiments still owe, given what the store holds.

Pure: experiments and the names of ended trials in, owed trials and totals out. Only names are
listed; no table is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.experiment import Experiment, Member
from results_schema import layout
from results_schema.store import Store
from results_schema.trial import TrialSpec


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        members: Of each experiment, by its name.
        ended: Trial ids with an ending in the store, of these experiments or any other.
        failed: Trial ids whose last attempt failed.
    """

    members: Mapping[str, list[Member]]
    ended: Collection[str]
    failed: Collection[str]

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
        return [spec for trial_id, spec in self.trials.items() if trial_id not in self.ended]

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
    ended = layout.names(store.list(layout.TRIALS)) if store else set()
    failed = layout.names(store.list(layout.FAILURES)) - ended if store else set()
    return Plan({e.name: e.members() for e in experiments}, ended, failed)


def member_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Rows of `tables.MEMBERS`."""
    return [
        {
            "experiment": experiment.name,
            "profile": experiment.profile,
            "base": member.base,
            "variant": member.variant,
            "index": member.index,
            "named_dataset": member.named_dataset,
            "dataset": member.spec.dataset,
            "learning_rate": member.spec.learning_rate,
            "seed": member.spec.seed,
            "width": float(member.spec.genotype.width),
            "depth": member.spec.genotype.depth,
            "trial_id": member.spec.trial_id,
        }
        for member in experiment.members()
    ]
