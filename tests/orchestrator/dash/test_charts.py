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
    plot_curves,
    plot_surface,
    quantiles,
    surface_ids,
)
from orchestrator.dash.live import COLUMNS, Curve
from results_schema import layout
from results_schema.errors import CorruptData

VALUES = st.floats(-10, 10) | st.just(float("nan")) | st.just(float("inf"))


def curve(values: Any) -> Curve:
    values = np.asarray(values, float)
    epochs = np.arange(1.0, len(values) + 1)
    return {"epoch": epochs, **dict.fromkeys(COLUMNS, values)}


def chart(curves: dict[str, Curve], chosen=(), column="test_loss", **options: Any) -> Any:
    traces = curve_traces(curves, list(curves), chosen, column, lambda name: name)
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


def test_damage_raises(surveyed, member):
    name = surveyed.add(member)
    path = surveyed.store.root / layout.points(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptData, match="contour"):
        plot_surface(surveyed.store, name)
