"""The plan: which trials and surfaces of some experiments remain to be run, and their disk space.

Planning is pure: experiments and the names of what has ended go in, remaining work and totals come
out. It lists names and opens no table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from orchestrator.config.experiment import Experiment, Member
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.program import ProgramSpec, Trial, check_metrics, is_program
from results_schema.stopping import Cohort, pruned_trials, read_decisions
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import RECIPE_VERSION, TrialSpec, recipe_version
from workers.cells.cost import count_on
from workers.data.catalog import describe
from workers.landscape.outdated import outdated

Work = Trial | SurfaceSpec
"""What a worker runs: it trains a trial or measures a surface."""

PARAMETER_BYTES = 4.3
"""Bytes of a checkpoint per parameter: its weight and a share of the running statistics of batch
normalisation. Measured, like the next two, as a bound over bases and sizes."""
MOMENTUM_BYTES = 4
"""Bytes of a checkpoint per parameter for its momentum, which an ended trial does not keep."""
CELL_BYTES = 15_000
"""Bytes of a checkpoint per cell: names and shapes of its tensors."""
HISTORY_BYTES = 450
"""Bytes of a checkpoint per epoch: the trial's rows so far."""
EPOCH_BYTES = 250
"""Bytes of an epoch in the table of metrics and in the log."""
TRIAL_BYTES = 30_000
"""Bytes of a trial's row and of its entries in folders."""
PROGRAM_BYTES = 10_000_000
"""Bytes of a program's state, which is not known before it is committed: a guess."""
POINT_BYTES = 200
"""Bytes of a surface's point."""
CURVATURE_BYTES = 16
"""Bytes per parameter that a curvature keeps while it is measured: two numbers."""
FIGURE_BYTES = 1_500_000
"""Bytes of a figure's page and picture, in its folder and in the report."""
PLOTLY_BYTES = 5_000_000
"""Bytes of the script that the pages of a store share."""
CHECKPOINTS_IN_USE = 2
"""Checkpoints of a running trial besides the one it ends with: the last, and the next one."""


