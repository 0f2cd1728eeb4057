"""How far from the centre of a contour the loss stays low."""

from __future__ import annotations

import math

import numpy as np

RAYS = 360
"""Directions in which the radius is looked for, equally spaced from the first axis on."""

_BEYOND = 1e300  # stands for losses that are not finite: larger than any other


def radius(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple[int, int], level: float
) -> tuple[float, bool]:
    """Return the distance to the nearest place where the loss reaches a level.

    The loss is interpolated bilinearly along `RAYS` rays, or along the line that the grid is, and
    linearly between a quarter of the spacing and the next.

    Args:
        x: Evenly spaced, [n].
        y: Evenly spaced, [m]; not both have length 1.
        z: Losses [n, m]; what is not finite counts as reached.
        centre: Indices of the centre, where the loss is finite.
        level: Above the loss at the centre.

    Returns:
        The radius, and whether the loss is reached in the largest circle that lies on the grid;
        if not, the radius is the circle's.
    """
    i, j = centre
    spacing = min(float(axis[1] - axis[0]) for axis in (x, y) if len(axis) > 1)
    reach = min(
        float(min(axis[k] - axis[0], axis[-1] - axis[k]))
        for axis, k in ((x, i), (y, j))
        if len(axis) > 1
    )
    if min(z.shape) == 1:
        angles = np.array([0.0, np.pi]) if len(x) > 1 else np.array([0.5, 1.5]) * np.pi
    else:
        angles = np.arange(RAYS) * (2 * np.pi / RAYS)
    # A quarter of the spacing, so that no cell is stepped over.
    steps = np.linspace(0, reach, max(2, 1 + math.ceil(4 * reach / spacing)))
    values = np.where(np.isfinite(z), z, _BEYOND)
    along = _bilinear(
        x, y, values, x[i] + np.outer(np.cos(angles), steps), y[j] + np.outer(np.sin(angles), steps)
    )
    reached = along[:, 1:] >= level
    nearest = math.inf
    for ray in np.flatnonzero(reached.any(axis=1)):
        k = int(reached[ray].argmax())  # between steps k and k + 1
        before, after = along[ray, k], along[ray, k + 1]
        share = max(0.0, (level - before) / (after - before)) if after > before else 0.0
        nearest = min(nearest, steps[k] + share * (steps[k + 1] - steps[k]))
    return (float(nearest), True) if math.isfinite(nearest) else (reach, False)


def _bilinear(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, at_x: np.ndarray, at_y: np.ndarray
) -> np.ndarray:
    def place(axis: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(axis) == 1:
            return np.zeros(at.shape, dtype=int), np.zeros(at.shape)
        scaled = np.clip((at - axis[0]) / (axis[1] - axis[0]), 0, len(axis) - 1)
        low = np.minimum(scaled.astype(int), len(axis) - 2)
        return low, scaled - low

    (row, down), (column, right) = place(x, at_x), place(y, at_y)
    row_after = np.minimum(row + 1, len(x) - 1)
    column_after = np.minimum(column + 1, len(y) - 1)
    above = z[row, column] * (1 - right) + z[row, column_after] * right
    below = z[row_after, column] * (1 - right) + z[row_after, column_after] * right
    return above * (1 - down) + below * down
