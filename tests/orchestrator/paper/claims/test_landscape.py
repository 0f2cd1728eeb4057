"""Surfaces over width, and the exceptions of the paper's earlier version."""

import math

import numpy as np
import pytest
from synthetic_stores import EPOCHS, add_surface, curve, synthetic_trials

EFFECTS = [(1, "supported"), (-1, "contradicted"), (0, "undecided")]
AMOEBA = {"bases": ("AmoebaNet",), "connections": "paper4"}
SNAS = {"bases": ("SNAS",), "connections": "paper4"}


def flat(t):
    return curve(0.3)


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_wide_cells_are_smooth(say, sign, verdict):
    trials = synthetic_trials(bases=("DARTS", "ENAS"))

    def fill(store):
        for t in trials:
            noise = 0.1 * t.rng.standard_normal(2)
            for pair in range(2):
                radius = 0.6 + 0.2 * sign * t.width + noise[pair]
                add_surface(store, t, "contour", pair=pair, radius=float(radius), convex=0.5)
            bend = 20 - 5 * sign * t.width + 30 * noise[0]
            add_surface(store, t, "curvature", top_eigenvalue=float(bend))

    found = say("wider-smoother", trials, flat, fill=fill)
    main = next(one for one in found if one.primary)
    assert (main.verdict, main.trials) == (verdict, 26)
    assert any("eigenvalue" in one.measure for one in found)


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_wide_cells_vary_little(say, sign, verdict):
    trials = synthetic_trials(bases=("DARTS", "ENAS"))

    def fill(store):
        for t in trials:
            size = math.exp(-sign * t.width + 0.5 * t.rng.standard_normal())
            ring = [
                (0.5, 0.0, size * 9),
                (0.0, 0.5, math.inf if size > 5 else size),
                (1.0, 1.0, 1.0),
            ]
            add_surface(store, t, "gradient_variance", variance=size, extent=1.0, points=ring)

    found = say("wider-less-variance", trials, flat, fill=fill)
    assert found[0].verdict == verdict
    assert any("ring" in one.measure and one.cells == 26 for one in found)


@pytest.mark.parametrize("measured", [True, False])
def test_a_diverged_trial_ranks_worst_whatever_its_last_sound_checkpoint_had(say, measured):
    trials = synthetic_trials(bases=("DARTS",))

    def lost(t):
        return t.width > 0.9

    def fill(store):
        for t in trials:
            if measured or not lost(t):
                # Of its early network, which is smoother than any that was trained to the end.
                radius = 2.0 if lost(t) else 0.6 + 0.1 * t.width
                add_surface(store, t, "contour", radius=radius, convex=0.5)

    [main, *_] = say("wider-smoother", trials, flat, fill=fill, diverged=lost)
    assert main.cells == 13
    assert main.diverged == sum(lost(t) for t in trials if t.index) > 0
    assert main.size < 0.9


def test_surfaces_of_a_diverged_trial_rank_worst_and_nan_is_left_out(say):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            lost = t.width < 0 and t.index > 0
            status = "diverged" if lost else "done"
            radius = None if lost or t.index == 13 else 0.5 + 0.001 * t.rng.random()
            add_surface(store, t, "contour", status=status, radius=radius)

    main = say("wider-smoother", trials, flat, fill=fill, diverged=lambda t: t.width < 0 < t.index)[
        0
    ]
    assert main.cells == 12
    assert main.size > 0.4
    assert main.diverged > 3


def test_a_basin_that_ends_beyond_a_small_plane_is_not_taken_for_a_narrow_one(say):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            zoomed = t.index in (1, 2)
            radius = 0.2 if zoomed else float(0.4 + 0.1 * t.rng.random())
            numbers = {"extent": 0.2 if zoomed else 1.0, "bounded": t.index != 1}
            add_surface(store, t, "contour", radius=radius, roughness=radius, **numbers)

    found = {one.measure: one.cells for one in say("wider-smoother", trials, flat, fill=fill)}
    assert found["radius of twofold loss"] == 12
    assert found["mean second derivative of log loss"] == 11


def test_a_trial_whose_end_was_not_measured_is_left_out(say):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            add_surface(store, t, "contour", radius=t.width, epoch=10 if t.index == 3 else EPOCHS)

    assert say("wider-smoother", trials, flat, fill=fill)[0].cells == 12


