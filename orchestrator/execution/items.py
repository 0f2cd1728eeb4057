"""Items: what a worker does next, and what the queue knows of each trial or surface in them."""

from __future__ import annotations

from dataclasses import dataclass

from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec

Work = TrialSpec | SurfaceSpec
"""What an item consists of."""


@dataclass(frozen=True)
class Item:
    """One thing a worker does next: a pack of alike trials, often of one, or a surface.

    Attributes:
        token: Names the leases of this offer, so that the queue can fence them.
        pack: The trials, or the surface alone.
    """

    token: str
    pack: tuple[Work, ...]

    @property
    def names(self) -> list[str]:
        """Ids of what is in the pack."""
        return [item_id(work) for work in self.pack]


@dataclass(eq=False)
class Owed:
    """A trial or surface that has not ended.

    Attributes:
        work: What it is.
        attempts: At it, that failed.
        not_before: When the next one may begin, by the queue's clock.
        contested: Whether another launch has or had it, and may have ended it.
        furthest: Epoch or number of points that it has come to in this launch.
        progressed: Whether it has come further than ever since its last failure.
    """

    work: Work
    attempts: int = 0
    not_before: float = 0.0
    contested: bool = False
    furthest: int = 0
    progressed: bool = False

    @property
    def id(self) -> str:
        """See `item_id`."""
        return item_id(self.work)


def item_id(work: Work) -> str:
    """Of a trial or a surface: what its lease and its log are named by."""
    return work.trial_id if isinstance(work, TrialSpec) else work.surface_id


def alike(one: Work, other: Work) -> bool:
    """Whether two can be done side by side in one process: trials that use a device alike.

    Cells, learning rates and seeds may differ. All else is equal, so that steps of one shape and
    one arithmetic run side by side, as they were measured, and end at about the same time.
    """
    if not (isinstance(one, TrialSpec) and isinstance(other, TrialSpec)):
        return False
    return (
        one.dataset == other.dataset
        and one.preprocessing == other.preprocessing
        and one.precision == other.precision
        and one.network == other.network
        and one.recipe == other.recipe
    )
