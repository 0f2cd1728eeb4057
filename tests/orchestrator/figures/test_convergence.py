"""Curves over epochs: their numbers, and what is drawn, read from the figure itself."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures import draw, read_choice
from orchestrator.figures.convergence import convergence_data, make_track, mean_of, smooth
from orchestrator.figures.convergence_drawing import line_styles
from orchestrator.figures.export import to_page
from results_schema.errors import ConfigError

WIDTHS = (3.5, 2.0, 2.0, 2.5, 3.0)


@pytest.fixture
def sweep(make_member):
    """Tables of members whose losses halve every ten epochs; statuses by trial id."""

    def build(members, epochs=40, statuses=None, loss=None):
        trials, rows = [], []
        for m in members:
            status = (statuses or {}).get(m["trial_id"], "done")
            trials.append({**m, "status": status})
            count = {"done": epochs, "diverged": epochs // 2}.get(status, 0)
            for epoch in range(1, count + 1):
                lost = 2 * 0.5 ** (epoch / 10) + 0.1 * m["index"] if loss is None else loss(epoch)
                if status == "diverged" and epoch == count:
                    lost = math.nan
                rows.append({**m, "epoch": epoch, "test_loss": lost,
                             "test_accuracy": 0.5})  # fmt: skip
        columns = [*members[0], "epoch", "test_loss", "test_accuracy"]
        return {"trials": pd.DataFrame(trials), "metrics": pd.DataFrame(rows, columns=columns)}

    return build


@pytest.fixture
def darts(make_member):
    return [make_member("DARTS", i, width=width) for i, width in enumerate(WIDTHS)]


def plot(tables, title="Curves", **options):
    return draw(read_choice({"kind": "convergence", **options}), tables.__getitem__, title)


def texts(figure):
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


def traces(figure):
    return [trace.to_plotly_json() for trace in figure.data]


def hovers(figure):
    return [t["hovertemplate"] for t in traces(figure) if t.get("hovertemplate")]


def test_panels_are_the_product_of_what_differs(sweep, make_member):
    members = [make_member("DARTS", index, dataset=d, named_dataset=d, learning_rate=rate)
               for rate in (0.25, 0.0025) for d in ("cifar10", "cifar100")
               for index in (0, 1)]  # fmt: skip
    data = convergence_data(**sweep(members), show=["test_loss", "test_accuracy"])
    assert [(p.quantity, p.learning_rate, p.dataset) for p in data.panels] == [
        (q, r, d)
        for q in ("test_loss", "test_accuracy")
        for r in (0.0025, 0.25)
        for d in ("cifar10", "cifar100")
    ]
    assert data.panels[0].curves[1].tracks[0].values[9] == pytest.approx(1.1)
    assert data.panels[-1].curves[0].tracks[0].values[0] == 50


def test_groups_stand_beside_the_base(sweep, darts):
    data = convergence_data(**sweep(darts), groups=2)
    assert [p.group for p in data.panels] == [(1, 2), (3, 4)]
    assert [[c.index for c in p.curves] for p in data.panels] == [[0, 1, 2], [0, 3, 4]]
    [one] = convergence_data(**sweep(darts), groups=3).panels
    assert one.group == (1, 4), "one left over has no panel to itself"
    shown = texts(plot(sweep(darts), groups=3, indices=[0, 1, 2, 3]))
    assert "DARTS" in shown
    assert not any("C4" in text for text in shown)


def test_rows_are_quantities_and_columns_data_sets(sweep, make_member):
    members = [make_member("DARTS", i, dataset=d, named_dataset=d)
               for d in ("cifar10", "cifar100") for i in (0, 1)]  # fmt: skip
    layout = plot(sweep(members), show=["test_loss", "test_accuracy"]).to_dict()["layout"]
    assert layout["yaxis"]["title"]["text"] == "Test loss (nat)"
    assert layout["yaxis3"]["title"]["text"] == "Test accuracy (%)"
    assert layout["yaxis"]["domain"] == layout["yaxis2"]["domain"]


def test_seeds_become_a_mean_and_a_band_without_the_diverged(sweep, make_member):
    members = [make_member("DARTS", 0, seed=seed) for seed in range(3)]
    lost = members[2]["trial_id"]
    tables = sweep(members, statuses={lost: "diverged"})
    tables["metrics"].loc[tables["metrics"].trial_id == members[1]["trial_id"], "test_loss"] += 1
    (panel,) = convergence_data(**tables, smoothing=1).panels
    mean = panel.curves[0].mean
    assert len(mean.epochs) == 40
    assert mean.mean[9] == pytest.approx(1.5)
    assert (mean.low[9], mean.high[9]) == (pytest.approx(1), pytest.approx(2))
    notes = " ".join(texts(plot(tables)))
    assert "Diverged (red cross, in no mean curve): 1 of 3 trials." in notes
    assert "mean over up to 3 seeds" in notes


def test_a_diverged_trial_ends_with_a_cross_at_its_last_finite_value(sweep, darts):
    lost = darts[1]["trial_id"]
    figure = plot(sweep(darts, statuses={lost: "diverged"}), smoothing=1)
    (cross,) = [t for t in traces(figure) if t.get("marker", {}).get("symbol") == "x"]
    assert (cross["x"][0], cross["y"][0]) == (19, pytest.approx(2 * 0.5**1.9 + 0.1))
    assert lost in cross["hovertemplate"]
    assert "diverged in epoch 20" in cross["hovertemplate"]


def test_missing_trials_and_a_sweep_without_epochs_are_noted(sweep, darts):
    statuses = {m["trial_id"]: "" for m in darts}
    shown = texts(plot(sweep(darts, statuses=statuses)))
    assert "no epoch yet" in shown
    assert "No epoch yet, or failed: 5 of 5 trials." in " ".join(shown)


@pytest.mark.parametrize("loss", [lambda e: math.nan, lambda e: math.inf, lambda e: 1e30])
def test_wild_numbers_break_nothing(sweep, darts, loss):
    assert plot(sweep(darts, loss=loss)).layout.height > 100


def test_what_the_range_cuts_off_is_noted(sweep, darts):
    figure = plot(sweep(darts), range={"test_loss": [0.2, 0.5]})
    assert list(figure.layout.yaxis.range) == [0.2, 0.5]
    notes = " ".join(texts(figure))
    assert "Cut off by the range of the axis: Test loss on cifar10, 5 trials: down to" in notes
    assert "up to 2.27 nat" in notes


def test_the_default_range_holds_the_last_values_of_all_and_is_shared(sweep, darts):
    data = convergence_data(**sweep(darts), groups=2)
    (range_,) = data.ranges.values()
    ends = [t.smoothed[-1] for p in data.panels for t in p.tracks]
    assert range_[0] <= min(ends) <= max(ends) <= range_[1]


def test_curves_differ_in_dash_too_and_darken_with_width(sweep, darts):
    found = line_styles(convergence_data(**sweep(darts)))
    styles = [found[cell] for cell in found]
    assert len({(line.colour, line.dash) for line in styles}) == len(WIDTHS)
    assert styles[0].colour == "#222222"
    light = [sum(map(int, s.colour[4:-1].split(","))) for s in styles[1:]]
    assert light[0] == light[1] > light[2] > light[3]
    assert len({line.dash for line in styles[1:]}) == 4


def test_many_cells_of_one_width_differ_in_colour(sweep, make_member):
    members = [
        make_member(base, index, width=width)
        for base, width in (("DARTS", 3.5), ("ENAS", 5.0))
        for index in range(11)
    ]
    found = line_styles(convergence_data(**sweep(members)))
    darts = [line for (base, _, _), line in found.items() if base == "DARTS"]
    assert len({line.colour for line in darts}) == 11


def test_colour_shows_the_width_while_no_panel_has_more_of_one_than_dashes(sweep, make_member):
    members = [make_member("DARTS", i, width=2.5 if i < 6 else 3.0) for i in range(9)]
    found = line_styles(convergence_data(**sweep(members), groups=2))
    assert len({line.colour for line in found.values()}) == 3, "the base and two widths"


def test_every_curve_is_named_at_its_end_and_by_the_mouse(sweep, darts):
    figure = plot(sweep(darts))
    shown = texts(figure)
    assert {"<b>DARTS</b>", "C1 2c,3", "C4 3c,3"} <= set(shown)
    spots = [n["y"] for n in figure.to_dict()["layout"]["annotations"] if n["text"][:1] == "C"
             and n["text"][1:2].isdigit()]  # fmt: skip
    assert len(set(spots)) == 4
    assert all(m["trial_id"] in " ".join(hovers(figure)) for m in darts)


def test_names_are_shown_and_not_obeyed(sweep, make_member):
    evil = "<script>%{x}</script>"
    figure = plot(sweep([make_member(evil, 0, variant=evil, trial_id="t")]), title=evil)
    assert hovers(figure)
    for text in (*texts(figure), *hovers(figure)):
        assert "<script" not in text
    assert all(text.count("%{x}") == 1 for text in hovers(figure))


def test_a_long_sweep_is_quick_and_its_page_small(sweep, make_member):
    members = [make_member("DARTS", i, width=WIDTHS[i % 5]) for i in range(60)]
    epochs = np.arange(1, 601)
    parts = [pd.DataFrame({"trial_id": m["trial_id"], "epoch": epochs, "test_accuracy": 0.5,
                           "test_loss": 0.3 + 1 / epochs}) for m in members]  # fmt: skip
    tables = {"trials": sweep(members, epochs=0)["trials"], "metrics": pd.concat(parts)}
    figure = plot(tables)
    assert len(to_page(figure)) < 10_000_000
    assert "Not all curves are named" in " ".join(texts(figure))


def test_a_lacking_column_is_an_error_(sweep, darts):
    tables = sweep(darts)
    with pytest.raises(ConfigError, match="metrics of convergence lack train_loss"):
        convergence_data(**tables, show=["train_loss"])
    with pytest.raises(ConfigError, match="no trials to show"):
        convergence_data(tables["trials"].iloc[:0], tables["metrics"])


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
    track = make_track("t", "diverged", np.array([3, 1, 2, 2, 4]),
                       np.array([math.inf, 5, 6, 9, math.nan]), 1)  # fmt: skip
    assert track.epochs.tolist() == [1, 2]
    assert track.values.tolist() == [5, 6]
    assert track.last == 4


def test_a_track_of_nothing_is_empty():
    track = make_track("t", "", np.zeros(0), np.zeros(0), 5)
    assert (track.last, len(track.values)) == (0, 0)
    assert len(mean_of([]).epochs) == 0


def test_seeds_that_end_early_count_as_far_as_they_reach():
    long = make_track("a", "done", np.array([1, 2, 3]), np.array([1.0, 2, 3]), 1)
    short = make_track("b", "", np.array([1]), np.array([3.0]), 1)
    mean = mean_of([long, short])
    assert mean.mean.tolist() == [2, 2, 3]
    assert (mean.low.tolist(), mean.high.tolist()) == ([1, 2, 3], [3, 2, 3])