def runs(rows, seeds, worst, least=None):
    """Fills both kinds of surfaces; one cell's basin is narrow and its variance large."""

    def fill(store):
        for t in rows:
            bad, good = t.variant == worst, t.variant == least
            radius = 0.5 - 0.4 * bad + 0.3 * good + 0.02 * t.rng.standard_normal()
            size = math.exp(2 * bad - 0.2 * good + 0.1 * t.rng.standard_normal())
            add_surface(store, t, "contour", radius=radius, roughness=1 / max(radius, 0.01))
            add_surface(store, t, "gradient_variance", variance=size)

    return fill


@pytest.mark.parametrize(("seeds", "decided"), [(range(3), True), ([0], False)])
def test_c2_of_amoebanet(say, seeds, decided):
    trials = synthetic_trials(**AMOEBA, seeds=seeds)
    fill = runs(trials, seeds, "seed 2", "seed 1")
    for claim in ("c2-amoebanet-narrowest", "c2-amoebanet-largest-variance"):
        one = say(claim, trials, flat, fill=fill)[0]
        assert one.verdict == ("supported" if decided else "undecided")
        assert one.cells == 5
        assert f"first in {len(seeds)} of {len(seeds)} runs" in one.reading


def test_another_cell_of_amoebanet_contradicts(say):
    trials = synthetic_trials(**AMOEBA, seeds=range(3))
    fill = runs(trials, range(3), "AmoebaNet", "seed 2")
    assert say("c2-amoebanet-narrowest", trials, flat, fill=fill)[0].verdict == "contradicted"


def test_amoebanets_own_variance_is_not_the_least(say):
    trials = synthetic_trials(**AMOEBA, seeds=range(6))
    [one] = say("amoebanet-not-least-variance", trials, flat, fill=runs(trials, 6, "AmoebaNet"))
    assert (one.verdict, one.size) == ("supported", 1)


def test_c4_of_amoebanet_lies_off_the_line(say):
    trials = synthetic_trials(**AMOEBA, seeds=range(4))

    def fill(store):
        for t in trials:
            off = 2.0 if t.variant == "seed 4" else 0.0
            add_surface(store, t, "contour", radius=1 + t.width - off + 0.01 * t.rng.random())

    [one] = say("c4-amoebanet-exceptional", trials, flat, fill=fill)
    assert one.size > 0.7


@pytest.mark.parametrize(("least", "verdict"), [("seed 3", "supported"), ("SNAS", "contradicted")])
def test_c3_of_snas(say, least, verdict):
    trials = synthetic_trials(**SNAS, seeds=range(6))
    found = say("c3-snas-smoother", trials, flat, fill=runs(trials, 6, None, least))
    assert [one.verdict for one in found] == [verdict] * 2


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "supported"), (1.0, "undecided")])
def test_variances_of_snas(say, spread, verdict):
    trials = synthetic_trials(**SNAS, seeds=range(2))

    def fill(store):
        for t in trials:
            size = math.exp(spread * t.rng.standard_normal())
            add_surface(store, t, "gradient_variance", variance=size)

    [one] = say("snas-variances-equal", trials, flat, fill=fill)
    assert one.verdict == verdict


@pytest.mark.parametrize(
    ("lead", "seeds", "verdict"),
    [(0.05, range(3), "supported"), (-0.05, range(3), "contradicted"), (0.05, [0], "undecided")],
)
def test_darts_ends_best(say, lead, seeds, verdict):
    trials = synthetic_trials(bases=("DARTS",), connections="main_text", seeds=seeds)

    def accuracies(t):
        return curve(0.5, final=0.8 + lead * (t.index == 0) + 0.01 * t.rng.random())

    [one] = say("darts-ends-best", trials, accuracies)
    assert one.verdict == verdict


def test_surfaces_without_variants_are_no_data(say):
    trials = synthetic_trials(connections=None)

    def fill(store):
        for t in trials:
            add_surface(store, t, "contour", radius=float(np.float64(0.5)))

    assert {o.verdict for o in say("wider-smoother c3-snas-smoother", trials, flat, fill=fill)} == {
        "no data"
    }
