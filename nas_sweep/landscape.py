"""The loss around a trained network, of any `torch.nn.Module` and any loss.

    import nas_sweep

    found = nas_sweep.landscape.contour(model, (images, labels), rows=21, columns=21)
    found.loss[10, 10]  # at the trained weights
    nas_sweep.landscape.gradient_variance(model, loader).variance
    nas_sweep.landscape.curvature(model, loader, loss=my_loss).top_eigenvalue

They are the measures of a sweep's surfaces (docs/landscape.md). The network is copied, and run in
evaluation mode on the device on which its parameters are. Its loss is the mean over instances of
the cross-entropy of logits [n, classes] and labels int64 [n] in nats, or of any function that maps
outputs and targets of a batch to a number for each instance, [n].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from results_schema.errors import DataError, SpecError
from workers.landscape import curvature as _curvature
from workers.landscape.contour import BATCH, Contour
from workers.landscape.gradient_variance import BATCH as SMALL_BATCH
from workers.landscape.gradient_variance import GradientVariance
from workers.landscape.grid import Grid
from workers.landscape.instances import Instances, Loss
from workers.landscape.plane import draw_directions

Pairs = tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]]
"""Inputs [N, …] and targets [N, …], or batches of them, such as a `DataLoader`."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Surface:
    """Loss and accuracy over a plane w* + α w₁ + β w₂ through the trained weights w*.

    Attributes:
        alphas: Rising, [rows].
        betas: Rising, [columns].
        loss: Mean loss, [rows, columns]; infinite or NaN where it overflows.
        accuracy: Likewise; NaN under another loss than the cross-entropy.
        cosine: Cosine of the angle between w₁ and w₂.
    """

    alphas: NDArray[np.float64]
    betas: NDArray[np.float64]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    cosine: float


@dataclass(frozen=True)
class Variance:
    """How much gradients of single instances differ at a point.

    Attributes:
        loss: Mean loss.
        accuracy: Share of correct predictions; NaN under another loss than the cross-entropy.
        variance: Mean of ‖∇f_i − ∇f‖² over instances, over all parameters.
        weights_variance: The same over parameters of several dimensions.
        standard_error: Of the variance, as an estimate for the instances' population.
        weights_standard_error: Of the other one.
        gradient_norm: ‖∇f‖.
        by_parameter: Variance of each parameter.
        notes: What is to be known of it: which modules have no rule and went through `torch.func`.
    """

    loss: float
    accuracy: float
    variance: float
    weights_variance: float
    standard_error: float
    weights_standard_error: float
    gradient_norm: float
    by_parameter: dict[str, float]
    notes: dict[str, str]


@dataclass(frozen=True)
class Curvature:
    """The Hessian of the mean loss at the trained weights, over all parameters.

    Attributes:
        top_eigenvalue: Its largest eigenvalue (Lanczos).
        top_residual: ‖H v − λ v‖ of its unit eigenvector.
        bottom_eigenvalue: Its smallest eigenvalue.
        bottom_residual: Likewise.
        eigen_iterations: Products with the Hessian that both took.
        eigen_converged: Whether the largest one's residual is within the tolerance.
        bottom_converged: Whether the smallest one's is.
        trace: Its trace (Hutchinson).
        trace_standard_error: Of the trace.
        trace_probes: Products that it took.
        trace_converged: Whether its standard error is within its tolerance.
        parameters: Number of rows.
    """

    top_eigenvalue: float
    top_residual: float
    bottom_eigenvalue: float
    bottom_residual: float
    eigen_iterations: int
    eigen_converged: bool
    bottom_converged: bool
    trace: float
    trace_standard_error: float
    trace_probes: int
    trace_converged: bool
    parameters: int


def contour(
    model: nn.Module,
    data: Pairs,
    *,
    loss: Loss | None = None,
    rows: int = 21,
    columns: int = 21,
    extent: float = 1.0,
    seed: int = 0,
    pair: int = 0,
    normalisation: str = "filter",
    dtype: torch.dtype = torch.float32,
    batch: int = BATCH,
) -> Surface:
    """Return the loss over a plane of two random directions.

    Args:
        model: A trained network.
        data: What to evaluate it on.
        loss: The loss of each instance; the cross-entropy by default.
        rows: Number of alphas, odd.
        columns: Number of betas, odd.
        extent: Largest alpha and beta.
        seed: Seed of the directions.
        pair: Which of its pairs of directions, from 0.
        normalisation: How directions are scaled to the weights: "filter", "layer" or "none".
        dtype: Type of the arithmetic.
        batch: Most instances that run at once.

    Raises:
        SpecError: An argument is out of range, or the loss is not one number for each instance.
        DataError: There are no instances, or not a target for each.
    """
    grid = Grid(rows, columns, extent)
    directions = draw_directions(model, seed, pair=pair, normalisation=normalisation)
    measured = Contour(model, directions, _instances(model, data, loss, dtype, batch))
    found, correct = np.empty((rows, columns)), np.empty((rows, columns))
    for point in grid.points():
        row = measured.at(point.alpha, point.beta)
        found[point.row, point.column] = row["loss"]
        correct[point.row, point.column] = row["accuracy"]
    alphas, betas = np.array(grid.alphas), np.array(grid.betas)
    return Surface(alphas, betas, found, correct, directions.cosine)


