"""Figure 9: its numbers, from members joined with their trials, and what is drawn of them."""

import math

import pandas as pd
import pytest

from orchestrator.figures import draw
from orchestrator.figures.accuracy import RESULTS, accuracy_by_index_data
from orchestrator.figures.members import COLUMNS
from orchestrator.figures.panels import PANEL_HEIGHT
from results_schema.errors import ConfigError

TITLE = "Accuracy of bases and variants"


def shown(figure, kind):
    """The traces of one kind of symbol, without the legend's keys."""
    traces = figure.to_dict()["data"]
    return [t for t in traces if t["name"] == kind and t["x"][0] is not None]


def texts(figure):
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


def shapes(figure, kind):
    return [s for s in figure.to_dict()["layout"].get("shapes", ()) if s["type"] == kind]


def test_a_point_is_its_trial_in_percent(join, make_member):
    trials = join(
        [make_member("DARTS", 0), make_member("DARTS", 1, width=2.5, depth=4)],
        {"cifar10-DARTS-0-0.025-0": ("done", 0.9725), "cifar10-DARTS-1-0.025-0": ("done", 0.965)},
    )
    (panel,) = accuracy_by_index_data(trials).panels
    (line,) = panel.series
    base, variant = line.points
    assert line.base_accuracy == base.mean == pytest.approx(97.25)
    assert variant.mean == pytest.approx(96.5)
    assert (variant.index, variant.variant, variant.width, variant.depth) == (
        1,
        "DARTS-conn-1",
        2.5,
        4,
    )
    assert variant.parameters == 3_300_000
    assert math.isnan(variant.deviation)
    assert [run.trial_id for run in variant.done] == ["cifar10-DARTS-1-0.025-0"]


def test_panels_keep_the_order_of_the_experiment(join, make_member):
    members = [
        make_member(base, index, named_dataset=named, dataset=dataset)
        for base in ("NASNet", "AmoebaNet", "DARTS")
        for named, dataset in (("cifar100", "cifar100"), ("cifar10", "digits"))
        for index in (1, 0)
    ]
    data = accuracy_by_index_data(join(members, {}))
    assert [(p.base, p.named_dataset, p.dataset) for p in data.panels] == [
        (base, *dataset)
        for base in ("NASNet", "AmoebaNet", "DARTS")
        for dataset in (("cifar100", "cifar100"), ("cifar10", "digits"))
    ]
    assert all([p.index for p in panel.series[0].points] == [0, 1] for panel in data.panels)


def test_seeds_are_averaged(join, make_member):
    members = [make_member("DARTS", 3, seed=seed) for seed in (2, 0, 1)]
    accuracies = {0: 0.96, 1: 0.97, 2: 0.98}
    results = {m["trial_id"]: ("done", accuracies[m["seed"]]) for m in members}
    (point,) = accuracy_by_index_data(join(members, results)).points
    assert point.mean == pytest.approx(97)
    assert point.deviation == pytest.approx(1)
    assert [(run.seed, round(run.accuracy, 9)) for run in point.done] == [(0, 96), (1, 97), (2, 98)]


def test_missing_trials_are_in_no_mean_and_diverged_ones_count_as_accuracy_0(join, make_member):
    members = [make_member("DARTS", 1, seed=seed) for seed in range(5)]
    ids = [m["trial_id"] for m in members]
    results = {
        ids[0]: ("done", 0.9),
        ids[1]: ("diverged", 0.1),
        ids[2]: ("diverged", math.nan),
        ids[3]: ("done", math.nan),
    }
    (point,) = accuracy_by_index_data(join(members, results)).points
    assert point.mean == pytest.approx(30)
    assert point.deviation == pytest.approx(51.96, abs=0.01)
    assert [run.trial_id for run in point.diverged] == ids[1:3]
    assert [run.accuracy for run in point.diverged] == [0, 0]
    assert point.diverged[0].last == pytest.approx(10)
    assert math.isnan(point.diverged[1].last)
    assert point.missing == tuple(ids[3:])


def test_an_untrained_base_leaves_no_line(join, make_member):
    members = [make_member("DARTS", 0), make_member("DARTS", 1)]
    (panel,) = accuracy_by_index_data(join(members, {members[1]["trial_id"]: ("done", 0.9)})).panels
    assert math.isnan(panel.series[0].base_accuracy)
    assert math.isnan(panel.series[0].points[0].mean)
    assert panel.series[0].points[0].parameters is None


