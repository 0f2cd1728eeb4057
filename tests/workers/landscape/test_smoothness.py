import math
from types import SimpleNamespace

import numpy as np
import pytest

from results_schema.errors import SpecError
from workers.landscape.grid import Grid
from workers.landscape.smoothness import smoothness

GRID = Grid(51, 51)
A, B = np.meshgrid(GRID.alphas, GRID.betas, indexing="ij")


def measure(losses: np.ndarray, grid: Grid = GRID) -> SimpleNamespace:
    found, reasons = smoothness(grid.alphas, grid.betas, losses)
    return SimpleNamespace(**found, reasons=set(reasons))


def test_a_round_bowl():
    found = measure(0.1 + A**2 + B**2)
    assert found.loss == found.smallest_loss == pytest.approx(0.1)
    assert found.largest_loss == pytest.approx(2.1)
    assert found.radius == pytest.approx(0.1**0.5, rel=0.01)
    assert found.bounded
    assert found.convex == 1
    assert found.nonfinite == 0
    assert not found.reasons


def test_radii_are_those_of_the_steepest_way():
    found = measure(0.1 + 10 * (0.6 * A - 0.8 * B) ** 2 + 0.1 * (0.8 * A + 0.6 * B) ** 2)
    assert found.radius == pytest.approx(0.1, rel=0.03)
    bowl = 10 * (A**2 + B**2)
    worse, better = measure(0.4 + bowl), measure(0.1 + bowl)
    assert better.radius == pytest.approx(worse.radius / 2, rel=0.05)
    # That of a rise does not work against a smaller loss.
    assert better.rise_radius == worse.rise_radius == pytest.approx(0.1**0.5, rel=0.01)
    assert better.rise_bounded


def test_a_flat_plane_has_no_end():
    found = measure(np.full((51, 51), 0.5))
    assert not found.bounded
    assert not found.rise_bounded
    assert found.radius == found.rise_radius == 1
    assert found.convex == 1
    assert found.roughness == 0


def test_the_convex_region_is_the_part_that_hangs_together_with_the_centre():
    ridge = 1 + np.where(np.abs(A) < 0.35, A**2, 0.35**2 - 0.5 * (np.abs(A) - 0.35)) + B**2
    # Two strips of bowl beyond the concave kinks are convex too, but cut off.
    found = measure(ridge)
    inside = np.abs(A[1:-1, 1:-1]) < 0.35
    assert found.convex == pytest.approx(inside.mean(), abs=0.05)
    assert measure(1 + A**2 - B**2 / 2).convex == 0


def test_ripples_are_rough():
    bowl = 1 + A**2 + B**2
    rippled = bowl * (1 + 0.1 * np.sin(30 * A) * np.sin(30 * B))
    assert measure(rippled).roughness > 5 * measure(bowl).roughness
    assert measure(rippled).convex < 0.2


def test_roughness_does_not_depend_on_the_unit_of_loss_or_the_grid():
    coarse = Grid(21, 21)
    a, b = np.meshgrid(coarse.alphas, coarse.betas, indexing="ij")
    fine = measure(np.exp(A**2 + 2 * B**2)).roughness
    assert measure(7 * np.exp(A**2 + 2 * B**2)).roughness == pytest.approx(fine)
    assert measure(np.exp(a**2 + 2 * b**2), coarse).roughness == pytest.approx(fine)
    assert fine == pytest.approx((2 + 4) / 2 / math.log(10))


def test_a_basin_walled_in_by_infinities():
    losses = np.where(np.hypot(A, B) > 0.5, np.inf, 0.1)
    losses[0, 0] = np.nan
    found = measure(losses)
    assert found.bounded
    assert 0.44 <= found.radius <= 0.56
    assert found.largest_loss == pytest.approx(0.1)
    assert found.nonfinite == pytest.approx(1 - np.isfinite(losses).mean())
    assert 0.1 < found.convex < np.pi * 0.25 / 4
    assert found.roughness == 0


def test_huge_losses_do_not_overflow():
    found = measure(10.0 ** (24 * (A**2 + B**2)))
    assert 0.08 < found.radius < 0.13
    assert 0 < found.convex < 1
    assert found.roughness == pytest.approx(48)


def test_a_diverged_centre_has_reasons_instead_of_numbers():
    found = measure(np.full((51, 51), np.nan))
    assert math.isnan(found.loss)
    assert math.isnan(found.radius)
    assert found.nonfinite == 1
    assert found.convex == 0
    unknown = {"smallest_loss", "largest_loss", "radius", "rise_radius", "roughness"}
    assert found.reasons == unknown
    assert all(math.isnan(getattr(found, name)) for name in unknown)


def test_one_point_and_one_line():
    found = measure(np.array([[0.7]]), Grid(1, 1))
    assert found.loss == found.smallest_loss == found.largest_loss == 0.7
    assert found.reasons == {"radius", "rise_radius", "convex", "roughness"}
    assert all(math.isnan(getattr(found, name)) for name in found.reasons)
    for grid in (Grid(21, 1), Grid(1, 21)):
        losses = 0.1 + np.square(Grid(21, 1).alphas).reshape(grid.rows, grid.columns)
        found = measure(losses, grid)
        assert found.radius == pytest.approx(0.1**0.5, rel=0.02)
        assert found.bounded
        assert found.reasons == {"convex"}


def test_a_loss_of_0_has_no_logarithm():
    found = measure(A**2 + B**2)
    assert found.radius == 0
    assert math.isfinite(found.roughness)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SpecError, match=r"\(2, 3\) over 3 alphas"):
        smoothness([0, 1, 2], [0, 1], np.zeros((2, 3)))
    with pytest.raises(SpecError):
        smoothness([], [], np.zeros((0, 0)))
    with pytest.raises(SpecError, match="4 alphas and 3 betas, without a point at the centre"):
        smoothness([-3, -1, 1, 3], [-1, 0, 1], np.ones((4, 3)))
