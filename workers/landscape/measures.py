"""The measures of a surface by its kind: its rows, one after the other, and what they come to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from results_schema.surface import SurfaceSpec
from workers.landscape.contour import Contour
from workers.landscape.curvature import Lanczos, Probing
from workers.landscape.directions import draw_directions
from workers.landscape.gradient_variance import GradientVariance, minibatch_variance
from workers.landscape.grid import Grid, GridPoint
from workers.landscape.hessian import Hessian
from workers.landscape.layers import layers
from workers.landscape.smoothness import smoothness
from workers.network.network import Network

Row = dict[str, Any]

BATCHES = {"contour": 500, "gradient_variance": 80, "curvature": 80}
"""Most images run at once, by kind; outside identity, as it moves numbers by rounding alone."""
DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.bfloat16}

_EMPTY: Row = dict.fromkeys(
    (
        "variance",
        "standard_error",
        "weights_variance",
        "weights_standard_error",
        "gradient_norm",
        "by_parameter",
        "probe",
        "step",
        "product",
        "rest",
    )
)


class Measure(Protocol):
    """One kind of surface of one network."""

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """Take up what an earlier run left; called once, before `missing`.

        Args:
            rows: Of that run, in their order; none if there was no such run.
            state: What `state` returned; empty if it is lost.

        Returns:
            Those of the rows that need not be measured again.
        """
        ...

    def missing(self) -> Iterator[Row]:
        """Measure and yield each row that is missing: columns of `tables.POINTS`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what a later run needs besides the rows so far to resume; often nothing."""
        ...

    def summary(self, rows: Sequence[Row]) -> Row:
        """Return what all rows come to: columns of `tables.SURFACES`, with `notes`."""
        ...


def grid(spec: SurfaceSpec) -> Grid:
    """The surface's points."""
    return Grid(spec.rows, spec.columns, spec.extent, spec.extent)


def measure(
    spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor, *, trained_on: int
) -> Measure:
    """Return the measure of a surface's kind.

    Args:
        spec: The surface.
        network: With its trained weights, on its device.
        images: Those to measure on, normalised, [N, C, H, W].
        labels: int64 [N].
        trained_on: Number of images that the trial's batches are drawn from.
    """
    if spec.kind == "gradient_variance":
        return _GradientVariance(spec, network, images, labels, trained_on)
    return _MEASURES[spec.kind](spec, network, images, labels)


class _OnGrid:
    """A surface over a grid of points, each measured for itself."""

    def __init__(self, spec: SurfaceSpec) -> None:
        self._grid = grid(spec)
        self._there: set[tuple[int, int]] = set()

    def at(self, point: GridPoint) -> Row:
        """Measure the numbers of a point."""
        raise NotImplementedError

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """See `Measure.resume`."""
        self._there = {(row["row"], row["column"]) for row in rows}
        return list(rows)

    def missing(self) -> Iterator[Row]:
        """See `Measure.missing`."""
        for point in self._grid.points():
            if (point.row, point.column) not in self._there:
                yield _EMPTY | _place(point) | self.at(point)

    def state(self) -> dict[str, Tensor]:
        """See `Measure.state`."""
        return {}


class _Contour(_OnGrid):
    def __init__(self, spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor) -> None:
        super().__init__(spec)
        directions = draw_directions(
            network, spec.seed, pair=spec.pair, normalisation=spec.normalisation
        )
        self._cosine = directions.cosine
        self._contour = Contour(
            network,
            directions,
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES[spec.kind],
        )

    def at(self, point: GridPoint) -> Row:
        found = self._contour.at(point.alpha, point.beta)
        return {"loss": found.loss, "accuracy": found.accuracy}

    def summary(self, rows: Sequence[Row]) -> Row:
        return {"cosine": self._cosine} | contour_numbers(self._grid, rows)


