"""Which surfaces are compared, and how those of diverged trials rank."""

import math

import pytest
from synthetic_stores import EPOCHS, add_surface, curve, synthetic_trials


def flat(t):
    return curve(0.3)


def test_points_of_a_ring_are_averaged_by_their_logarithm(observe):
    trials = synthetic_trials(bases=("DARTS", "ENAS"))

    def fill(store):
        for t in trials:
            size = math.exp(-t.width + 0.5 * t.rng.standard_normal())
            edge = math.inf if size > 5 else size
            ring = [(0.5, 0.0, size * 9), (0.0, 0.5, edge), (1.0, 1.0, 1.0)]
            add_surface(store, t, "gradient_variance", variance=size, extent=1.0, points=ring)

    main, ring, *_ = observe("wider-less-variance", trials, flat, fill=fill)
    assert (main.verdict, ring.verdict, ring.cells) == ("supported", "", 26)


@pytest.mark.parametrize("surface", ["sound", "diverged", "none"])
def test_a_diverged_trial_ranks_worst_whatever_its_last_sound_checkpoint_had(observe, surface):
    trials = synthetic_trials(bases=("DARTS",))

    def lost(t):
        return t.width > 0.9

    def fill(store):
        for t in trials:
            # Of its early network, which is smoother than any that was trained to the end.
            radius = 2.0 if lost(t) else 0.6 + 0.1 * t.width
            if not lost(t):
                radius = None if t.index == 1 else radius
                add_surface(store, t, "contour", radius=radius)
            elif surface != "none":
                status = "done" if surface == "sound" else "diverged"
                add_surface(store, t, "contour", radius=radius, status=status)

    [main, *_] = observe("wider-smoother", trials, flat, fill=fill, diverged=lost)
    assert main.cells == 12, "without the one that has no number"
    assert main.diverged == sum(lost(t) for t in trials if t.index) > 0
    assert main.size < 0.9


def test_a_basin_that_ends_beyond_a_small_plane_is_not_taken_for_a_narrow_one(observe):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            zoomed = t.index in (1, 2)
            radius = 0.2 if zoomed else float(0.4 + 0.1 * t.rng.random())
            numbers = {"extent": 0.2 if zoomed else 1.0, "bounded": t.index != 1}
            add_surface(store, t, "contour", radius=radius, roughness=radius, **numbers)

    found = {o.measure: o.cells for o in observe("wider-smoother", trials, flat, fill=fill)[:6]}
    assert found["radius of twofold loss"] == 12
    assert found["mean second derivative of log loss"] == 11


def test_a_trial_whose_end_was_not_measured_is_left_out(observe):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            add_surface(store, t, "contour", radius=t.width, epoch=10 if t.index == 3 else EPOCHS)

    assert observe("wider-smoother", trials, flat, fill=fill)[0].cells == 12
