"""A loss contour in numbers: how wide, how convex, how rough (Section 4.2).

The paper compares such surfaces by eye: the base is said to have "the smoothest surface and the
widest near-convex region". The definitions here are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from results_schema.errors import SpecError
from workers.landscape.convexity import convex_share
from workers.landscape.radius import radius


@dataclass(frozen=True)
class Smoothness:
    """Numbers of one contour. One that cannot be had is NaN.

    Attributes:
        centre: Loss at (0, 0).
        smallest: Of the finite losses.
        largest: Of the finite losses.
        decades: log₁₀ of largest / smallest.
        nonfinite: Share of the points whose loss is infinite or NaN.
        radius: Distance in the (α, β) plane from the centre to the nearest place where the loss
            reaches `multiple` times the centre's, over 360 rays and interpolated bilinearly;
            what is not finite counts as reached.
            A cell that fits better reaches it sooner on the same surface, as its loss at the
            centre is smaller: `rise_radius` does not depend on that.
        bounded: Whether it is reached at all; if not, `radius` is that of the circle searched.
        rise_radius: Likewise to where the loss is `rise` above the centre's.
        rise_bounded: Whether that is reached.
        convex: Share of the inner points that belong to the near-convex region: those connected
            to the centre, side by side, where the smaller eigenvalue of the loss's Hessian by
            central differences is at least −tolerance times the larger one's magnitude.
        roughness: Mean magnitude of the second derivative of log₁₀ loss by central differences
            along both axes, in decades per unit².
        reasons: Why a number is NaN, by its name.
    """

    centre: float
    smallest: float = math.nan
    largest: float = math.nan
    decades: float = math.nan
    nonfinite: float = 0.0
    radius: float = math.nan
    bounded: bool = False
    rise_radius: float = math.nan
    rise_bounded: bool = False
    convex: float = math.nan
    roughness: float = math.nan
    reasons: dict[str, str] = field(default_factory=dict)


def smoothness(
    alphas: Sequence[float],
    betas: Sequence[float],
    losses: np.ndarray,
    *,
    multiple: float = 2.0,
    rise: float = 1.0,
    tolerance: float = 0.05,
) -> Smoothness:
    """Measures a finished contour.

    Args:
        alphas: Rising, evenly spaced, [n]; n is odd, and the middle one is the centre's.
        betas: Likewise, [m].
        losses: [n, m]; may hold infinities and NaN.
        multiple: Of the centre's loss, that bounds `radius`; above 1.
        rise: Above the centre's loss, in nats, that bounds `rise_radius`; above 0.
        tolerance: Of the near-convex region.

    Raises:
        SpecError: The shapes do not fit, or there is no point at the centre.
    """
    x, y, z = (np.asarray(part, dtype=np.float64) for part in (alphas, betas, losses))
    if z.shape != (len(x), len(y)) or not z.size:
        raise SpecError(
            f"losses of shape {z.shape} over {len(x)} alphas and {len(y)} betas",
            fix="give one loss for each pair of an alpha and a beta",
        )
    if len(x) % 2 == 0 or len(y) % 2 == 0:
        raise SpecError(
            f"losses of {len(x)} alphas and {len(y)} betas, without a point at the centre",
            fix="give an odd number of each",
        )
    i, j = len(x) // 2, len(y) // 2
    finite = z[np.isfinite(z)]
    found: dict[str, float] = {"centre": float(z[i, j]), "nonfinite": 1 - finite.size / z.size}
    reasons: dict[str, str] = {}
    if finite.size:
        found |= {"smallest": float(finite.min()), "largest": float(finite.max())}
    else:
        reasons |= dict.fromkeys(("smallest", "largest"), "no loss is finite")
    if found.get("smallest", 0) > 0:
        found["decades"] = math.log10(found["largest"]) - math.log10(found["smallest"])
    else:
        reasons["decades"] = "no loss is finite, or one is 0"
    bounded = rise_bounded = False
    if z.size == 1:
        reasons |= dict.fromkeys(("radius", "rise_radius"), "the grid has one point")
    elif not math.isfinite(z[i, j]):
        reasons |= dict.fromkeys(("radius", "rise_radius"), "the loss at the centre is not finite")
    else:
        centre = float(z[i, j])
        found["radius"], bounded = radius(x, y, z, (i, j), multiple * centre)
        found["rise_radius"], rise_bounded = radius(x, y, z, (i, j), centre + rise)
    if min(z.shape) < 3:
        reasons["convex"] = "the grid has fewer than 3 points along an axis"
    else:
        found["convex"] = convex_share(x, y, z, (i, j), tolerance)
    bends = np.concatenate([_bends(x, z), _bends(y, z.T)])
    if bends.size:
        found["roughness"] = float(bends.mean())
    else:
        reasons["roughness"] = "no three neighbours along an axis have positive, finite losses"
    return Smoothness(**found, bounded=bounded, rise_bounded=rise_bounded, reasons=reasons)


def _bends(axis: np.ndarray, z: np.ndarray) -> np.ndarray:
    """|d² log₁₀ z| along the first axis, wherever three neighbours are positive and finite."""
    if len(axis) < 3:
        return np.empty(0)
    usable = np.isfinite(z) & (z > 0)
    logs = np.log10(np.where(usable, z, 1.0))
    second = np.abs(logs[2:] - 2 * logs[1:-1] + logs[:-2]) / (axis[1] - axis[0]) ** 2
    return second[usable[2:] & usable[1:-1] & usable[:-2]]
