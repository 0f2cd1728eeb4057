"""The charts: at most 50 lines, quantiles as NumPy's, names that stay text, filling surfaces."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_contours import bowl

from orchestrator.dash.charts import (
    MOST_LINES,
    MOST_POINTS,
    curve_traces,
    label,
    plot_curves,
    plot_outcomes,
    plot_surface,
    quantiles,
    short_names,
    surface_ids,
)
from orchestrator.dash.live import COLUMNS, Curve

VALUES = st.floats(-10, 10) | st.just(float("nan")) | st.just(float("inf"))


def curve(values: Any) -> Curve:
    values = np.asarray(values, float)
    found: Any = {"epoch": np.arange(1.0, len(values) + 1), **dict.fromkeys(COLUMNS, values)}
    return found


def chart(curves: dict[str, Curve], chosen=(), column="test_loss", **options: Any) -> Any:
    rows = [{"trial_id": name, "state": "running", "epoch": 1} for name in curves]
    traces = curve_traces(curves, rows, chosen, column)
    return plot_curves(traces, column, **options)


@given(st.lists(st.lists(VALUES, max_size=6), min_size=1, max_size=6))
def test_quantiles_are_numpys_over_the_trials_that_got_so_far(trials):
    epochs, *found = quantiles([curve(values) for values in trials], "test_loss", [0.1, 0.5, 1])
    wanted = {}
    for epoch in range(max(map(len, trials))):
        known = [v[epoch] for v in trials if len(v) > epoch and np.isfinite(v[epoch])]
        if known:
            wanted[epoch + 1] = np.quantile(known, [0.1, 0.5, 1])
    assert epochs.tolist() == list(wanted)
    if wanted:
        np.testing.assert_allclose(np.stack(found, 1), np.stack(list(wanted.values())))


BANDS = ["5 to 95 %", "25 to 75 %", "median"]


@pytest.mark.parametrize(
    ("count", "chosen", "names", "title"),
    [
        (3, [], ["t0", "t1", "t2"], "3 trials"),
        (1, [], ["t0"], "1 trial"),
        (200, [], [*BANDS, *(f"t{i}" for i in range(MOST_LINES))],
         "50 of 200 trials as lines, all as quantiles"),
        (200, ["t7", "t150", "gone"], [*BANDS, "t7", "t150"],
         "2 of 200 trials as lines, all as quantiles"),
        (0, [], [], "No epoch has ended yet"),
    ],
)  # fmt: skip
def test_few_trials_are_lines_and_many_are_quantiles_too(count, chosen, names, title):
    figure = chart({f"t{i}": curve([i, i]) for i in range(count)}, chosen)
    assert [trace.name for trace in figure.data] == names
    assert figure.layout.title.text == title
    if count > MOST_LINES:
        assert figure.data[2].y.tolist() == [99.5, 99.5]
        assert figure.data[0].y.tolist() == pytest.approx([189.05, 189.05, 9.95, 9.95])


def test_a_long_curve_is_thinned_and_an_empty_one_is_no_error():
    x = chart({"long": curve(range(10_000))}).data[0].x
    assert (len(x), x[0], x[-1]) == (MOST_POINTS, 1, 10_000)
    assert chart({"empty": curve([]), "nan": curve([np.nan] * 3)}).layout.title.text


def test_names_are_text_and_zoom_stays_until_something_else_is_drawn():
    one, two = chart({"<b>a": curve([1])}), chart({"<b>a": curve([1, 2])}, column="test_loss")
    assert one.data[0].name == "&lt;b&gt;a"
    assert one.layout.uirevision == two.layout.uirevision
    others = chart({"a": curve([1])}, log=True), chart({"a": curve([1])}, column="train_loss")
    assert one.layout.uirevision not in [other.layout.uirevision for other in others]


def row(index: int, seed: int, **axes: Any) -> dict[str, Any]:
    # The columns of a page's rows.
    return {"trial_id": f"t{index}{seed}{axes}", "state": "done", "base": "DARTS", "index": index,
            "variant": f"v{index}", "dataset": "digits", "learning_rate": 0.1, "seed": seed,
            "width": 2.0, "depth": 3, **axes, "epoch": 3,
            "test_accuracy": 0.5 + seed / 10}  # fmt: skip


def test_lines_are_named_by_what_distinguishes_them():
    some = [row(i, 0, weight_decay=w) for i in (0, 1) for w in (None, 3e-4)]
    assert short_names(some[1:]) == ["DARTS, weight decay 0.0003", "C1, weight decay –",
                                     "C1, weight decay 0.0003"]  # fmt: skip
    assert label(some[3]) == "DARTS v1, digits, 0.1, weight decay 0.0003, seed 0"
    assert short_names([row(0, 0)]) == ["DARTS, digits, 0.1, seed 0"]
    assert short_names([]) == []
    program = dict.fromkeys(("dataset", "learning_rate", "width", "depth"))
    some = [row(i, i % 2, lr=i // 2) | program | {"base": "lab.py:train"} for i in range(4)]
    some = [
        {k: one[k] for k in sorted(one, key=["epoch", "test_accuracy"].__contains__)}
        for one in some
    ]
    assert short_names(some, seeds=False) == ["lr 0", "lr 0", "lr 1", "lr 1"]
    assert label(some[3]) == "lab.py:train, lr 1, seed 1"
    many = [row(i, 0) for i in range(20)]
    traces = curve_traces({one["trial_id"]: curve([1]) for one in many}, many, (), "test_loss")
    assert all(trace["showlegend"] for trace in traces)
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in traces}) == 20


def test_seeds_are_averaged_with_their_deviation():
    some = [row(i, seed) for i in (0, 1) for seed in (0, 1, 2)]
    curves = {one["trial_id"]: curve([i + 1, i + 2]) for i, one in enumerate(some)}
    curves[some[2]["trial_id"]] = curve([math.nan, 9, 9])  # got further than the others
    traces = curve_traces(curves, some, (), "test_loss", mean=True)
    band, line, *_ = traces
    assert line["name"] == "DARTS (3)"
    assert line["x"].tolist() == [1, 2, 3]
    assert line["y"].tolist() == pytest.approx([1.5, 14 / 3, 9])
    above = line["y"] + [np.std([1, 2], ddof=1), np.std([2, 3, 9], ddof=1), 0]
    assert band["y"][:3] == pytest.approx(above)
    assert "mean of 3 seeds of DARTS" in line["hovertemplate"]
    assert plot_curves(traces, "test_loss", last=3).layout.title.text == "2 means"
    [alone] = curve_traces(curves, some[:1], (), "test_loss", mean=True)
    assert alone["y"].tolist() == [1, 2]


def test_epochs_have_whole_numbers():
    assert chart({"a": curve([1, 2])}, last=2).layout.xaxis.dtick == 1
    assert chart({"a": curve([1, 2])}, last=600).layout.xaxis.dtick is None


def test_outcomes_stand_over_any_axis():
    some = [row(i, seed, optimizer=["sgd", "<b>adam"][seed]) for i in (0, 1) for seed in (0, 1)]
    some.append(row(5, 5) | {"test_accuracy": None})
    dots: Any = plot_outcomes(some, "seed", "test_accuracy", "optimizer")
    assert [trace.name for trace in dots.data] == ["sgd", "&lt;b&gt;adam"]
    assert [list(trace.x) for trace in dots.data] == [[0, 0], [1, 1]]
    assert dots.layout.xaxis.dtick == 1
    parallel: Any = plot_outcomes(some, "seed", "test_accuracy", "", parallel=True)
    axes = parallel.data[0].dimensions
    assert [axis.label for axis in axes] == ["index", "variant", "seed", "optimizer",
                                             "test_accuracy"]  # fmt: skip
    assert list(axes[3].ticktext) == ["&lt;b&gt;adam", "sgd"]
    graded: Any = plot_outcomes([row(i, 0) for i in range(40)], "variant", "test_accuracy", "index")
    assert list(graded.data[0].marker.color) == list(range(40))
    assert not plot_outcomes([], "seed", "test_accuracy", "base").data
    assert plot_outcomes([], "seed", "test_accuracy", "base", parallel=True).layout.title.text


@pytest.fixture
def member(make_member):
    return make_member("DARTS", 0)


def test_a_point_is_at_its_place(surveyed, member):
    name = surveyed.add(member, lambda a, b: bowl(a, 2 * b))
    figure: Any = plot_surface(surveyed.store, name)
    [heat] = figure.data
    for x, column in zip(heat.x, np.array(heat.z).T, strict=True):
        for y, z in zip(heat.y, column, strict=True):
            assert z == pytest.approx(math.log10(bowl(x, 2 * y)))


def test_what_is_not_measured_or_not_finite_is_blank(surveyed, member):
    name = surveyed.add(member, lambda a, b: math.inf if a == b == 0 else 1.0, done=9, status=None)
    figure: Any = plot_surface(surveyed.store, name)
    assert figure.layout.title.text.startswith("9 points")
    assert np.isnan(np.array(figure.data[0].z)).sum() == 1


@pytest.mark.parametrize("name", [None, "unknown@e1-contour-0", "../../secret"])
def test_no_surface_is_an_empty_chart(surveyed, name):
    assert surface_ids(surveyed.store) == []
    assert not plot_surface(surveyed.store, name).data
