"""Smoothing and cutting of one trial's numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.tracks import make_track, mean_of, smooth

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(numbers, st.floats(1, 50))
def test_smoothing_is_the_weighted_mean_of_what_came_before(values, span):
    found = smooth(np.array(values), span)
    keep = 1 - 2 / (span + 1)
    for place in range(len(values)):
        weights = [keep ** (place - k) for k in range(place + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert found[place] == pytest.approx(expected, rel=1e-9, abs=1e-3)


def test_a_span_of_one_changes_nothing():
    assert smooth(np.array([3.0, 1.0, 2.0]), 1).tolist() == [3, 1, 2]


def test_a_track_is_ordered_without_repetition_and_ends_with_a_number():
    track = make_track("t", 0, "diverged", np.array([3, 1, 2, 2, 4]),
                       np.array([math.inf, 5, 6, 9, math.nan]), 1)  # fmt: skip
    assert track.epochs.tolist() == [1, 2]
    assert track.values.tolist() == [5, 6]
    assert track.last == 4


def test_a_track_of_nothing_is_empty():
    track = make_track("t", 0, "", np.zeros(0), np.zeros(0), 5)
    assert (track.last, len(track.values)) == (0, 0)
    assert len(mean_of([]).epochs) == 0


def test_seeds_that_end_early_count_as_far_as_they_reach():
    long = make_track("a", 0, "done", np.array([1, 2, 3]), np.array([1.0, 2, 3]), 1)
    short = make_track("b", 1, "", np.array([1]), np.array([3.0]), 1)
    mean = mean_of([long, short])
    assert mean.mean.tolist() == [2, 2, 3]
    assert (mean.low.tolist(), mean.high.tolist()) == ([1, 2, 3], [3, 2, 3])
