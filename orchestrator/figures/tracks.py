"""One quantity of one trial over its epochs, raw and smoothed, and the mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Track:
    """One trial's numbers, from the first epoch to the last that is finite.

    Attributes:
        trial_id: The trial.
        seed: Of the training.
        status: "done", "diverged", or "" if not ended.
        last: The last epoch that was trained; 0 without any.
        epochs: int64 [E], rising.
        values: float64 [E]; NaN where not finite.
        smoothed: float64 [E]; see `smooth`.
    """

    trial_id: str
    seed: int
    status: str
    last: int
    epochs: np.ndarray
    values: np.ndarray
    smoothed: np.ndarray


class Mean(NamedTuple):
    """Over seeds at each epoch, float64 [E]: the mean of the smoothed values, least and largest."""

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def make_track(
    trial_id: str, seed: int, status: str, epochs: np.ndarray, values: np.ndarray, span: float
) -> Track:
    """A track of rows in any order; what lies behind the last finite value is left out.

    Args:
        trial_id: The trial.
        seed: Of the training.
        status: "done", "diverged", or "" if not ended.
        epochs: Of each row; of an epoch named twice the first row counts.
        values: Of each row.
        span: Of `smooth`.
    """
    epochs, places = np.unique(np.asarray(epochs, np.int64), return_index=True)
    values = np.asarray(values, float)[places]
    values = np.where(np.isfinite(values), values, np.nan)
    last = int(epochs[-1]) if len(epochs) else 0
    finite = np.flatnonzero(np.isfinite(values))
    kept = slice(0, int(finite[-1]) + 1 if len(finite) else 0)
    return Track(
        trial_id, seed, status, last, epochs[kept], values[kept], smooth(values[kept], span)
    )


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """The exponentially weighted mean of each value and those before it; NaN stays NaN.

    A value k epochs back weighs (1 − 2 / (span + 1))ᵏ, and the weights are divided by their sum,
    so that the first values are not drawn towards 0. A span of 1 leaves all as it is.

    Args:
        values: float64 [E].
        span: In epochs, at least 1.
    """
    if not len(values):
        return values
    means = pd.Series(values).ewm(span=span, adjust=True).mean().to_numpy()
    return np.where(np.isnan(values), np.nan, means)


def mean_of(tracks: Sequence[Track]) -> Mean:
    """Over the tracks that reach an epoch, at every epoch that one of them reaches."""
    if not tracks:
        return Mean(*(np.zeros(0) for _ in range(4)))
    parts = [pd.Series(track.smoothed, index=track.epochs) for track in tracks]
    table = pd.concat(parts, axis=1).sort_index()
    return Mean(
        table.index.to_numpy(),
        table.mean(axis=1).to_numpy(),
        table.min(axis=1).to_numpy(),
        table.max(axis=1).to_numpy(),
    )
