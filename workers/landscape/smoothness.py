"""A loss contour in numbers: how wide, how convex, how rough (Section 4.2).

The paper compares such surfaces by eye: the base is said to have "the smoothest surface and the
widest near-convex region". The definitions here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from results_schema.errors import SpecError

RAYS = 360  # directions in which a radius is searched, equally spaced from the first axis on
MULTIPLE, RISE = 2.0, 1.0  # of the centre's loss, which bounds `radius`; nats that bound the other
TOLERANCE = 0.05  # share of the larger eigenvalue that may be negative in the near-convex region
_BEYOND = 1e300  # replaces losses that are not finite: larger than any other


def smoothness(
    alphas: Sequence[float], betas: Sequence[float], losses: np.ndarray
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the numbers of a finished contour, and why those are NaN that have no value.

    Args:
        alphas: Rising, evenly spaced, [n]; n is odd, and the middle one is the centre's.
        betas: Rising, evenly spaced, [m]; m is odd.
        losses: [n, m]; may hold infinities and NaN.

    Returns:
        Columns of `tables.SURFACES`, and reasons by their names. Of two equal surfaces the one with
        the smaller loss at its centre has the smaller `radius`, unlike `rise_radius`. `roughness`
        is in decades per unit², by central differences along both axes.

    Raises:
        SpecError: The shapes do not fit, or there is no point at the centre.
    """
    x, y, z = (np.asarray(part, dtype=np.float64) for part in (alphas, betas, losses))
    if z.shape != (len(x), len(y)) or not z.size:
        what = f"losses of shape {z.shape} over {len(x)} alphas and {len(y)} betas"
        raise SpecError(what, fix="give one loss for each pair of an alpha and a beta")
    if len(x) % 2 == 0 or len(y) % 2 == 0:
        what = f"losses of {len(x)} alphas and {len(y)} betas, without a point at the centre"
        raise SpecError(what, fix="give an odd number of each")
    i, j = len(x) // 2, len(y) // 2
    centre, finite = float(z[i, j]), z[np.isfinite(z)]
    found = {"loss": centre, "nonfinite": 1 - finite.size / z.size}
    found |= {"bounded": False, "rise_bounded": False}
    reasons: dict[str, str] = {}
    if finite.size:
        found |= {"smallest_loss": float(finite.min()), "largest_loss": float(finite.max())}
    else:
        reasons |= dict.fromkeys(("smallest_loss", "largest_loss"), "no loss is finite")
    if z.size == 1:
        reasons |= dict.fromkeys(("radius", "rise_radius"), "the grid has one point")
    elif not math.isfinite(centre):
        reasons |= dict.fromkeys(("radius", "rise_radius"), "the loss at the centre is not finite")
    else:
        found["radius"], found["bounded"] = _radius(x, y, z, (i, j), MULTIPLE * centre)
        found["rise_radius"], found["rise_bounded"] = _radius(x, y, z, (i, j), centre + RISE)
    if min(z.shape) < 3:
        reasons["convex"] = "the grid has fewer than 3 points along an axis"
    else:
        found["convex"] = _convex_share(x, y, z, (i, j))
    bends = np.concatenate([_bends(x, z), _bends(y, z.T)])
    if bends.size:
        found["roughness"] = float(bends.mean())
    else:
        reasons["roughness"] = "no three neighbours along an axis have positive, finite losses"
    return found | dict.fromkeys(reasons, math.nan), reasons


