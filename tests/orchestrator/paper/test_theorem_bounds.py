"""Theorem 4.1 trial by trial: which numbers stand where, and what is said of them."""

from typing import Any

import pytest
from small_theory import measured_frames

from orchestrator.figures import draw
from orchestrator.paper.theorem_bounds import plot_theorem_bounds, theorem_bounds_data
from results_schema.errors import ConfigError

ORDER = ("trials", "surfaces", "points", "metrics")


def drawn(members):
    frames = measured_frames(members)
    return plot_theorem_bounds(
        theorem_bounds_data(*(frames[name] for name in ORDER)), "T"
    ).to_dict()


def test_each_panel_has_its_number_of_each_cell(make_member):
    figure = drawn([make_member("DARTS", index) for index in (0, 1, 2)])
    smoothness, variance, bound, measured = figure["data"]
    assert list(smoothness["x"]) == ["DARTS", "C1", "C2"]
    assert list(smoothness["y"]) == [10, 20, 40]
    # Of a batch out of all images, so less than that of one image.
    assert variance["y"][0] < 4
    assert variance["y"][2] == pytest.approx(4 * variance["y"][0])
    assert list(measured["y"]) == [4, 4, 4]
    assert bound["y"][0] < bound["y"][1] < bound["y"][2]
    assert (bound["name"], measured["name"]) == ("bound", "measured")
    assert (bound["xaxis"], measured["xaxis"]) == ("x3", "x3")
    assert figure["layout"]["yaxis3"]["type"] == "log"


def test_cells_of_several_bases_are_told_apart_and_names_are_not_obeyed(make_member):
    members = [make_member(base, index) for base in ("ENAS", "<b>x</b>") for index in (0, 1)]
    figure = drawn(members)
    assert list(figure["data"][0]["x"]) == [
        "ENAS", "ENAS C1", "&lt;b&gt;x&lt;/b&gt;", "&lt;b&gt;x&lt;/b&gt; C1",
    ]  # fmt: skip
    assert "<b>x" not in str(figure["data"])


def test_many_cells_have_panels_of_the_whole_width(make_member):
    many = drawn([make_member("DARTS", index) for index in range(14)])
    few = drawn([make_member("DARTS", index) for index in range(5)])
    assert many["layout"]["xaxis"]["domain"] == [0, 1]
    assert few["layout"]["xaxis"]["domain"][1] < 0.4


def test_what_was_not_measured_is_left_out_and_nothing_at_all_is_an_error(make_member):
    frames = measured_frames([make_member("DARTS", 0), make_member("DARTS", 1)])
    surfaces: Any = frames["surfaces"]
    frames["surfaces"] = surfaces[
        ~((surfaces["index"] == 1) & (surfaces["kind"] == "gradient_variance"))
    ]
    data = theorem_bounds_data(*(frames[name] for name in ORDER))
    shown = plot_theorem_bounds(data, "T").to_dict()["data"]
    assert [list(trace["x"]) for trace in shown] == [["DARTS", "C1"], ["DARTS"], ["DARTS"],
                                                     ["DARTS", "C1"]]  # fmt: skip
    frames["surfaces"] = surfaces.iloc[:0]
    frames["metrics"] = frames["metrics"].iloc[:0]
    with pytest.raises(ConfigError, match="curvature or gradient variance"):
        draw("theorem_bounds", frames.__getitem__, "T")
