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
    """What a surface is measured on.

    Attributes:
        spec: The surface.
        network: Network with its trained weights, on its device.
        images: Images to measure on, normalised, [N, C, H, W].
        labels: int64 [N].
        trained_on: Number of images that the trial's batches are drawn from.
    """

    spec: SurfaceSpec
    network: Network
    images: Tensor
    labels: Tensor
    trained_on: int

    def instances(self, batch: int) -> Instances:
        """Return the images in the surface's precision, in batches of at most so many.

        The size of a batch changes numbers by rounding, so it is no part of the identity.
        """
        dtype = _DTYPES[self.spec.precision]
        return Instances(self.images, self.labels, dtype=dtype, batch=batch)


class Measure(ABC):
    """One kind of surface of one network.

    Args:
        case: What is measured.
    """

    def __init__(self, case: Case) -> None:
        self.case = case

    @abstractmethod
    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """Continue an earlier run; called once, before `missing`.

        Args:
            rows: Rows of that run, in their order; empty if there was no such run.
            state: What `state` returned; empty if it is lost.

        Returns:
            Those of the rows that need not be measured again.
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
