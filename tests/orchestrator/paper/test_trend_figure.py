"""The figure of an outcome over a property of cells."""

import json
import math
from typing import Any

import pandas as pd
import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.config.registry import read_choice
from orchestrator.figures import draw
from orchestrator.paper.statistics.association import trend
from orchestrator.paper.trend_figure import trend_data
from results_schema.errors import ConfigError
from results_schema.results import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    trials = synthetic_trials(bases=("DARTS", "ENAS"), seeds=range(2), datasets=["cifar10"])
    return Results(
        synthetic_store(
            tmp_path_factory.mktemp("store"),
            trials,
            lambda t: curve(1.0, final=0.8 + 0.05 * t.width + 0.01 * t.rng.standard_normal()),
            diverged=lambda t: t.index == 3 and t.spec.seed == 0,
            packed=False,
        )
    )


def test_cells_are_dots_and_the_trend_is_within_bases(results):
    [panel] = trend_data(results.trials("made-up")).panels
    cells: Any = panel.cells
    assert len(cells) == 28
    variants = cells[cells["index"] > 0]
    again = trend(*(variants[name].to_numpy() for name in ("x", "y", "base")))
    assert panel.found.value == again.value > 0.4
    lost = cells[cells["diverged"] > 0]
    assert list(lost["index"]) == [3, 3]
    assert (lost["y"] < 50).all(), "one of two seeds counts as accuracy 0"


def test_every_cell_is_drawn_within_its_panel(results):
    choice = read_choice({"kind": "trend", "x": "depth"})
    figure: Any = draw(choice, lambda _: results.trials("made-up"), "A title")
    dots = [trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None]
    assert sum(len(trace.x) for trace in dots) == 28
    low, high = figure.layout.yaxis.range
    assert all(low <= y <= high for trace in dots for y in trace.y)
    assert [list(trace.marker.symbol).count("x") for trace in dots] == [1, 1]
    assert any(note.text.startswith("ρ = ") for note in figure.layout.annotations)


def test_a_loss_leaves_diverged_trials_out_and_no_trial_is_an_error(results):
    trials = results.trials("made-up").assign(test_loss=1.0)
    [panel] = trend_data(trials, "width", "test_loss").panels
    assert math.isnan(panel.found.value)
    assert set(panel.cells["y"]) == {1}
    with pytest.raises(ConfigError, match="no trial that ended"):
        trend_data(trials.iloc[:0])
    with pytest.raises(ConfigError, match=r"val_accuracy, which no trial has\n.*validation"):
        trend_data(trials, y="val_accuracy")
    half = trials.assign(val_accuracy=[None, *[0.5] * (len(trials) - 1)])
    [panel] = trend_data(half, y="val_accuracy").panels
    assert len(panel.cells) == 28
    with pytest.raises(ValueError, match="widht"):
        read_choice({"kind": "trend", "x": "widht"})


def test_an_axis_is_drawn_along_x_or_in_colours_and_else_in_panels(make_member):
    rows = [
        make_member("DARTS", index, seed=seed)
        | {"status": "done", "test_accuracy": 0.5 + 0.1 * index + 50 * decay + 0.01 * channels}
        | {"axes": json.dumps({"recipe.weight_decay": decay, "network.channels": channels})}
        | {"weight_decay": decay, "channels": channels}
        for decay in (1e-4, 1e-3)
        for channels in (4, 8)
        for index in (0, 1)
        for seed in (0, 1)
    ]
    table = pd.DataFrame(rows)

    def shown(**options: Any) -> Any:
        return draw(read_choice({"kind": "trend"} | options), lambda _: table, "A title")

    def dots(figure: Any) -> list[tuple[float, float]]:
        marks = [t for t in figure.data if t.mode == "markers" and t.x[0] is not None]
        return sorted((x, y) for t in marks for x, y in zip(t.x, t.y, strict=True))

    figure = shown(x="recipe.weight_decay")
    assert panels(figure) == 2, "a panel for each number of channels"
    assert len(dots(figure)) == 8
    assert {x for x, _ in dots(figure)} == {1e-4, 1e-3}
    one = shown(x="recipe.weight_decay", colour="network.channels")
    assert dots(one) == dots(figure)
    assert panels(one) == 1
    assert {t.name for t in one.data if t.name} >= {"channels 4", "channels 8"}
    assert not any(note.text.startswith("ρ = ") for note in one.layout.annotations)
    facets = shown(facet=["seed"])
    assert panels(facets) == 8


def panels(figure: Any) -> int:
    return sum(name.startswith("xaxis") for name in figure.to_dict()["layout"])