@dataclass(frozen=True)
class Plan:
    """What remains to be run.

    Attributes:
        members: Trials of each experiment, by its name.
        ended: Trial ids with an ending in the store, of these experiments or any other.
        failed: Ids of trials and surfaces whose last attempt failed.
        surfaces: Surfaces of each experiment, by its name.
        measured: Ids of finished surfaces; one of a network that its trial no longer has is not.
        measure: Whether surfaces are to be measured. If not, none remains, and the checkpoints
            that they need are kept all the same.
        measure_only: Whether to train nothing, nor measure surfaces of trials that have not ended.
        figures: Number of figures to draw.
        chosen: Ids of the trials to which the work is restricted, surfaces to theirs; None for all.
        cohorts: Cohorts of early stopping of each experiment that has a rule, by its name.
        stopped: Epoch at which each experiment has pruned trials, by its name and theirs.
        sources: Digests of the sources that have run trials of each program's version, and of that
            which would run them now, by what they are called.
    """

    members: Mapping[str, list[Member]]
    ended: Collection[str]
    failed: Collection[str]
    surfaces: Mapping[str, list[SurfaceSpec]]
    measured: Collection[str]
    measure: bool = True
    measure_only: bool = False
    figures: int = 0
    chosen: Collection[str] | None = None
    cohorts: Mapping[str, list[Cohort]] = field(default_factory=dict)
    stopped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sources: Mapping[str, Collection[str]] = field(default_factory=dict)

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """Every distinct trial of the experiments, by id, in their order."""
        return {m.spec.trial_id: m.spec for members in self.members.values() for m in members}

    @cached_property
    def remaining(self) -> list[Trial]:
        """Trials without an ending that are not pruned."""
        if self.measure_only:
            return []
        without = {*self.ended, *self.pruned}
        return [
            spec
            for trial_id, spec in self.trials.items()
            if trial_id not in without and self._is_chosen(trial_id)
        ]

    def _is_chosen(self, trial_id: str) -> bool:
        return self.chosen is None or trial_id in self.chosen

    def choose(self, only: Sequence[str] = (), limit: int | None = None) -> Plan:
        """Return the plan restricted to some of its trials, and the surfaces of these.

        Args:
            only: Patterns of ids and of names such as `fig9/DARTS/C3`. Each part of a pattern must
                be a part of the name, with wildcards as in file names.
            limit: The largest number of trials that have work left; the first ones are kept.

        Raises:
            ConfigError: No trial fits a pattern.
        """
        if not only and limit is None:
            return self
        from orchestrator.config.record import member_row, name_members  # slow to import

        names = [
            (name, member.spec.trial_id)
            for experiment, members in self.members.items()
            for name, member in zip(
                name_members(experiment, map(member_row, members)), members, strict=True
            )
        ]
        chosen = {trial_id for _, trial_id in names} if not only else set[str]()
        for pattern in only:
            found = {trial_id for name, trial_id in names if _fits(pattern, name, trial_id)}
            if not found:
                such = f"write a name such as {names[0][0]}, or a part of it" if names else ""
                raise ConfigError(f"no trial fits {pattern!r}", where="--only", fix=such)
            chosen |= found
        plan = replace(self, chosen=chosen)
        if limit is None:
            return plan
        left = [spec.trial_id for spec in plan.remaining]
        left += [surface.trial.trial_id for surface in plan.unmeasured]
        in_order = list(dict.fromkeys(left))
        return replace(plan, chosen=set(in_order[:limit]))

    @cached_property
    def pruned(self) -> dict[str, int]:
        """Last epoch of each trial without an ending that every experiment with it has pruned."""
        found: dict[str, int] = {}
        if any(self.stopped.values()):
            for trial_id, names in self.experiments_of.items():
                epochs = [self.stopped.get(name, {}).get(trial_id, 0) for name in names]
                if trial_id not in self.ended and all(epochs):
                    found[trial_id] = max(epochs)
        return found

    @cached_property
    def experiments_of(self) -> dict[str, list[str]]:
        """Names of the experiments that name each trial, by its id."""
        found: dict[str, dict[str, None]] = {}
        for name, members in self.members.items():
            for member in members:
                found.setdefault(member.spec.trial_id, {})[name] = None
        return {trial_id: list(names) for trial_id, names in found.items()}

    @property
    def warnings(self) -> list[str]:
        """What is allowed in the remaining trials and seldom meant, a sentence each."""
        found: dict[str, None] = {}
        for cohort in (one for cohorts in self.cohorts.values() for one in cohorts):
            if not any(next(cohort.rungs(trial), 0) for trial in cohort.trials):
                first = [*cohort.rule.rungs, cohort.rule.after][0]
                what = f"stop compares no trials: it begins after epoch {first:,}"
                found[f"{what}, and none has more than {max(cohort.epochs.values()):,}"] = None
        for spec in self.remaining:
            if not isinstance(spec, TrialSpec):
                continue
            data, recipe = describe(spec.dataset), spec.recipe
            # Larger ones are written so too, as they train to the same numbers.
            if recipe.batch_size == data.train - data.held_out(recipe.validation):
                what = f"recipe.batch_size holds all {recipe.batch_size:,} training images of"
                found[f"{what} {data.name}: an epoch is one step"] = None
            if recipe.cutout == 2 * data.size - 1:
                what = f"recipe.cutout blanks every training image of {data.name}"
                found[f"{what}, which has {data.size} pixels a side"] = None
        return list(found)

    @property
    def programs(self) -> list[str]:
        """Names of the programs of the remaining trials."""
        named = (spec.program for spec in self.remaining if isinstance(spec, ProgramSpec))
        return list(dict.fromkeys(named))

    @cached_property
    def wanted(self) -> dict[str, SurfaceSpec]:
        """Every distinct surface that is to be measured, by id, in the experiments' order."""
        return self._every_surface if self.measure else {}

    @cached_property
    def _every_surface(self) -> dict[str, SurfaceSpec]:
        return {one.surface_id: one for surfaces in self.surfaces.values() for one in surfaces}

    @cached_property
    def unmeasured(self) -> list[SurfaceSpec]:
        """Surfaces that are not finished."""
        return [
            surface
            for name, surface in self.wanted.items()
            if name not in self.measured
            and surface.epoch <= self.pruned.get(surface.trial.trial_id, surface.epoch)
            and (not self.measure_only or not surface.epoch or surface.trial.trial_id in self.ended)
            and self._is_chosen(surface.trial.trial_id)
        ]

    def count_ended(self) -> tuple[int, int]:
        """Return how many of its trials have ended, and how many surfaces are finished."""
        trials = sum(trial_id in self.ended for trial_id in self.trials)
        return trials, sum(name in self.measured for name in self.wanted)

    @property
    def work(self) -> list[Work]:
        """All that remains: trials, then surfaces."""
        return [*self.remaining, *self.unmeasured]

    @property
    def earlier_ids(self) -> int:
        """Number of ended trials whose ids have an earlier format, so that none is reused."""
        own = [name for name in self.ended if not name.startswith(layout.IMPORTED)]
        cells = [trial_id for trial_id in own if not is_program(trial_id)]
        return sum(recipe_version(trial_id) < RECIPE_VERSION for trial_id in cells)

    @property
    def epochs(self) -> int:
        """Epochs of the remaining trials; those that left a checkpoint will train fewer."""
        return sum(spec.epochs for spec in self.remaining)

    @property
    def points(self) -> int:
        """Points of the surfaces that are not finished; those that were begun will take fewer."""
        return sum(surface.points for surface in self.unmeasured)

    @property
    def surface_epochs(self) -> set[int]:
        """Epochs before a trial's last whose checkpoints surfaces need, now or later."""
        # A surface that was measured before its trial ended is known by its checkpoint to be of
        # this training, so that the checkpoint stays until then.
        return {
            surface.epoch
            for name, surface in self._every_surface.items()
            if 0 < surface.epoch < surface.trial.recipe.epochs
            and (name not in self.measured or surface.trial.trial_id not in self.ended)
        }

    @cached_property
    def checkpoint_sizes(self) -> list[int]:
        """Bytes of a checkpoint of each remaining trial while it trains (`checkpoint_bytes`)."""
        return [checkpoint_bytes(spec) for spec in self.remaining]

    def disk_bytes(self, *, kept: Collection[int], side_by_side: int) -> int:
        """Return an upper bound of the bytes that the remaining work adds to the store.

        Args:
            kept: Epochs whose checkpoints stay, besides those that surfaces need.
            side_by_side: Number of trials or surfaces that run at once.
        """
        kept = {*kept, *self.surface_epochs}
        checkpoints = sum(
            checkpoint_bytes(spec, ended=True) + size * sum(epoch < spec.epochs for epoch in kept)
            for size, spec in zip(self.checkpoint_sizes, self.remaining, strict=True)
        )
        rows = EPOCH_BYTES * self.epochs + TRIAL_BYTES * len(self.remaining)
        rows += POINT_BYTES * self.points
        if self.figures and self.work:
            rows += FIGURE_BYTES * self.figures + PLOTLY_BYTES
        curvatures = [
            CURVATURE_BYTES * _parameters(surface.trial)
            for surface in self.unmeasured
            if surface.kind == "curvature"
        ]
        running = CHECKPOINTS_IN_USE * sum(sorted(self.checkpoint_sizes)[-side_by_side:])
        return checkpoints + rows + running + sum(sorted(curvatures)[-side_by_side:])


