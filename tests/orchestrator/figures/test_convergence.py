"""Curves over epochs: their numbers, and what is drawn, read from the figure itself."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_parts import hovers, plot, texts, traces
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.convergence import convergence_data, make_track, mean_of, smooth
from orchestrator.figures.convergence_drawing import MOST_POINTS, line_styles

KIND = "convergence"
WIDTHS = (3.5, 2.0, 2.0, 2.5, 3.0)


def sweep(members, epochs=40, statuses=None, loss=None) -> dict[str, Any]:
    """Tables of members whose losses halve every ten epochs; statuses by trial id."""
    trials, rows = [], []
    for m in members:
        status = (statuses or {}).get(m["trial_id"], "done")
        trials.append({**m, "status": status})
        count = {"done": epochs, "diverged": epochs // 2}.get(status, 0)
        for epoch in range(1, count + 1):
            lost = 2 * 0.5 ** (epoch / 10) + 0.1 * m["index"] if loss is None else loss(epoch)
            if status == "diverged" and epoch == count:
                lost = math.nan
            rows.append({**m, "epoch": epoch, "test_loss": lost, "test_accuracy": 0.5})
    columns = [*members[0], "epoch", "test_loss", "test_accuracy"]
    return {"trials": pd.DataFrame(trials), "metrics": pd.DataFrame(rows, columns=columns)}


@pytest.fixture
def darts(make_member):
    return [make_member("DARTS", i, width=width) for i, width in enumerate(WIDTHS)]


def test_panels_are_the_product_of_what_differs(make_member):
    members = [make_member("DARTS", index, dataset=d, named_dataset=d, learning_rate=rate)
               for rate in (0.25, 0.0025) for d in ("cifar10", "cifar100")
               for index in (0, 1)]  # fmt: skip
    tables = sweep(members)
    data = convergence_data(**tables, show=["test_loss", "test_accuracy"])
    assert [(p.quantity, p.learning_rate, p.dataset) for p in data.panels] == [
        (q, r, d)
        for q in ("test_loss", "test_accuracy")
        for r in (0.0025, 0.25)
        for d in ("cifar10", "cifar100")
    ]
    assert data.panels[0].curves[1].tracks[0].values[9] == pytest.approx(1.1)
    assert data.panels[-1].curves[0].tracks[0].values[0] == 50
    # Rows are quantities and rates, columns are datasets.
    figure = plot(KIND, tables, show=["test_loss", "test_accuracy"])
    layout = figure.to_dict()["layout"]
    assert layout["yaxis"]["title"]["text"] == "Test loss (nat)"
    assert layout["yaxis5"]["title"]["text"] == "Test accuracy (%)"
    assert layout["yaxis"]["domain"] == layout["yaxis2"]["domain"]
    assert "<b>(f)</b> cifar100, rate 0.0025: test accuracy" in texts(figure)


def test_groups_stand_beside_the_base(darts):
    tables = sweep(darts)
    data = convergence_data(**tables, groups=2)
    assert [p.group for p in data.panels] == [(1, 2), (3, 4)]
    indices = [[curve.cell.index for curve in panel.curves] for panel in data.panels]
    assert indices == [[0, 1, 2], [0, 3, 4]]
    (range_,) = data.ranges.values()
    ends = [t.smoothed[-1] for p in data.panels for t in p.tracks]
    assert range_[0] <= min(ends) <= max(ends) <= range_[1]
    [one] = convergence_data(**tables, groups=3).panels
    assert one.group == (1, 4), "one left over has no panel to itself"


def test_seeds_become_a_mean_and_a_band_without_the_diverged(make_member):
    members = [make_member("DARTS", 0, seed=seed) for seed in range(3)]
    tables = sweep(members, statuses={members[2]["trial_id"]: "diverged"})
    tables["metrics"].loc[tables["metrics"].trial_id == members[1]["trial_id"], "test_loss"] += 1
    (panel,) = convergence_data(**tables, smoothing=1).panels
    mean = panel.curves[0].mean
    assert len(mean) == 40
    assert mean.loc[10].tolist() == pytest.approx([1.5, 1, 2])
    figure = plot(KIND, tables)
    (band,) = traces(figure, fill="toself")
    assert (len(band["x"]), band["y"][39] - band["y"][40]) == (80, pytest.approx(1))
    notes = " ".join(texts(figure))
    assert "Diverged (red cross, in no mean curve): 1 of 3 trials." in notes
    assert "mean over up to 3 seeds" in notes


def test_every_curve_is_named_and_a_diverged_one_ends_with_a_cross(darts):
    lost = darts[1]["trial_id"]
    figure = plot(KIND, sweep(darts, statuses={lost: "diverged"}), smoothing=1)
    names = {n["text"]: n["y"] for n in figure.to_dict()["layout"]["annotations"]}
    spots = [names[name] for name in ("<b>DARTS</b>", "C1 2c,3", "C2 2c,3", "C3 2.5c,3", "C4 3c,3")]
    assert len(set(spots)) == 5
    assert all(m["trial_id"] in " ".join(hovers(figure)) for m in darts)
    (cross,) = [t for t in traces(figure) if t.get("marker", {}).get("symbol") == "x"]
    assert (cross["x"][0], cross["y"][0]) == (19, pytest.approx(2 * 0.5**1.9 + 0.1))
    assert lost in cross["hovertemplate"]
    assert "diverged in epoch 20" in cross["hovertemplate"]


def test_a_sweep_without_epochs_is_noted(darts):
    shown = texts(plot(KIND, sweep(darts, statuses={m["trial_id"]: "" for m in darts})))
    assert "no epoch yet" in shown
    assert "No epoch yet, or failed: 5 of 5 trials." in " ".join(shown)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_wild_numbers_break_nothing(darts, value):
    assert plot(KIND, sweep(darts, loss=lambda epoch: value)).layout.height > 100


def test_what_the_range_cuts_off_is_noted(darts):
    figure = plot(KIND, sweep(darts), range={"test_loss": [0.2, 0.5]})
    assert list(figure.layout.yaxis.range) == [0.2, 0.5]
    notes = " ".join(texts(figure))
    assert "Cut off by the range of the axis: Test loss on cifar10, 5 trials: down to" in notes
    assert "up to 2.27 nat" in notes


def test_curves_differ_in_dash_too_and_darken_with_width(darts):
    lines, keys = line_styles(convergence_data(**sweep(darts, epochs=2)))
    styles = list(lines.values())
    assert list(keys) == ["base", "width 3c", "width 2.5c", "width 2c"]
    assert {line["color"] for line in styles} == set(keys.values())
    assert len({(line["color"], line["dash"]) for line in styles}) == len(WIDTHS)
    assert styles[0]["color"] == keys["base"]
    light = [sum(map(int, line["color"][4:-1].split(","))) for line in styles[1:]]
    assert light[0] == light[1] > light[2] > light[3]
    assert len({line["dash"] for line in styles[1:]}) == 4


@pytest.mark.parametrize(("count", "groups", "colours"), [(9, None, 9), (9, 2, 3), (4, None, 4)])
def test_colour_shows_widths_that_differ_while_no_panel_has_more_of_one_than_dashes(
    make_member, count, groups, colours
):
    members = [make_member("DARTS", i, width=2.5 if i < 6 else 3.0) for i in range(count)]
    found, _ = line_styles(convergence_data(**sweep(members, epochs=1), groups=groups))
    assert len({line["color"] for line in found.values()}) == colours


def test_a_long_sweep_is_thinned(make_member):
    members = [make_member("DARTS", i, width=WIDTHS[i % 5]) for i in range(30)]
    epochs = np.arange(1, 3001)
    parts = [pd.DataFrame({"trial_id": m["trial_id"], "epoch": epochs, "test_accuracy": 0.5,
                           "test_loss": 0.3 + 1 / epochs}) for m in members]  # fmt: skip
    tables = {"trials": sweep(members, epochs=0)["trials"], "metrics": pd.concat(parts)}
    figure = plot(KIND, tables)
    curves = [trace for trace in traces(figure) if trace.get("hovertemplate")]
    ends = {(len(trace["x"]), trace["x"][0], trace["x"][-1]) for trace in curves}
    assert ends == {(MOST_POINTS, 1, 3000)}
    assert len({trace["line"]["color"] for trace in curves}) == 30
    notes = " ".join(texts(figure))
    assert "Colours darken from the last variant to the first. " in notes
    assert "Not all curves are named" in notes


@given(st.lists(st.floats(-1e6, 1e6), max_size=12), st.just(1.0) | st.floats(1, 50))
def test_smoothing_is_the_weighted_mean_of_what_came_before(values, span):
    found = smooth(np.array(values), span)
    keep = 1 - 2 / (span + 1)
    for place in range(len(values)):
        weights = [keep ** (place - k) for k in range(place + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert found[place] == pytest.approx(expected, rel=1e-9, abs=1e-3)


def test_a_track_is_ordered_without_repetition_and_ends_with_a_number():
    track = make_track("t", "diverged", np.array([3, 1, 2, 2, 4]),
                       np.array([math.inf, 5, 6, 9, math.nan]), 1)  # fmt: skip
    assert (track.epochs.tolist(), track.values.tolist(), track.last) == ([1, 2], [5, 6], 4)
    empty = make_track("t", "", np.zeros(0), np.zeros(0), 5)
    assert (empty.last, len(empty.values), len(mean_of([]))) == (0, 0, 0)


def test_seeds_that_end_early_count_as_far_as_they_reach():
    long = make_track("a", "done", np.array([1, 2, 3]), np.array([1.0, 2, 3]), 1)
    short = make_track("b", "", np.array([1]), np.array([3.0]), 1)
    mean = mean_of([long, short])
    assert mean.to_dict("list") == {"mean": [2, 2, 3], "min": [1, 2, 3], "max": [3, 2, 3]}


def test_an_axis_has_colours_in_one_panel_or_panels_of_its_own(make_member):
    def with_axis(index: int, decay: float) -> dict[str, Any]:
        row = make_member("DARTS", index)
        axes = {"axes": f'{{"recipe.weight_decay": {decay}}}', "weight_decay": decay}
        return row | axes | {"trial_id": f"{index}-{decay}"}

    tables = sweep([with_axis(index, decay) for decay in (1e-4, 1e-3) for index in (0, 1)])
    data = convergence_data(**tables, colour="weight_decay")
    [panel] = data.panels
    assert [(c.cell.index, c.cell.level, len(c.tracks)) for c in panel.curves] == [
        (0, "weight decay 0.0001", 1), (0, "weight decay 0.001", 1),
        (1, "weight decay 0.0001", 1), (1, "weight decay 0.001", 1),
    ]  # fmt: skip
    lines, _ = line_styles(data)
    colours = {cell.level: line["color"] for (_, cell), line in lines.items()}
    assert len(set(colours.values())) == 2
    assert all(line["color"] == colours[cell.level] for (_, cell), line in lines.items())
    figure = plot(KIND, tables, colour="recipe.weight_decay")
    assert {"weight decay 0.0001", "weight decay 0.001"} <= {t.name for t in figure.data}
    assert {"<b>0.001</b>", "C1 0.0001"} <= set(texts(figure))
    split = plot(KIND, tables)
    assert "<b>(b)</b> cifar10 · weight decay 0.001" in texts(split)
    one = tables["trials"][tables["trials"]["weight_decay"] < 1e-3]
    alone = plot(KIND, tables | {"trials": one}, colour="recipe.weight_decay")
    assert "weight decay 0.0001" in {t.name for t in alone.data}
