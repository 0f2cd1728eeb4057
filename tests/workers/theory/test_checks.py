"""All statements on drawn cells: what holds, what is violated, and that draws are repeatable."""

import numpy as np
import pytest

from workers.theory.checks import Comparison, Settings, check_cells, join


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Comparison]:
    return {(one.statement, one.setting): one for one in check_cells(Settings(draws=20, batch=64))}


def test_what_must_hold_does(found):
    violated = {key: int(one.violated.sum()) for key, one in found.items() if one.holds}
    assert len(violated) >= 25
    assert not any(violated.values())


@pytest.mark.parametrize(
    ("statement", "setting"),
    [
        ("Equation (4), same W", "quadratic"),
        ("Equation (4), same W", "cross-entropy"),
        ("Theorem 4.2, as printed", "quadratic"),
        ("Theorem 4.2, as printed", "cross-entropy"),
        ("Theorem 4.3, matched, |eigenvalue|", "quadratic"),
        ("Theorem 4.3, same W, |eigenvalue|", "quadratic"),
    ],
)
def test_what_is_false_as_stated_is_seen_to_be(found, statement, setting):
    one = found[statement, setting]
    assert not one.holds
    assert one.violated.any()


def test_every_case_has_its_block(found):
    one = found["Theorem 4.2, as printed", "quadratic"]
    assert len(one.measured) == 3 * 20 * 5
    parts = [one.only(slice(block, None, one.blocks)) for block in range(5)]
    assert [len(part.measured) for part in parts] == [60] * 5
    assert parts[0].violated.all()
    assert np.median(parts[4].ratios) < 1


def test_draws_are_repeatable_and_differ_by_seed():
    one, again, other = (
        check_cells(Settings(draws=2, seed=seed, batch=4))[-1] for seed in (0, 0, 1)
    )
    assert np.array_equal(one.measured, again.measured)
    assert not np.array_equal(one.measured, other.measured)


def test_a_cell_of_one_node_of_width_one_is_checked_too():
    for one in check_cells(Settings(draws=3, nodes=1, width=1, batch=2)):
        assert not (one.holds and one.violated.any()), one.statement


def test_a_nan_counts_as_a_violation():
    sides = np.array([1.0, np.nan, 1.0, 2.0]), np.array([1.0, 1.0, np.nan, 1.0])
    one = Comparison("s", "t", True, *sides)
    assert one.violated.tolist() == [False, True, True, True]
    assert join([one, one]).violated.sum() == 6
