"""Where a contour is nearly convex."""

from __future__ import annotations

from collections import deque

import numpy as np


def convex_share(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: tuple[int, int], tolerance: float
) -> float:
    """Share of the inner points that are nearly convex and connected to the centre.

    At such a point the smaller eigenvalue of the loss's Hessian by central differences is at least
    −tolerance times the larger magnitude of the two. Points are connected side by side.

    Args:
        x: Evenly spaced, [n ≥ 3].
        y: Evenly spaced, [m ≥ 3].
        z: Losses [n, m]; a point next to what is not finite is not convex.
        centre: Indices of the centre.
        tolerance: From 0.
    """
    dx, dy = x[1] - x[0], y[1] - y[0]
    with np.errstate(invalid="ignore", over="ignore"):
        xx = (z[2:, 1:-1] - 2 * z[1:-1, 1:-1] + z[:-2, 1:-1]) / dx**2
        yy = (z[1:-1, 2:] - 2 * z[1:-1, 1:-1] + z[1:-1, :-2]) / dy**2
        xy = (z[2:, 2:] - z[2:, :-2] - z[:-2, 2:] + z[:-2, :-2]) / (4 * dx * dy)
        middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        low, high = middle - spread, middle + spread
        # Comparisons with NaN are false, so what is not finite is not convex.
        convex = low >= -tolerance * np.maximum(np.abs(low), np.abs(high))
    i, j = (int(np.clip(k - 1, 0, n - 1)) for k, n in zip(centre, convex.shape, strict=True))
    return _connected(convex, (i, j)) / convex.size


def _connected(inside: np.ndarray, start: tuple[int, int]) -> int:
    """Number of true entries that can be reached from `start` side by side."""
    if not inside[start]:
        return 0
    seen, queue = {start}, deque([start])
    while queue:
        i, j = queue.popleft()
        for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            within = all(0 <= k < n for k, n in zip(near, inside.shape, strict=True))
            if within and near not in seen and inside[near]:
                seen.add(near)
                queue.append(near)
    return len(seen)
