"""Loss and accuracy at points of a plane through the trained weights (Section 4.2).

s(α, β) = E_i f_i(w* + α w₁ + β w₂): the mean over a data set, with the running statistics of batch
normalisation as trained, and without drop path, cutout or the auxiliary head.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from workers.landscape.grid import Grid, GridPoint
from workers.landscape.instances import Instances, Row
from workers.landscape.measures import Case, Measure
from workers.landscape.plane import Directions, FoldedNetwork, draw_directions, find_parts
from workers.landscape.smoothness import smoothness

BATCH = 500


class Contour:
    """Measures the loss at any point of a plane; bfloat16 gives a preview (errors of per cents)."""

    def __init__(self, network: nn.Module, directions: Directions, instances: Instances) -> None:
        self._instances = instances
        parts = find_parts(network, instances.images[:2])
        self._folded = FoldedNetwork(network, directions, parts, dtype=instances.dtype)

    @torch.inference_mode()
    def at(self, alpha: float, beta: float) -> Row:
        """Return loss and accuracy at w* + alpha w₁ + beta w₂."""
        network = self._folded.move(alpha, beta)

        def run(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = network(images)
            return logits, self._instances.loss(logits, labels)

        return self._instances.run(run)


class GridMeasure(Measure):
    """A surface over a grid of points, each measured independently of the others."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        spec = case.spec
        self.grid = Grid(spec.rows, spec.columns, spec.extent)
        self.directions = draw_directions(
            case.network, spec.seed, pair=spec.pair, normalisation=spec.normalisation
        )
        self._measured: set[tuple[int, int]] = set()

    @cached_property
    def _contour(self) -> Contour:
        return Contour(self.case.network, self.directions, self.case.instances(BATCH))

    def at(self, point: GridPoint) -> Row:
        """Measure the numbers of a point, its loss among them."""
        return self._contour.at(point.alpha, point.beta)

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """Keep all rows: each is a point's, whatever the others are."""
        self._measured = {(row["row"], row["column"]) for row in rows}
        return list(rows)

    def missing(self) -> Iterator[Row]:
        """Measure the missing points, from coarse to fine."""
        for point in self.grid.points():
            if (point.row, point.column) not in self._measured:
                yield point.place() | self.at(point)

    def summary(self, rows: Sequence[Row]) -> Row:
        """Return what the surface of the loss is like (`smoothness`)."""
        losses = np.full((self.grid.rows, self.grid.columns), math.nan)  # [alphas, betas]
        for row in rows:
            losses[row["row"], row["column"]] = row["loss"]
        found, reasons = smoothness(self.grid.alphas, self.grid.betas, losses)
        return found | {"cosine": self.directions.cosine, "notes": json.dumps(reasons)}