def _bends(axis: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return |d² log₁₀ z| along the first axis where three neighbours are positive and finite."""
    if len(axis) < 3:
        return np.empty(0)
    usable = np.isfinite(z) & (z > 0)
    logs = np.log10(np.where(usable, z, 1.0))
    second = np.abs(logs[2:] - 2 * logs[1:-1] + logs[:-2]) / (axis[1] - axis[0]) ** 2
    return second[usable[2:] & usable[1:-1] & usable[:-2]]


def _radius(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple[int, int], level: float
) -> tuple[float, bool]:
    """Return the distance from the centre to the nearest place where the loss reaches a level.

    The loss is interpolated bilinearly along `RAYS` rays, or along the line that the grid is. One
    that is not finite counts as reached. Where the level is not reached within the largest circle
    on the grid, the radius is the circle's, and False is returned with it.
    """
    i, j = centre
    axes = [(axis, k) for axis, k in ((x, i), (y, j)) if len(axis) > 1]
    spacing = min(float(axis[1] - axis[0]) for axis, _ in axes)
    reach = min(float(min(axis[k] - axis[0], axis[-1] - axis[k])) for axis, k in axes)
    if min(z.shape) == 1:
        angles = np.array([0.0, np.pi]) if len(x) > 1 else np.array([0.5, 1.5]) * np.pi
    else:
        angles = np.arange(RAYS) * (2 * np.pi / RAYS)
    steps = np.linspace(0, reach, max(2, 1 + math.ceil(4 * reach / spacing)))
    values = np.where(np.isfinite(z), z, _BEYOND)
    along = _bilinear(  # [rays, steps]
        x, y, values, x[i] + np.outer(np.cos(angles), steps), y[j] + np.outer(np.sin(angles), steps)
    )
    reached = along[:, 1:] >= level
    rays = np.flatnonzero(reached.any(axis=1))
    if not rays.size:
        return reach, False
    k = reached[rays].argmax(axis=1)
    before, after = along[rays, k], along[rays, k + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The level may be reached at the centre already: a loss of 0 is its own multiple.
        share = np.where(after > before, np.maximum(0, (level - before) / (after - before)), 0)
    return float((steps[k] + share * (steps[k + 1] - steps[k])).min()), True


def _bilinear(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, at_x: np.ndarray, at_y: np.ndarray
) -> np.ndarray:
    def locate(axis: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(axis) == 1:
            return np.zeros(at.shape, dtype=int), np.zeros(at.shape)
        scaled = np.clip((at - axis[0]) / (axis[1] - axis[0]), 0, len(axis) - 1)
        low = np.minimum(scaled.astype(int), len(axis) - 2)
        return low, scaled - low

    (row, down), (column, right) = locate(x, at_x), locate(y, at_y)
    row_after = np.minimum(row + 1, len(x) - 1)
    column_after = np.minimum(column + 1, len(y) - 1)
    above = z[row, column] * (1 - right) + z[row, column_after] * right
    below = z[row_after, column] * (1 - right) + z[row_after, column_after] * right
    return above * (1 - down) + below * down


def _convex_share(x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple[int, int]) -> float:
    """Return the share of the inner points that are nearly convex and connected to the centre.

    At such a point the smaller eigenvalue of the loss's Hessian by central differences is at least
    −`TOLERANCE` times the larger magnitude of the two. Points are connected side by side; one next
    to a loss that is not finite is not convex.
    """
    dx, dy = x[1] - x[0], y[1] - y[0]
    with np.errstate(invalid="ignore", over="ignore"):
        xx = (z[2:, 1:-1] - 2 * z[1:-1, 1:-1] + z[:-2, 1:-1]) / dx**2
        yy = (z[1:-1, 2:] - 2 * z[1:-1, 1:-1] + z[1:-1, :-2]) / dy**2
        xy = (z[2:, 2:] - z[2:, :-2] - z[:-2, 2:] + z[:-2, :-2]) / (4 * dx * dy)
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        low, high = middle - spread, middle + spread
        # Comparisons with NaN are false, so what is not finite is not convex.
        convex = low >= -TOLERANCE * np.maximum(np.abs(low), np.abs(high))
    i, j = (int(np.clip(k - 1, 0, n - 1)) for k, n in zip(centre, convex.shape, strict=True))
    return _connected(convex, (i, j)) / convex.size


def _connected(inside: np.ndarray, start: tuple[int, int]) -> int:
    """Return the number of true entries that can be reached from `start` side by side."""
    inside = np.pad(inside, 1)  # a border of false: no index wraps around to the other side
    queue, seen = [(start[0] + 1, start[1] + 1)], 0
    while queue:
        i, j = queue.pop()
        if inside[i, j]:
            inside[i, j] = False
            seen += 1
            queue += [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
    return seen
