"""Most spectral norms of trained weights exceed 1, as the reading of Theorem 4.2 supposes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from scipy import sparse
from scipy.sparse import linalg

from orchestrator.paper.claims.claim import BOTH_CIFARS, TINY_IMAGENET, Claim, Measure, Sample
from orchestrator.paper.claims.measures import MOST
from orchestrator.paper.claims.population import Population, spec_of
from orchestrator.paper.statistics.comparison import mean
from results_schema import layout
from results_schema.errors import MissingKey
from results_schema.genotype import INPUTS
from results_schema.store import Store
from results_schema.trial import TrialSpec
from workers.cells.stack import stack
from workers.data.catalog import describe

_MOST_CHECKPOINTS = 12
"""That are read: each has millions of weights."""


class Layer(NamedTuple):
    """How a convolution of a network acts, its zero padding such that stride 1 keeps the map.

    Attributes:
        rows: Of its input map.
        columns: Of its input map.
        stride: Down the rows and along the columns.
        dilation: Of its kernel.
        depthwise: Whether each channel has a kernel of its own.
    """

    rows: int
    columns: int
    stride: tuple[int, int]
    dilation: int = 1
    depthwise: bool = False


def spectral_norms(tensors: dict[str, np.ndarray], spec: TrialSpec) -> dict[str, float]:
    """Return the operator norm of every trained matrix and kernel, on the maps that it takes.

    A layer that no path leads from to the logits has no gradient, so that it is left out.

    Args:
        tensors: Of a checkpoint; momentum and one-dimensional parameters are left out.
        spec: Of its trial.
    """
    find, found = _layers(spec), {}
    for name, value in tensors.items():
        weight = value.ndim > 1 and np.issubdtype(value.dtype, np.floating)
        layer = find(name, value) if weight and not name.startswith("momentum.") else None
        if layer is None:
            continue
        weights = value.astype(np.float64)
        if not np.isfinite(weights).all():
            found[name] = math.nan
        elif layer == _MATRIX:
            found[name] = _matrix_norm(weights.reshape(len(weights), -1))
        else:
            found[name] = operator_norm(weights, layer)
    return found


def operator_norm(kernel: np.ndarray, layer: Layer) -> float:
    """Return the largest singular value of a convolution, as a map from its input to its output.

    Reshaping the kernel to [out, in·height·width] gives another number: a depthwise convolution
    treats its channels apart, and neighbouring windows overlap.

    Args:
        kernel: [out, in, height, width], in = 1 if depthwise; finite, float64.
        layer: How it acts.
    """
    taps = _taps(*kernel.shape[2:], layer._replace(depthwise=False))
    if not layer.depthwise:
        return _top_singular_value(kernel, taps)
    # The norm is the largest over channels. That of a channel is at most the maximum of its
    # kernel's Fourier transform, so that few channels have to be looked at.
    limits = _symbol_limits(kernel[:, 0])
    largest = 0.0
    for channel in np.argsort(-limits):
        if limits[channel] <= largest:
            break
        largest = max(largest, _top_singular_value(kernel[channel : channel + 1], taps))
    return largest


_MATRIX = Layer(1, 1, (1, 1))
"""A kernel of one pixel, at any stride, or a linear layer."""

_GRID = 64
"""Frequencies a side at which a kernel's Fourier transform is taken."""

_DENSE = 256
"""Numbers of a map up to which the operator is written out as a matrix."""

_DEPTHWISE = re.compile(r"(sep|dil)_conv_\dx\d")

_OF_CELL = re.compile(r"cells\.(\d+)\.(preprocess|operations\.)(\d+)\.(\w+)\.weight")


