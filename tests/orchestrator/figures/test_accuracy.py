"""Figure 9: its numbers, from members joined with their trials, and what is drawn of them."""

import math
import random

import pytest
from figure_parts import plot, texts, titles, traces

from orchestrator.figures.accuracy import accuracy_by_index_data
from orchestrator.figures.panels import PANEL_HEIGHT

KIND = "accuracy_by_index"


def shown(figure, kind):
    """The traces of one kind of symbol, without the legend's keys."""
    return [trace for trace in traces(figure, name=kind) if trace["x"][0] is not None]


def shapes(figure, kind):
    return [s for s in figure.to_dict()["layout"].get("shapes", ()) if s["type"] == kind]


def results_of(members, accuracy):
    """Accuracies by member, each that of a trial that is done."""
    return {m["trial_id"]: ("done", accuracy(m)) for m in members}


def test_a_point_is_the_mean_over_seeds_of_trials_that_ended(join, make_member):
    members = [
        make_member("DARTS", 1, seed=seed, width=2.5, depth=4) for seed in (5, 3, 0, 1, 2, 4)
    ]
    ids = {m["seed"]: m["trial_id"] for m in members}
    results = {
        ids[0]: ("done", 0.96),
        ids[1]: ("diverged", 0.1),
        ids[2]: ("diverged", math.nan),
        ids[3]: ("done", math.nan),
        ids[4]: ("done", 0.97),
    }
    # A member named twice counts once.
    ((panel,),) = [accuracy_by_index_data(join([*members, members[0]], results))]
    (line,) = panel.series
    (point,) = line.points
    assert str(point.cell) == "index 1, width 2.5c, depth 4"
    assert (point.cell.variant, point.parameters) == ("DARTS-conn-1", 3_300_000)
    assert [(run.seed, round(run.accuracy, 9)) for run in point.done] == [(0, 96), (4, 97)]
    assert [(run.seed, run.accuracy) for run in point.diverged] == [(1, 0), (2, 0)]
    assert [run.last for run in point.diverged] == pytest.approx([10, math.nan], nan_ok=True)
    assert point.missing == (ids[3], ids[5])
    assert point.mean == pytest.approx(48.25)
    assert point.deviation == pytest.approx(55.716, abs=0.001)
    assert line.base is None
    assert math.isnan(line.base_accuracy)


def test_panels_and_learning_rates_are_ordered(join, make_member):
    bases, datasets = ("NASNet", "AmoebaNet"), (("cifar100", "cifar100"), ("cifar10", "digits"))
    members = [
        make_member(base, index, named_dataset=named, dataset=dataset, learning_rate=rate)
        for base in bases
        for named, dataset in datasets
        for index in (1, 0)
        for rate in (0.25, 0.0025, 0.025)
    ]
    panels = accuracy_by_index_data(join(members, {}))
    found = [(p.base, (p.named_dataset, p.dataset)) for p in panels]
    assert found == [(base, dataset) for base in bases for dataset in datasets]
    for panel in panels:
        assert [line.learning_rate for line in panel.series] == [0.0025, 0.025, 0.25]
        assert [point.cell.index for point in panel.points] == [0, 1] * 3
        # Nothing is trained yet.
        assert (panel.low, panel.high) == (0, 100)
        assert all(point.parameters is None and math.isnan(point.mean) for point in panel.points)
    figure = plot(KIND, join(members, {}))
    assert titles(figure)[3] == "AmoebaNet, digits"
    assert "cifar100, digits in place of cifar10" in texts(figure)


@pytest.mark.parametrize("odd", [{5: ("done", 0.55)}, {0: ("diverged", 0.969)}])
def test_one_bad_trial_does_not_set_the_range(join, make_member, odd):
    members = [make_member("DARTS", index) for index in range(14)]
    results = results_of(members, lambda m: 0.97 - 0.001 * m["index"])
    results |= {members[index]["trial_id"]: result for index, result in odd.items()}
    (panel,) = accuracy_by_index_data(join(members, results))
    assert 95 < panel.low < 95.7
    assert 96.9 < panel.high < 97.5
    assert (panel.has_below, panel.has_above) == (True, False)


def test_four_bases_with_their_variants(join, make_member):
    """DARTS is complete; a trial of ENAS is missing, and the others have one odd trial each."""
    bases = ("DARTS", "ENAS", "AmoebaNet", "NASNet")
    members = [make_member(base, index) for base in bases for index in range(14)]
    results = results_of(members, lambda m: 0.97 - 0.0005 * (5 * m["index"] % 14))
    del results["cifar10-ENAS-4-0.025-0"]
    results["cifar10-AmoebaNet-5-0.025-0"] = ("diverged", 0.1)
    results["cifar10-NASNet-6-0.025-0"] = ("done", 0.62)
    figure = plot(KIND, join(members, results))
    layout = figure.to_dict()["layout"]

    base, variants = shown(figure, "base")[0], shown(figure, "variant")
    assert (list(base["x"]), list(base["y"])) == ([0], [97.0])
    assert list(variants[0]["x"]) == list(range(1, 14))
    expected = [97 - 0.05 * (5 * i % 14) for i in range(1, 14)]
    assert list(variants[0]["y"]) == pytest.approx(expected)
    assert variants[0]["hovertext"][1] == (
        "<b>DARTS-conn-2</b><br>index 2, width 3.5c, depth 3<br>accuracy 96.50 %<br>"
        "3,300,000 parameters<br>cifar10-DARTS-2-0.025-0"
    )
    assert 4 not in variants[1]["x"]
    assert 5 not in variants[2]["x"]

    (cross,), (arrow,) = shown(figure, "diverged"), shown(figure, "below range")
    assert (list(cross["x"]), list(cross["text"])) == ([5], ["0<br>↓"])
    assert (list(arrow["x"]), list(arrow["text"])) == ([6], ["62"])
    assert "diverged, counted as accuracy 0 (accuracy 10.00 % after" in cross["hovertext"][0]
    strips = {shape["yref"]: shape for shape in shapes(figure, "rect")}
    assert set(strips) == {"y3", "y4"}
    for number, trace in ((3, cross), (4, arrow)):
        strip = strips[f"y{number}"]
        assert layout[f"yaxis{number}"]["range"][0] == strip["y0"]
        assert 90 < strip["y0"] < trace["y"][0] < strip["y1"]
        assert min(layout[f"yaxis{number}"]["tickvals"]) >= strip["y1"]

    lines = shapes(figure, "line")
    assert [(s["yref"], s["y0"], s["y1"]) for s in lines] == [
        (axis, 97.0, 97.0) for axis in ("y", "y2", "y3", "y4")
    ]
    assert [n["y"] for n in layout["annotations"] if n["text"] == "AmoebaNet"] == [97.0]
    assert "cifar10; learning rate 0.025" in texts(figure)
    notes = " ".join(texts(figure))
    assert "No result (gaps): 1 of 56 trials. Diverged: 1 of 55 trials, counted as" in notes