def gradient_variance(
    model: nn.Module,
    data: Pairs,
    *,
    loss: Loss | None = None,
    alpha: float = 0.0,
    beta: float = 0.0,
    seed: int = 0,
    pair: int = 0,
    normalisation: str = "filter",
    dtype: torch.dtype = torch.float32,
    batch: int = SMALL_BATCH,
) -> Variance:
    """Return the variance of the gradients of single instances at w* + alpha w₁ + beta w₂.

    The arguments are those of `contour`, but for the point. It is exact: one backward pass of a
    batch gives every instance's gradient, layer by layer.

    Raises:
        SpecError: As for `contour`; or what the network returns of an instance depends on others.
        DataError: As for `contour`.
    """
    directions = draw_directions(model, seed, pair=pair, normalisation=normalisation)
    given = _instances(model, data, loss, dtype, batch)
    measured = GradientVariance(model, directions, given)
    row = measured.at(alpha, beta, by_parameter=True, error=True)
    row |= {"by_parameter": json.loads(row["by_parameter"]), "notes": measured.notes}
    return _fill(Variance, row)


def curvature(
    model: nn.Module,
    data: Pairs,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    tolerance: float = 1e-3,
    iterations: int = 100,
    trace_tolerance: float = 0.05,
    probes: int = 100,
    dtype: torch.dtype = torch.float32,
    batch: int = SMALL_BATCH,
) -> Curvature:
    """Return the ends of the Hessian's spectrum and its trace, from products with vectors.

    Args:
        model: A trained network.
        data: What to evaluate it on.
        loss: The loss of each instance; the cross-entropy by default.
        seed: Seed of the first vector and of the probes.
        tolerance: Residual of the largest eigenvalue, as a share of it, at which iterations stop.
        iterations: Most iterations of Lanczos's method.
        trace_tolerance: Standard error of the trace, as a share of it, at which probes stop.
        probes: Most probes of Hutchinson's method.
        dtype: Type of the arithmetic.
        batch: Most instances that run at once.

    Raises:
        SpecError: As for `contour`.
        DataError: As for `contour`.
    """
    hessian = _curvature.Hessian(model, _instances(model, data, loss, dtype, batch))
    ends = _curvature.Lanczos(hessian, seed=seed, tolerance=tolerance, iterations=iterations)
    trace = _curvature.Hutchinson(hessian, seed=seed, tolerance=trace_tolerance, probes=probes)
    found = _curvature.run(ends) | _curvature.run(trace)
    return _fill(Curvature, found | {"parameters": hessian.size})


def _instances(
    model: nn.Module, data: Pairs, loss: Loss | None, dtype: torch.dtype, batch: int
) -> Instances:
    first = next(model.parameters(), None)
    if first is None:
        raise SpecError("the network has no parameters", fix="give a trained torch.nn.Module")
    pairs: list[Any] = [data] if _is_pair(data) else [*data]
    if not all(map(_is_pair, pairs)):
        what = "the data are neither inputs and targets nor batches of them"
        raise DataError(what, fix="give (inputs, targets), or a DataLoader of such pairs")
    inputs = torch.cat([one for one, _ in pairs] or [torch.empty(0)]).to(first.device)
    targets = torch.cat([one for _, one in pairs] or [torch.empty(0)]).to(first.device)
    return Instances(inputs, targets, dtype=dtype, batch=batch, loss=loss)


def _is_pair(data: Any) -> bool:
    pair = isinstance(data, tuple | list) and len(data) == 2
    return pair and all(isinstance(one, Tensor) for one in data)


def _fill(kind: type[Found], row: Mapping[str, Any]) -> Found:
    return kind(**{one.name: row[one.name] for one in fields(kind)})  # type: ignore[arg-type]
