"""The charts: at most 50 lines, quantiles as NumPy's, names that stay text, filling surfaces."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_contours import Surveyed, bowl

from orchestrator.dash.charts import (
    MOST_LINES,
    MOST_POINTS,
    changed_traces,
    plot_curves,
    plot_surface,
    quantiles,
    surface_ids,
)
from orchestrator.dash.live import COLUMNS, Curve
from results_schema import layout
from results_schema.errors import CorruptData
from results_schema.store import open_store

VALUES = st.floats(-10, 10) | st.just(float("nan")) | st.just(float("inf"))


def curve(values: Any) -> Curve:
    values = np.asarray(values, float)
    epochs = np.arange(1.0, len(values) + 1)
    return {"epoch": epochs, **dict.fromkeys(COLUMNS, values)}


def chart(curves: dict[str, Curve], chosen=(), column="test_loss", **options: Any) -> Any:
    return plot_curves(curves, list(curves), chosen, column, lambda name: name, **options)


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


def test_few_trials_are_lines_alone():
    figure = chart({f"t{i}": curve([1, 2]) for i in range(3)})
    assert [trace.name for trace in figure.data] == ["t0", "t1", "t2"]
    assert figure.layout.title.text == "3 trials"


def test_of_many_trials_some_are_lines_and_all_are_quantiles():
    curves = {f"t{i}": curve([i, i]) for i in range(200)}
    figure = chart(curves)
    names = [trace.name for trace in figure.data]
    assert names[:3] == ["5 to 95 %", "25 to 75 %", "median"]
    assert len(names) == 3 + MOST_LINES
    assert figure.data[2].y.tolist() == [99.5, 99.5]
    assert figure.layout.title.text == "50 of 200 trials as lines, all as quantiles"


def test_chosen_trials_are_the_lines():
    curves = {f"t{i}": curve([i]) for i in range(200)}
    figure = chart(curves, chosen=["t7", "t150", "gone"])
    assert [trace.name for trace in figure.data[3:]] == ["t7", "t150"]


def test_a_long_curve_is_thinned_from_its_first_to_its_last_epoch():
    figure = chart({"long": curve(range(10_000))})
    x = figure.data[0].x
    assert (len(x), x[0], x[-1]) == (MOST_POINTS, 1, 10_000)


def test_no_name_is_markup():
    figure = chart({"<script>alert(1)</script>": curve([1])})
    assert figure.data[0].name == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_zoom_stays_until_something_else_is_drawn():
    one, two = chart({"a": curve([1])}), chart({"a": curve([1, 2])})
    assert one.layout.uirevision == two.layout.uirevision
    assert chart({"a": curve([1])}, log=True).layout.uirevision != one.layout.uirevision


@pytest.mark.parametrize("curves", [{}, {"empty": curve([])}, {"nan": curve([np.nan] * 3)}])
def test_nothing_to_draw_is_no_error(curves):
    assert chart(curves).layout.title.text


@pytest.mark.parametrize("trials", [3, 80])
def test_a_changed_chart_is_the_chart_drawn_again(trials):
    before = {f"t{i}": curve([i]) for i in range(trials)}
    after = before | {"t1": curve([5, 6]), "t2": curve([])}
    old, new = chart(before), chart(after)
    found = changed_traces(after, list(after), [], "test_loss", {"t1", "t2"})
    assert len(found) == 2 + 3 * (trials > MOST_LINES)
    for number, trace in enumerate(old.data):
        trace.update(found.get(number, {}))
    for one, other in zip(old.data, new.data, strict=True):
        assert (one.mode, list(one.x), list(one.y)) == (other.mode, list(other.x), list(other.y))


def test_trials_that_are_not_shown_change_nothing():
    curves = {"a": curve([1]), "b": curve([2])}
    assert changed_traces(curves, ["a"], [], "test_loss", {"b"}) == {}


MEMBER = {
    "profile": None, "base": "DARTS", "variant": "DARTS", "index": 0, "named_dataset": "cifar10",
    "dataset": "cifar10", "learning_rate": 0.025, "seed": 0, "width": 3.5, "depth": 3,
    "width_all_nodes": 3.5, "depth_all_nodes": 3,
    "trial_id": "cifar10-0",
}  # fmt: skip


def test_a_point_stands_at_its_place(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER, lambda a, b: bowl(a, 2 * b))
    figure: Any = plot_surface(surveyed.store, name)
    [heat] = figure.data
    for x, column in zip(heat.x, np.array(heat.z).T, strict=True):
        for y, z in zip(heat.y, column, strict=True):
            assert z == pytest.approx(math.log10(bowl(x, 2 * y)))


def test_what_is_not_measured_or_not_finite_is_blank(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER, lambda a, b: math.inf if a == b == 0 else 1.0, done=9, status=None)
    figure: Any = plot_surface(surveyed.store, name)
    assert figure.layout.title.text.startswith("9 points")
    assert np.isnan(np.array(figure.data[0].z)).sum() == 1


@pytest.mark.parametrize("name", [None, "unknown@e1-contour-0", "../../secret"])
def test_no_surface_is_an_empty_chart(tmp_path: Path, name):
    store = open_store(tmp_path / "empty")
    assert surface_ids(store) == []
    assert not plot_surface(store, name).data


def test_damage_raises(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER)
    path = surveyed.store.root / layout.points(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptData, match="contour"):
        plot_surface(surveyed.store, name)