def test_learning_rates_are_series_of_one_panel(join, make_member):
    members = [make_member("DARTS", 0, learning_rate=rate) for rate in (0.25, 0.0025, 0.025)]
    data = accuracy_by_index_data(join(members, {}))
    (panel,) = data.panels
    assert [line.learning_rate for line in panel.series] == [0.0025, 0.025, 0.25]
    assert data.learning_rates == [0.0025, 0.025, 0.25]


def test_a_member_named_twice_counts_once(join, make_member):
    row = make_member("DARTS", 0)
    (point,) = accuracy_by_index_data(join([row, row], {row["trial_id"]: ("done", 0.9)})).points
    assert len(point.done) == 1


def test_one_bad_trial_does_not_set_the_range(join, make_member):
    members = [make_member("DARTS", index) for index in range(14)]
    results = {m["trial_id"]: ("done", 0.97 - 0.001 * m["index"]) for m in members}
    results[members[5]["trial_id"]] = ("done", 0.55)
    results[members[6]["trial_id"]] = ("diverged", 0.1)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert 95 < panel.low < 95.7
    assert 97 < panel.high < 97.5
    assert panel.has_below
    assert not panel.has_above


def test_a_diverged_trial_is_below_the_others_whatever_it_reached(join, make_member):
    members = [make_member("DARTS", index) for index in range(3)]
    results = {m["trial_id"]: ("done", 0.1 * (1 + m["index"])) for m in members}
    results[members[2]["trial_id"]] = ("diverged", 0.15)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert panel.has_below


def test_a_base_that_diverged_does_not_stretch_the_range(join, make_member):
    members = [make_member("DARTS", index, seed=seed) for index in range(3) for seed in range(2)]
    results = {m["trial_id"]: ("done", 0.95 + 0.01 * m["index"]) for m in members}
    results[members[0]["trial_id"]] = ("diverged", 0.1)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert panel.series[0].base_accuracy == pytest.approx(47.5)
    assert panel.low > 90
    assert panel.has_below


def test_nothing_trained_yet_still_makes_panels(join, make_member):
    data = accuracy_by_index_data(join([make_member("DARTS", i) for i in range(14)], {}))
    (panel,) = data.panels
    assert (panel.low, panel.high) == (0, 100)
    assert sum(len(point.missing) for point in data.points) == 14


@pytest.mark.parametrize("column", [*COLUMNS, *RESULTS])
def test_a_lacking_column_is_named(join, make_member, column):
    trials = join([make_member("DARTS", 0)], {}).drop(columns=column)
    with pytest.raises(ConfigError, match=f"lack {column}"):
        accuracy_by_index_data(trials)


def test_no_trials_at_all_is_an_error():
    with pytest.raises(ConfigError, match="no trials"):
        accuracy_by_index_data(pd.DataFrame(columns=[*COLUMNS, *RESULTS]))


def test_an_empty_place_in_a_member_is_an_error(join, make_member):
    trials = join([make_member("DARTS", 0), {**make_member("DARTS", 1), "base": None}], {})
    with pytest.raises(ConfigError, match=r"column base .* missing values"):
        accuracy_by_index_data(trials)


@pytest.fixture
def full(join, make_member):
    """Four bases with 13 variants each; DARTS is complete, others have each one flaw."""
    bases = ("DARTS", "ENAS", "AmoebaNet", "NASNet")
    members = [make_member(base, index) for base in bases for index in range(14)]
    results = {m["trial_id"]: ("done", 0.97 - 0.0005 * ((5 * m["index"]) % 14)) for m in members}
    del results["cifar10-ENAS-4-0.025-0"]
    results["cifar10-AmoebaNet-5-0.025-0"] = ("diverged", 0.1)
    results["cifar10-NASNet-6-0.025-0"] = ("done", 0.62)
    return join(members, results)


def test_a_panel_shows_its_base_and_its_variants(full):
    figure = draw("accuracy_by_index", lambda _: full, TITLE)
    base, variants = shown(figure, "base")[0], shown(figure, "variant")[0]
    assert (list(base["x"]), list(base["y"])) == ([0], [97.0])
    assert list(variants["x"]) == list(range(1, 14))
    assert list(variants["y"]) == pytest.approx([97 - 0.05 * (5 * i % 14) for i in range(1, 14)])
    assert base["marker"]["symbol"] != variants["marker"]["symbol"]
    assert variants["hovertext"][1] == (
        "<b>DARTS-conn-2</b><br>index 2, width 3.5c, depth 3<br>accuracy 96.50 %<br>"
        "3,300,000 parameters<br>cifar10-DARTS-2-0.025-0"
    )