class _GradientVariance(_OnGrid):
    def __init__(
        self,
        spec: SurfaceSpec,
        network: Network,
        images: Tensor,
        labels: Tensor,
        trained_on: int,
    ) -> None:
        super().__init__(spec)
        self._spec, self._trained_on = spec, trained_on
        directions = draw_directions(
            network, spec.seed, pair=spec.pair, normalisation=spec.normalisation
        )
        self._cosine = directions.cosine
        counted = layers(network, auxiliary=spec.auxiliary)
        weights = {name: w for layer in counted for name, w in layer.parameters()}
        self._parameters = sum(weight.numel() for weight in weights.values())
        self._variance = GradientVariance(
            network,
            directions,
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES[spec.kind],
            auxiliary=spec.trial.recipe.auxiliary if spec.auxiliary else 0.0,
        )

    def at(self, point: GridPoint) -> Row:
        # A standard error takes a second pass: where surfaces are compared, not at every point.
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
        middle = _centre(self._grid, rows)
        batch = min(self._spec.trial.recipe.batch_size, self._trained_on)
        return {
            "cosine": self._cosine,
            "parameters": self._parameters,
            "variance": middle["variance"],
            "standard_error": middle["standard_error"],
            "weights_variance": middle["weights_variance"],
            "batch_variance": minibatch_variance(middle["variance"], batch, self._trained_on),
        } | contour_numbers(self._grid, rows)


class _Curvature:
    def __init__(self, spec: SurfaceSpec, network: Network, images: Tensor, labels: Tensor) -> None:
        self._grid = grid(spec)
        self._contour = Contour(
            network,
            draw_directions(network, spec.seed),
            images,
            labels,
            dtype=DTYPES[spec.precision],
            batch=BATCHES["contour"],
        )
        self._hessian = Hessian(
            network, images, labels, dtype=DTYPES[spec.precision], batch=BATCHES[spec.kind]
        )
        self._lanczos = Lanczos(self._hessian, seed=spec.seed)
        self._probing = Probing(self._hessian, seed=spec.seed)
        self._centre: Row | None = None

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        """See `Measure.resume`."""
        steps = [row for row in rows if row["probe"] == "eigenvalues"]
        done = self._lanczos.resume(
            [row["product"] for row in steps], [row["rest"] for row in steps], state
        )
        self._probing.products = [row["product"] for row in rows if row["probe"] == "trace"]
        self._centre = next((row for row in rows if row["probe"] is None), None)
        lost = [row["step"] for row in steps[done:]]
        return [row for row in rows if row["probe"] != "eigenvalues" or row["step"] not in lost]

    def missing(self) -> Iterator[Row]:
        """See `Measure.missing`."""
        [centre] = self._grid.points()
        if self._centre is None:
            found = self._contour.at(centre.alpha, centre.beta)
            self._centre = {"loss": found.loss, "accuracy": found.accuracy}
            yield _EMPTY | _place(centre) | self._centre
        # Every product is one at the centre, with the loss that is there.
        common = {name: self._centre[name] for name in ("loss", "accuracy")}
        common = _EMPTY | _place(centre) | common
        lanczos, probing = self._lanczos, self._probing
        while not lanczos.done:
            lanczos.step()
            yield common | {
                "probe": "eigenvalues",
                "step": len(lanczos.products) - 1,
                "product": lanczos.products[-1],
                "rest": lanczos.rests[-1],
            }
        while not probing.done:
            probing.step()
            yield common | {
                "probe": "trace",
                "step": len(probing.products) - 1,
                "product": probing.products[-1],
            }

    def state(self) -> dict[str, Tensor]:
        """See `Measure.state`."""
        return self._lanczos.state()

    def summary(self, rows: Sequence[Row]) -> Row:
        ends, spread = self._lanczos.found, self._probing.found
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
            "trace": spread.value,
            "trace_standard_error": spread.standard_error,
            "trace_probes": spread.probes,
            "trace_converged": spread.converged,
            "notes": "{}",
        }


_MEASURES = {"contour": _Contour, "curvature": _Curvature}


def contour_numbers(points: Grid, rows: Sequence[Row]) -> Row:
    """The smoothness of a finished surface's loss, as columns of `tables.SURFACES`."""
    losses = np.full((points.rows, points.columns), math.nan)
    for row in rows:
        losses[row["row"], row["column"]] = row["loss"]
    found = smoothness(points.alphas, points.betas, losses)
    return {
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


def _place(point: GridPoint) -> Row:
    return {
        "row": point.row,
        "column": point.column,
        "alpha": point.alpha,
        "beta": point.beta,
    }


def _centre(points: Grid, rows: Sequence[Row]) -> Row:
    first = points.points()[0]
    [found] = [r for r in rows if (r["row"], r["column"]) == (first.row, first.column)]
    return found