def _layers(spec: TrialSpec) -> Callable[[str, np.ndarray], Layer | None]:
    """Return what finds how a parameter acts by its name; None if it is not trained."""
    auxiliary = bool(spec.recipe.auxiliary)
    places = stack(spec.genotype, spec.network, auxiliary=auxiliary)
    image, first = describe(spec.dataset).size, spec.network.stem_stride
    sides, side = [], -(-image // first)
    for place in places:
        sides.append(side)  # of what the cell's inputs are
        side //= 2 if place.reduction else 1

    def find(name: str, value: np.ndarray) -> Layer | None:
        if ".operation." in name:
            return None  # of a plug-in, which may use it in any way
        match = _OF_CELL.fullmatch(name)
        # The auxiliary head's 2×2 kernel takes its whole map.
        whole = value.ndim == 2 or value.shape[2:] == (1, 1) or name.startswith("auxiliary_head.")
        if match is None:
            stem = Layer(image, image, (first, first)) if name.startswith("stem.") else None
            return _MATRIX if whole else stem
        index, kind, number, module = match.groups()
        place, side = places[int(index)], sides[int(index)]
        cell = place.cell
        edges = [(edge, node) for node, ends in enumerate(cell.nodes, INPUTS) for edge in ends]
        edge, node = edges[int(number)] if kind == "operations." else (None, int(number))
        if not place.live or node not in cell.live_nodes:
            return None
        if whole or edge is None:
            return _MATRIX if whole else None
        stride = 1
        if place.reduction:
            side, stride = (side, 2) if edge.source < INPUTS else (side // 2, 1)
        return _of_operation(edge.op, module, value.shape[2:], side, stride)

    return find


def _of_operation(
    op: str, module: str, window: tuple[int, ...], side: int, stride: int
) -> Layer | None:
    """Return a convolution of more pixels than one, by its place in `workers.network`."""
    if match := _DEPTHWISE.fullmatch(op):
        if module == "5":  # the second half of a separable convolution
            side, stride = side // stride, 1
        dilation = 2 if match[1] == "dil" else 1
        return Layer(side, side, (stride, stride), dilation, depthwise=True)
    if window[0] == 1:
        return Layer(side, side, (1, stride))
    if window[1] == 1:
        return Layer(side, side // stride, (stride, 1))
    return Layer(side, side, (stride, stride))


@lru_cache(maxsize=64)
def _taps(height: int, width: int, layer: Layer) -> Any:
    """Return the pixel that each tap reads for each output pixel, [tap · output, input]."""
    ends, inside = [], []
    for size, pixels, stride in zip(
        (height, width), (layer.rows, layer.columns), layer.stride, strict=True
    ):
        starts = np.arange(0, pixels, stride) - layer.dilation * (size // 2)
        read = starts + layer.dilation * np.arange(size)[:, None]  # [tap, output]
        ends.append(read)
        inside.append((read >= 0) & (read < pixels))
    place = ends[0][:, None, :, None] * layer.columns + ends[1][None, :, None, :]
    kept = (inside[0][:, None, :, None] & inside[1][None, :, None, :]).ravel()
    rows = np.flatnonzero(kept)
    shape = (len(kept), layer.rows * layer.columns)
    return sparse.csr_array((np.ones(len(rows)), (rows, place.ravel()[kept])), shape=shape)


def _top_singular_value(kernel: np.ndarray, taps: Any) -> float:
    """Return that of the convolution of a dense kernel [out, in, height, width]."""
    out, channels, *window = kernel.shape
    area = math.prod(window)
    matrix, pixels = kernel.reshape(out, channels * area), taps.shape[1]
    outputs = taps.shape[0] // area

    size = channels * pixels
    if size <= _DENSE:
        dense = kernel.reshape(-1, area) @ taps.toarray().reshape(area, outputs * pixels)
        dense = dense.reshape(out, channels, outputs, pixels).transpose(0, 2, 1, 3)
        return _matrix_norm(dense.reshape(out * outputs, size))

    def forward(x: np.ndarray) -> np.ndarray:
        read = (taps @ x.reshape(channels, pixels).T).reshape(area, outputs, channels)
        return matrix @ read.transpose(2, 0, 1).reshape(channels * area, outputs)

    def gram(x: np.ndarray) -> np.ndarray:
        back = (matrix.T @ forward(x)).reshape(channels, area * outputs)
        return (taps.T @ back.T).T.ravel()

    start = np.random.default_rng(0).standard_normal(size)
    # The error of an eigenvalue is of the order of the tolerance's square.
    lanczos: Any = linalg
    operator = lanczos.LinearOperator((size, size), matvec=gram, dtype=np.float64)
    top = lanczos.eigsh(operator, k=1, which="LA", v0=start, tol=1e-3, return_eigenvectors=False)
    return float(np.sqrt(max(top[0], 0.0)))


def _symbol_limits(kernels: np.ndarray) -> np.ndarray:
    """Return upper bounds of the norms of kernels [channel, height, width], whatever their map."""
    peaks = np.abs(np.fft.rfft2(kernels, (_GRID, _GRID))).max((1, 2))
    # |symbol|² is a trigonometric polynomial of degree size − 1 in each direction, so that its
    # maximum exceeds that on the grid by at most these factors (Ehlich and Zeller).
    factors = [math.cos(math.pi * (size - 1) / _GRID) for size in kernels.shape[1:]]
    return peaks / math.sqrt(math.prod(factors))


def _matrix_norm(matrix: np.ndarray) -> float:
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    return float(np.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0)))


def _norms(population: Population) -> Sample | None:
    trials: Any = population.at_rate()
    done = trials[trials["status"] == "done"].drop_duplicates(["base", "variant"])
    places = np.linspace(0, len(done) - 1, min(len(done), _MOST_CHECKPOINTS))
    some = done.iloc[places.round().astype(int)]
    used, every = [], []
    for trial_id, spec in zip(some["trial_id"], some["spec"], strict=True):
        norms = np.array(list(_read(population.results.store, trial_id, spec).values()))
        norms = norms[~np.isnan(norms)]
        if len(norms):
            used.append(trial_id)
            every.append(norms)
    if not every:
        return None
    found = mean(np.array([float((norms > 1).mean()) for norms in every]), 0.5)
    found = replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    median = np.median([float(np.median(norms)) for norms in every])
    note = f"median norm {median:.2f}; batch normalisation rescales weights"
    return Sample(found, len(used), done[done["trial_id"].isin(used)], note)


def _read(store: Store, trial_id: str, text: Any) -> dict[str, float]:
    """Return the norms of the last checkpoint; none if it is gone or damaged, or without a spec.

    An earlier checkpoint is not the trained network.
    """
    spec = spec_of(text)
    if spec is None:
        return {}
    key = layout.tensors(trial_id, spec.recipe.epochs)
    try:
        return spectral_norms(safetensors.numpy.load(store.get(key)), spec)
    except (MissingKey, SafetensorError, ValueError):
        return {}


CLAIMS = (
    Claim(
        "norms-above-one",
        "Most spectral norms of trained weights exceed 1.",
        "Section 4.3, Theorem 4.2, where it is supposed",
        "theory",
        (
            Measure(
                "operator norms of the last checkpoint's weights, each on its own map",
                "mean share above 1 in a cell",
                _norms,
                MOST,
                "share",
            ),
        ),
        "checkpoints of trained cells (gc --checkpoints keeps the last)",
        ("experiments/fig9.yaml",),
        BOTH_CIFARS + TINY_IMAGENET,
    ),
)
