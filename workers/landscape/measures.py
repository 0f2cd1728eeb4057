"""The measures of a surface by its kind: its rows, one after the other, and their summary."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from results_schema.surface import SurfaceSpec
from workers.landscape.contour import Contour
from workers.landscape.curvature import Hessian, Hutchinson, Lanczos
from workers.landscape.directions import draw_directions
from workers.landscape.gradient_variance import GradientVariance, minibatch_variance
from workers.landscape.grid import Grid, GridPoint
from workers.landscape.layers import layers
from workers.landscape.smoothness import smoothness
from workers.network.network import Network

Row = dict[str, Any]

BATCHES = {"contour": 500, "gradient_variance": 80, "curvature": 80}
"""Most images run at once, by kind; no part of the identity, as it changes numbers by rounding."""
DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16}


class Measure(ABC):
    """One kind of surface of one network."""

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


def measure(
    spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor, *, trained_on: int
) -> Measure:
    """Return the measure of a surface's kind.

    Args:
        spec: The surface.
        network: Network with its trained weights, on its device.
        images: Images to measure on, normalised, [N, C, H, W].
        labels: int64 [N].
        trained_on: Number of images that the trial's batches are drawn from.
    """
    match spec.kind:
        case "contour":
            return _Contour(spec, network, images, labels)
        case "gradient_variance":
            return _GradientVariance(spec, network, images, labels, trained_on)
        case "curvature":
            return _Curvature(spec, network, images, labels)
    raise ValueError(f"no measure of the kind {spec.kind!r}")


class _OnGrid(Measure):
    """A surface over a grid of points, each measured independently of the others."""

    def __init__(self, spec: SurfaceSpec, network: Network) -> None:
        self.grid = Grid(spec.rows, spec.columns, spec.extent, spec.extent)
        self.directions = draw_directions(
            network, spec.seed, pair=spec.pair, normalisation=spec.normalisation
        )
        self._measured: set[tuple[int, int]] = set()

    @abstractmethod
    def at(self, point: GridPoint) -> Row:
        """Measure the numbers of a point."""

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        self._measured = {(row["row"], row["column"]) for row in rows}
        return list(rows)

    def missing(self) -> Iterator[Row]:
        for point in self.grid.points():
            if (point.row, point.column) not in self._measured:
                yield _coordinates(point) | self.at(point)

    def summary(self, rows: Sequence[Row]) -> Row:
        # Rows are in the order of measuring, coarse to fine, and some may come from earlier runs.
        losses = np.full((self.grid.rows, self.grid.columns), math.nan)  # [alphas, betas]
        for row in rows:
            losses[row["row"], row["column"]] = row["loss"]
        found = smoothness(self.grid.alphas, self.grid.betas, losses)
        return {
            "cosine": self.directions.cosine,
            "loss": found.centre,
            "smallest_loss": found.smallest,
            "largest_loss": found.largest,
            "nonfinite": found.nonfinite,
            "radius": found.radius,
            "bounded": found.bounded,
            "rise_radius": found.rise_radius,
            "rise_bounded": found.rise_bounded,
            "convex": found.convex,
            "roughness": found.roughness,
            "notes": json.dumps(found.reasons),
        }


class _Contour(_OnGrid):
    def __init__(self, spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor) -> None:
        super().__init__(spec, network)
        self._contour = Contour(
            network,
            self.directions,
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES["contour"],
        )

    def at(self, point: GridPoint) -> Row:
        found = self._contour.at(point.alpha, point.beta)
        return {"loss": found.loss, "accuracy": found.accuracy}


class _GradientVariance(_OnGrid):
    def __init__(
        self,
        spec: SurfaceSpec,
        network: Network,
        images: Tensor,
        labels: Tensor,
        trained_on: int,
    ) -> None:
        super().__init__(spec, network)
        self._spec, self._trained_on = spec, trained_on
        # Counted by name: two convolutions may share a normalisation.
        counted = layers(network, auxiliary=spec.auxiliary)
        weights = {name: w for layer in counted for name, w in layer.parameters()}
        self._parameters = sum(weight.numel() for weight in weights.values())
        self._variance = GradientVariance(
            network,
            self.directions,
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES["gradient_variance"],
            auxiliary=spec.trial.recipe.auxiliary if spec.auxiliary else 0.0,
        )

    def at(self, point: GridPoint) -> Row:
        # A standard error takes a second pass: at the centre, where surfaces are compared.
        error = point.level == 0
        found = self._variance.at(
            point.alpha, point.beta, by_parameter=self._spec.by_parameter, error=error
        )
        return {
            "loss": found.loss,
            "accuracy": found.accuracy,
            "variance": found.whole.value,
            "standard_error": found.whole.standard_error if error else None,
            "weights_variance": found.weights.value,
            "weights_standard_error": found.weights.standard_error if error else None,
            "gradient_norm": found.whole.mean_norm,
            "by_parameter": json.dumps(found.parameters) if found.parameters else None,
        }

    def summary(self, rows: Sequence[Row]) -> Row:
        first = self.grid.points()[0]
        [centre] = [r for r in rows if (r["row"], r["column"]) == (first.row, first.column)]
        batch = min(self._spec.trial.recipe.batch_size, self._trained_on)
        return super().summary(rows) | {
            "parameters": self._parameters,
            "variance": centre["variance"],
            "standard_error": centre["standard_error"],
            "weights_variance": centre["weights_variance"],
            "batch_variance": minibatch_variance(centre["variance"], batch, self._trained_on),
        }


class _Curvature(Measure):
    def __init__(self, spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor) -> None:
        [self._point] = Grid(spec.rows, spec.columns).points()
        # The loss at the centre is taken as a contour takes it, so that both kinds agree on it.
        self._contour = Contour(
            network,
            draw_directions(network, spec.seed),
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES["contour"],
        )
        self._hessian = Hessian(
            network, images, labels, dtype=DTYPES[spec.precision], batch=BATCHES["curvature"]
        )
        self._lanczos = Lanczos(self._hessian, seed=spec.seed)
        self._hutchinson = Hutchinson(self._hessian, seed=spec.seed)
        self._centre: Row | None = None

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        steps = [row for row in rows if row["probe"] == "eigenvalues"]
        done = self._lanczos.resume(
            [row["product"] for row in steps], [row["rest"] for row in steps], state
        )
        # A probe's vector comes from its number alone: its product is all that has to be kept.
        self._hutchinson.products = [row["product"] for row in rows if row["probe"] == "trace"]
        self._centre = next((row for row in rows if row["probe"] is None), None)
        # A step without its vectors cannot be continued from: its row is dropped and made again.
        lost = [row["step"] for row in steps[done:]]
        return [row for row in rows if row["probe"] != "eigenvalues" or row["step"] not in lost]

    def missing(self) -> Iterator[Row]:
        place = _coordinates(self._point)
        if self._centre is None:
            found = self._contour.at(self._point.alpha, self._point.beta)
            self._centre = {"loss": found.loss, "accuracy": found.accuracy}
            yield place | self._centre
        # Every product is one at the centre, with the loss there.
        common = place | {name: self._centre[name] for name in ("loss", "accuracy")}
        lanczos, hutchinson = self._lanczos, self._hutchinson
        while not lanczos.done:
            lanczos.step()
            yield common | {
                "probe": "eigenvalues",
                "step": len(lanczos.products) - 1,
                "product": lanczos.products[-1],
                "rest": lanczos.rests[-1],
            }
        while not hutchinson.done:
            hutchinson.step()
            yield common | {
                "probe": "trace",
                "step": len(hutchinson.products) - 1,
                "product": hutchinson.products[-1],
            }

    def state(self) -> dict[str, Tensor]:
        return self._lanczos.state()

    def summary(self, rows: Sequence[Row]) -> Row:
        ends, trace = self._lanczos.found, self._hutchinson.found
        return {
            "loss": rows[0]["loss"],
            "parameters": self._hessian.size,
            "top_eigenvalue": ends.largest,
            "top_residual": ends.residual,
            "bottom_eigenvalue": ends.smallest,
            "bottom_residual": ends.smallest_residual,
            "eigen_iterations": ends.iterations,
            "eigen_converged": ends.converged,
            "bottom_converged": ends.smallest_converged,
            "trace": trace.value,
            "trace_standard_error": trace.standard_error,
            "trace_probes": trace.probes,
            "trace_converged": trace.converged,
            "notes": "{}",
        }


def _coordinates(point: GridPoint) -> Row:
    return {"row": point.row, "column": point.column, "alpha": point.alpha, "beta": point.beta}
