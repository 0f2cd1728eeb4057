"""What every kind of surface has in common: rows, measured one after the other, and their summary.

A kind is an entry of `MEASURES` and a module with its `Measure`; the options that an experiment
may give are a model of `orchestrator.config.landscape`.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from results_schema.surface import SurfaceSpec
from workers.landscape.instances import Instances, Row
from workers.network.network import Network

MEASURES = {
    "contour": "workers.landscape.contour:GridMeasure",
    "gradient_variance": "workers.landscape.gradient_variance:_VarianceMeasure",
    "curvature": "workers.landscape.curvature:_CurvatureMeasure",
}
"""The `Measure` of each kind of surface, as module:class."""

_DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """A surface and what it is measured on: a trained network, normalised images and labels."""

    spec: SurfaceSpec
    network: Network
    images: Tensor  # [N, C, H, W]
    labels: Tensor  # int64 [N]
    trained_on: int  # images that the trial's batches are drawn from

    def instances(self, batch: int) -> Instances:
        """Return the images in the surface's precision, in batches of at most so many.

        The size of a batch changes numbers by rounding, so it is no part of the identity.
        """
        dtype = _DTYPES[self.spec.precision]
        return Instances(self.images, self.labels, dtype=dtype, batch=batch)


class Measure(ABC):
    """One kind of surface of one network."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @abstractmethod
    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """Continue an earlier run by its rows and what `state` returned, both empty if lost.

        Returns the rows that need not be measured again.
        """

    @abstractmethod
    def missing(self) -> Iterator[Row]:
        """Measure and yield each missing row: columns of `tables.POINTS`, the rest being null."""

    def state(self) -> dict[str, Tensor]:
        """Return what a later run needs besides the rows so far to resume; often nothing."""
        return {}

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> Row:
        """Return the summary of all rows: columns of `tables.SURFACES`, with `notes`."""


def measure(case: Case) -> Measure:
    """Return the measure of a surface's kind."""
    return pkgutil.resolve_name(MEASURES[case.spec.kind])(case)