def test_four_bases_make_two_rows_in_their_order(full):
    layout = draw("accuracy_by_index", lambda _: full, TITLE).to_dict()["layout"]
    assert [layout[f"xaxis{n}"]["anchor"] for n in ("", 2, 3, 4)] == ["y", "y2", "y3", "y4"]
    assert layout["yaxis"]["domain"][0] > layout["yaxis3"]["domain"][1]
    assert layout["yaxis"]["domain"] == layout["yaxis2"]["domain"]
    titles = [
        w for w in texts(draw("accuracy_by_index", lambda _: full, TITLE)) if w.startswith("<b>(")
    ]
    assert titles == ["<b>(a)</b> DARTS", "<b>(b)</b> ENAS", "<b>(c)</b> AmoebaNet",
                      "<b>(d)</b> NASNet"]  # fmt: skip


def test_a_dashed_line_named_for_the_base_lies_at_its_accuracy(full):
    figure = draw("accuracy_by_index", lambda _: full, TITLE)
    lines = shapes(figure, "line")
    assert [(s["y0"], s["y1"], s["line"]["dash"]) for s in lines] == [(97.0, 97.0, "dash")] * 4
    assert [s["yref"] for s in lines] == ["y", "y2", "y3", "y4"]
    names = [n for n in figure.to_dict()["layout"]["annotations"] if n["text"] == "AmoebaNet"]
    assert [n["y"] for n in names] == [97.0]


def test_a_missing_trial_is_a_gap_and_is_counted(full):
    figure = draw("accuracy_by_index", lambda _: full, TITLE)
    assert 4 not in shown(figure, "variant")[1]["x"]
    assert "No result (gaps): 1 of 56 trials." in " ".join(texts(figure))


def test_a_diverged_trial_has_its_own_symbol(full):
    figure = draw("accuracy_by_index", lambda _: full, TITLE)
    (trace,) = shown(figure, "diverged")
    (y,), (hover,) = trace["y"], trace["hovertext"]
    assert list(trace["x"]) == [5]
    assert "diverged, counted as accuracy 0 (accuracy 10.00 % after its last epoch)" in hover
    low, high = figure.to_dict()["layout"]["yaxis3"]["range"]
    assert 90 < low < y < high
    assert list(trace["text"]) == ["0<br>↓"]
    assert 5 not in shown(figure, "variant")[2]["x"]
    assert "Diverged: 1 of 55 trials, counted as accuracy 0." in " ".join(texts(figure))


def test_a_trial_beyond_the_range_is_an_arrow_in_a_strip_with_its_value(full):
    figure = draw("accuracy_by_index", lambda _: full, TITLE)
    (trace,) = shown(figure, "below range")
    assert (list(trace["x"]), list(trace["text"])) == ([6], ["62"])
    assert "accuracy 62.00 %" in trace["hovertext"][0]
    strips = {s["yref"]: s for s in shapes(figure, "rect")}
    assert set(strips) == {"y3", "y4"}
    assert strips["y4"]["y0"] < trace["y"][0] < strips["y4"]["y1"]
    ticks = figure.to_dict()["layout"]["yaxis4"]["tickvals"]
    assert min(ticks) >= strips["y4"]["y1"]


def test_seeds_are_faint_dots_around_a_mean_with_a_whisker(join, make_member):
    members = [make_member("DARTS", i, seed=s) for i in (0, 1) for s in (0, 1, 2)]
    results = {m["trial_id"]: ("done", 0.95 + 0.01 * m["seed"]) for m in members}
    figure = draw("accuracy_by_index", lambda _: join(members, results), TITLE)
    (seeds,), (variant,) = shown(figure, "one seed"), shown(figure, "variant")
    assert list(seeds["y"][3:]) == pytest.approx([95, 96, 97])
    assert seeds["marker"]["opacity"] < 1
    assert list(variant["y"]) == pytest.approx([96])
    assert list(variant["error_y"]["array"]) == pytest.approx([1])
    assert "mean accuracy 96.00 ± 1.00 %" in variant["hovertext"][0]
    assert "3 seeds: 95.00, 96.00, 97.00" in variant["hovertext"][0]
    assert "seed 2" in seeds["hovertext"][5]


def test_learning_rates_differ_in_colour_and_stand_side_by_side(join, make_member):
    members = [make_member("DARTS", i, learning_rate=r) for r in (0.025, 0.25) for i in range(5)]
    results = {m["trial_id"]: ("done", 0.9) for m in members}
    figure = draw("accuracy_by_index", lambda _: join(members, results), TITLE)
    slow, fast = shown(figure, "variant")
    assert slow["marker"]["color"] != fast["marker"]["color"]
    assert all(a < i < b for a, i, b in zip(slow["x"], range(1, 5), fast["x"], strict=True))
    keys = [t["name"] for t in figure.to_dict()["data"] if t.get("legend") == "legend2"]
    assert keys == ["learning rate 0.025", "learning rate 0.25"]
    assert len(shapes(figure, "line")) == 2