def make_plan(experiments: Sequence[Experiment], store: Store | None) -> Plan:
    """Return what remains of experiments with distinct names; `store` may be None."""
    surfaces = {e.name: e.surfaces() for e in experiments}
    ended = layout.names(store.list(layout.TRIALS)) if store else set()
    wanted = {one.surface_id for group in surfaces.values() for one in group}
    measured = finished_surfaces(store, wanted) if store else set()
    failed = layout.names(store.list(layout.FAILURES)) - ended - measured if store else set()
    members = {e.name: e.members() for e in experiments}
    figures = sum(len(e.figures) for e in experiments)
    for experiment in experiments:
        if store and experiment.metrics:
            check_metrics(store, experiment.metrics)
    cohorts = {e.name: found for e in experiments if (found := e.cohorts())}
    stopped = {name: _pruned(store, found) for name, found in cohorts.items()} if store else {}
    return Plan(
        members,
        ended,
        failed,
        surfaces,
        measured,
        figures=figures,
        cohorts=cohorts,
        stopped=stopped,
        sources=_sources(experiments, store) if store else {},
    )


def _sources(experiments: Sequence[Experiment], store: Store) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source, version in {(e.source, e.version) for e in experiments if e.source}:
        start = layout.source(source.program, version)
        keys = [key for key in store.list(layout.SOURCES) if key.startswith(start)]
        digests = {key.removeprefix(start).removesuffix(".json") for key in keys}
        found[f"{source.program}, version {version}"] = sorted(digests | {source.digest})
    return found


def _pruned(store: Store, cohorts: Collection[Cohort]) -> dict[str, int]:
    found = read_decisions(store, cohorts).values()
    return {t: epoch for one in found for t, epoch in pruned_trials(one.values()).items()}


def finished_surfaces(store: Store, wanted: Collection[str]) -> set[str]:
    """Return the finished ones of some surfaces, without those of networks that are gone."""
    found = layout.names(store.list(layout.SURFACES)) & set(wanted)
    return found - outdated(store, found) if found else found


def _fits(pattern: str, name: str, trial_id: str) -> bool:
    if fnmatchcase(trial_id, pattern if set(pattern) & set("*?[") else f"{pattern}*"):
        return True
    parts, wanted = name.casefold().split("/"), pattern.casefold().strip("/").split("/")
    return all(any(fnmatchcase(part, one) for part in parts) for one in wanted)


def work_id(work: Work) -> str:
    """Return the id of a trial or surface, which names its lease and its log."""
    return work.surface_id if isinstance(work, SurfaceSpec) else work.trial_id


def checkpoint_bytes(spec: Trial, *, ended: bool = False) -> int:
    """Return an upper bound of the bytes of a trial's checkpoint, or of that which it ends with."""
    if isinstance(spec, ProgramSpec):
        return PROGRAM_BYTES + HISTORY_BYTES * spec.epochs
    # Tensors of an optimizer for each weight, and numbers for each parameter; AdamW's are the most.
    tensors, numbers = (1, 1) if spec.recipe.optimizer == "sgd" else (3, 2)
    if ended:  # fewer tensors, but as many running statistics
        tensors = numbers = 0
    cell, each = CELL_BYTES * (7 + 3 * tensors) // 10, PARAMETER_BYTES + MOMENTUM_BYTES * numbers
    own = cell * spec.network.cells + HISTORY_BYTES * spec.recipe.epochs
    return int(each * _parameters(spec)) + own


def _parameters(spec: TrialSpec) -> int:
    auxiliary = spec.recipe.auxiliary > 0
    return count_on(spec.genotype, spec.network, spec.dataset, auxiliary=auxiliary).parameters