def test_seeds_are_faint_dots_around_a_mean_with_a_whisker(join, make_member):
    members = [make_member("DARTS", i, seed=s) for i in (0, 1) for s in (0, 1, 2)]
    figure = plot(KIND, join(members, results_of(members, lambda m: 0.95 + 0.01 * m["seed"])))
    (seeds,), (variant,) = shown(figure, "one seed"), shown(figure, "variant")
    assert list(seeds["y"][3:]) == pytest.approx([95, 96, 97])
    assert list(variant["y"]) == pytest.approx([96])
    assert list(variant["error_y"]["array"]) == pytest.approx([1])
    assert "3 seeds: 95.00, 96.00, 97.00" in variant["hovertext"][0]
    assert "seed 2" in seeds["hovertext"][5]


@pytest.mark.parametrize("draw", range(6))
def test_whiskers_end_within_the_panel(make_member, join, draw):
    members = [make_member("DARTS", i // 3, seed=i % 3) for i in range(18)]
    draws = random.Random(draw)
    # Some cells scatter far more than the others, and one seed of a cell diverged.
    results = results_of(members, lambda m: 0.9 + draws.gauss(0, 10.0 ** draws.choice([-3, -1.5])))
    results[members[4]["trial_id"]] = ("diverged", 0.1)
    figure = plot(KIND, join(members, results))
    low, high = figure.layout.yaxis.range
    ends = [
        (y - down, y + up)
        for kind in ("variant", "base")
        for trace in shown(figure, kind)
        for y, down, up in zip(
            trace["y"], trace["error_y"]["arrayminus"], trace["error_y"]["array"], strict=True
        )
    ]
    assert ends
    assert all(low <= down <= up <= high for down, up in ends)


def test_a_mean_that_diverged_seeds_bring_below_the_range_stands_in_the_strip(join, make_member):
    members = [make_member("DARTS", i, seed=seed) for i in range(4) for seed in range(3)]
    results = results_of(members, lambda m: 0.95)
    for index in (0, 2):
        results[f"cifar10-DARTS-{index}-0.025-1"] = ("diverged", 0.1)
    figure = plot(KIND, join(members, results))
    (below,), (crosses,) = shown(figure, "below range"), shown(figure, "diverged")
    assert (list(below["x"]), list(below["text"])) == ([0, 2], ["63", "63"])
    assert "3 seeds: 95.00, 95.00, 0.00" in below["hovertext"][0]
    assert list(crosses["x"]) == [0.3, 2.3]
    assert not shapes(figure, "line")
    assert "No dashed line where the base is below the panel's range: DARTS." in " ".join(
        texts(figure)
    )
    untrained = plot(KIND, join(members, {"cifar10-DARTS-1-0.025-0": ("done", 0.9)}))
    assert not shapes(untrained, "line")
    assert "where the base has no result: DARTS." in " ".join(texts(untrained))


def test_learning_rates_differ_in_colour_and_stand_side_by_side(join, make_member):
    members = [make_member("DARTS", i, learning_rate=r) for r in (0.025, 0.25) for i in range(5)]
    figure = plot(KIND, join(members, results_of(members, lambda m: 0.9)))
    slow, fast = shown(figure, "variant")
    assert slow["marker"]["color"] != fast["marker"]["color"]
    assert all(a < i < b for a, i, b in zip(slow["x"], range(1, 5), fast["x"], strict=True))
    keys = [trace["name"] for trace in traces(figure, legend="legend2")]
    assert keys == ["learning rate 0.025", "learning rate 0.25"]
    assert len(shapes(figure, "line")) == 2


@pytest.mark.parametrize(("bases", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (7, 3)])
def test_any_number_of_bases_fits_the_page(join, make_member, bases, columns):
    members = [make_member(f"base{b}", i) for b in range(bases) for i in range(3)]
    layout = plot(KIND, join(members, {})).to_dict()["layout"]
    axes = [layout[f"yaxis{b + 1 if b else ''}"] for b in range(bases)]
    assert len({axis["domain"][0] for axis in axes}) == math.ceil(bases / columns)
    drawn = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    panel = (axes[0]["domain"][1] - axes[0]["domain"][0]) * drawn
    assert panel == pytest.approx(PANEL_HEIGHT[columns])
    # Where no panel stands below, an axis has its title.
    titled = [n for n in range(bases) if "title" in layout[f"xaxis{n + 1 if n else ''}"]]
    assert titled == list(range(bases))[-columns:]