def test_data_sets_get_panels_of_their_own_and_substitutes_are_named(join, make_member):
    members = [
        make_member(base, i, named_dataset=named, dataset=dataset)
        for base in ("DARTS", "ENAS")
        for named, dataset in (("cifar10", "digits"), ("cifar100", "digit_pairs"))
        for i in range(3)
    ]
    figure = draw("accuracy_by_index", lambda _: join(members, {}), TITLE)
    notes = texts(figure)
    assert (
        "digits in place of cifar10, digit_pairs in place of cifar100; learning rate 0.025" in notes
    )
    assert "<b>(d)</b> ENAS, digit_pairs" in notes


def test_the_named_data_set_itself_is_no_substitute(full):
    notes = texts(draw("accuracy_by_index", lambda _: full, TITLE))
    assert "cifar10; learning rate 0.025" in notes
    assert not any("in place of" in text for text in notes)


@pytest.mark.parametrize(("bases", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (6, 3), (7, 3)])
def test_any_number_of_bases_fits_the_page(join, make_member, bases, columns):
    members = [make_member(f"base{b}", i) for b in range(bases) for i in range(14)]
    results = {m["trial_id"]: ("done", 0.9 + 0.001 * m["index"]) for m in members}
    layout = draw("accuracy_by_index", lambda _: join(members, results), TITLE).to_dict()["layout"]
    axes = [layout[f"yaxis{b + 1 if b else ''}"] for b in range(bases)]
    rows = math.ceil(bases / columns)
    assert len({axis["domain"][0] for axis in axes}) == rows
    drawn = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    panel = (axes[0]["domain"][1] - axes[0]["domain"][0]) * drawn
    assert panel == pytest.approx(PANEL_HEIGHT[columns])
    # Where no panel stands below, an axis has its title.
    titled = [n for n in range(bases) if "title" in layout[f"xaxis{n + 1 if n else ''}"]]
    assert titled == list(range(bases))[-columns:]


def test_a_base_that_has_no_result_has_no_line_and_is_noted(join, make_member):
    members = [make_member("DARTS", i) for i in range(3)]
    figure = draw(
        "accuracy_by_index",
        lambda _: join(members, {"cifar10-DARTS-1-0.025-0": ("done", 0.9)}),
        TITLE,
    )
    assert not shapes(figure, "line")
    assert "No dashed line where the base has no result: DARTS." in " ".join(texts(figure))


def test_a_mean_that_diverged_seeds_bring_below_the_range_stands_in_the_strip(join, make_member):
    members = [make_member("DARTS", i, seed=seed) for i in range(4) for seed in range(3)]
    results = {m["trial_id"]: ("done", 0.95) for m in members}
    for index in (0, 2):
        results[f"cifar10-DARTS-{index}-0.025-1"] = ("diverged", 0.1)
    figure = draw("accuracy_by_index", lambda _: join(members, results), TITLE)
    (below,) = shown(figure, "below range")
    assert list(below["x"]) == [0, 2]
    assert list(below["text"]) == ["63", "63"]
    assert "3 seeds: 95.00, 95.00, 0.00" in below["hovertext"][0]
    (crosses,) = shown(figure, "diverged")
    assert list(crosses["x"]) == [0.3, 2.3]
    assert not shapes(figure, "line")
    notes = " ".join(texts(figure))
    assert "Diverged: 2 of 12 trials, counted as accuracy 0." in notes
    assert "No dashed line where the base is below the panel's range: DARTS." in notes


def test_that_no_trial_diverged_is_noted(join, make_member):
    row = make_member("DARTS", 0)
    figure = draw("accuracy_by_index", lambda _: join([row], {row["trial_id"]: ("done", 0.9)}), "")
    assert "No trial diverged." in " ".join(texts(figure))


def test_markup_in_names_is_shown_and_not_obeyed(join, make_member):
    evil = '<a href="javascript:x">&amp;</a>'
    row = make_member(evil, 0, variant=evil, trial_id=evil, named_dataset=evil)
    figure = draw("accuracy_by_index", lambda _: join([row], {evil: ("done", 0.9)}), evil)
    (hover,) = shown(figure, "base")[0]["hovertext"]
    for text in (hover, *texts(figure)):
        assert "<a" not in text
    assert hover.count('&lt;a href="javascript:x"&gt;&amp;amp;&lt;/a&gt;') == 2
