"""The line before the queue's counter: what is owed and not offered, in the order of offering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.execution.items import Owed
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec


@dataclass
class Waiting:
    """Trials and surfaces not yet offered, or to be offered again.

    A surface is not ready until its trial has ended, or has left the checkpoint that is to be
    measured.

    Attributes:
        surfaces_last: Whether trials go before surfaces whose checkpoint has landed.
        ready: What may be offered, in its order.
    """

    surfaces_last: bool = False
    ready: list[Owed] = field(default_factory=list)
    _untrained: dict[str, list[Owed]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ready) + sum(map(len, self._untrained.values()))

    @property
    def trials(self) -> int:
        """How many of those that are ready are trials."""
        return sum(isinstance(owed.work, TrialSpec) for owed in self.ready)

    def add(self, specs: Sequence[TrialSpec]) -> None:
        """Trials go behind what is there."""
        self.ready += map(Owed, specs)

    def add_surfaces(self, surfaces: Sequence[SurfaceSpec]) -> None:
        """Surfaces of trials in the line wait for them.

        So do those of untrained networks, or a grid would be measured before it is trained.
        """
        training, landed = {owed.id for owed in self.ready}, []
        for surface in surfaces:
            trial_id = surface.trial.trial_id
            if trial_id in training:
                self._untrained.setdefault(trial_id, []).append(Owed(surface))
            else:
                landed.append(Owed(surface))
        self._release(landed)

    def reached(self, trial_id: str, epoch: int) -> None:
        """A trial trains this epoch: what it left after earlier ones can be looked at."""
        waiting = self._untrained.get(trial_id)
        if not waiting:
            return
        landed = [o for o in waiting if isinstance(o.work, SurfaceSpec) and o.work.epoch < epoch]
        self._untrained[trial_id] = [owed for owed in waiting if owed not in landed]
        self._release(landed)

    def follow(self, trial_id: str, *, trained: bool) -> list[Owed]:
        """A trial has left the queue: its surfaces are ready, but for those it can't have.

        Returns:
            Those, which leave the line too: of later epochs than the first of an untrained trial.
        """
        surfaces, lost = self._untrained.pop(trial_id, []), []
        if not trained:
            lost = [o for o in surfaces if isinstance(o.work, SurfaceSpec) and o.work.epoch]
        self._release([owed for owed in surfaces if owed not in lost])
        return lost

    def _release(self, surfaces: list[Owed]) -> None:
        """Makes surfaces ready, in their order: next, or when no trial is left to offer."""
        if self.surfaces_last or not surfaces:
            self.ready += surfaces
            return
        ahead = [o for o in self.ready if isinstance(o.work, SurfaceSpec)]
        behind = [o for o in self.ready if isinstance(o.work, TrialSpec)]
        self.ready = [*ahead, *surfaces, *behind]
