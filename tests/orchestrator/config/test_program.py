import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from small_programs import documented

from orchestrator.config.experiment import load_experiment, load_experiments
from orchestrator.config.record import member_rows
from results_schema.errors import ConfigError
from results_schema.program import Metric, ProgramSpec, read_trial
from results_schema.stopping import StopRule


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return documented(tmp_path / "lab")


def test_the_documented_experiment_has_a_trial_for_each_point_of_its_grid(experiment: Path):
    assert len((experiment.parent / "digits_mlp.py").read_text().splitlines()) <= 40
    loaded = load_experiment(experiment)
    specs = [member.spec for member in loaded.members()]
    assert len({spec.trial_id for spec in specs}) == 8
    first = specs[0]
    assert isinstance(first, ProgramSpec)
    assert first.params == {"epochs": 8, "batch": 100, "lr": 0.03, "hidden": 16}
    assert read_trial(first.to_json()) == first
    # Ids are for good.
    assert first.trial_id == "digits_mlp.train-v1-s0-8bed74c276"
    row = member_rows(loaded)[0]
    assert (row["variant"], row["dataset"]) == ("lr=0.03, hidden=16", None)
    assert json.loads(row["axes"]) == {"params.lr": 0.03, "params.hidden": 16}
    assert loaded.metrics == (
        Metric("valid_loss", unit="nat", goal="min"),
        Metric("valid_accuracy", goal="max"),
    )


def test_without_a_grid_there_is_one_trial(experiment: Path):
    overrides = ["grid={}", "params={lr: [1, {a: null}], epochs: 2}", "metrics={x: null}"]
    [member] = load_experiment(experiment, overrides=overrides).members()
    assert member.spec.epochs == 2
    assert member.variant == "digits_mlp.py:train"


@pytest.mark.parametrize(
    ("override", "what", "fix"),
    [
        ("metrics.test_loss=min", "every store has a column test_loss", "my_test_loss"),
        ("metrics.best_x=min", "best_x begins with best_", "name it without"),
        ("metrics.Loss=min", "'Loss' is no name of a metric", "lower-case"),
        ("metrics={}", "metrics names none", "{loss: min}"),
        ("metrics=3", "metrics is 3, not keys and values", ""),
        ("metrics.x={gaol: min}", "x has no gaol", "type, unit and goal"),
        ("metrics.x={goal: up}", "the goal of x is 'up'", "use min or max"),
        ("metrics.x={type: text}", "the type of x is 'text'", "use real or whole"),
        ("metrics.x={unit: 'a b'}", "the unit of x is 'a b'", "a short word"),
        ("metrics.x=[min]", "x is ['min']", "{unit: s, goal: min}"),
        ("metrics.hidden=min", "hidden is an axis too", "rename"),
        ("grid.genotype=[DARTS]", "unknown key grid.genotype", "params.NAME"),
        ("grid={parms.lr: [3]}", "unknown key grid.parms.lr", "did you mean params.NAME"),
        ("grid={params.lr: 3}", "grid.params.lr is 3, not a list", "[3]"),
        ("grid={params.lr: [.inf]}", "params.lr is inf", "finite"),
        ("grid.seed=[-1]", "grid.seed[0] is -1", ""),
        ("recipe.epochs=3", "recipe of a program", "drop it"),
        ("landscape.contour={}", "landscape of a program", "drop it"),
        ("figures.a=trend", "figures.a: trend shows cells, which a program has none", "a plug-in"),
        ("version=0", "version is 0", ""),
        ("params=3", "params is 3", "names and values"),
        ("params.a.b.c.d.e.f.g.h.i=1", "params", "8 levels"),
        ("program=digits", "program is 'digits'", "FILE.py:FUNCTION"),
        ("program=digits_mlp.py:trian", "no function trian", "did you mean train"),
        ("program=digit_mlp.py:train", "there is no program", "did you mean digits_mlp.py"),
        ("program=no.such:train", "there is no program", ""),
    ],
)
def test_mistakes_are_named_with_their_place(experiment: Path, override: str, what: str, fix: str):
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment, overrides=[override])
    assert what in str(caught.value)
    assert fix in str(caught.value)
    assert any(place in str(caught.value) for place in ("--set", "digits_mlp.py", "digits.yaml:"))


def test_cells_have_no_parameters_and_two_experiments_agree(experiment: Path, tmp_path: Path):
    cells = "title: t\nclaim: c\ngrid: {genotype: [DARTS], dataset: [digits]}\n"
    (tmp_path / "cells.yaml").write_text(cells + "params: {x: 1}\n")
    with pytest.raises(ConfigError, match=r"cells.yaml:4: params: params without a program"):
        load_experiment(tmp_path / "cells.yaml")
    other = documented(tmp_path / "other")
    other = other.rename(other.with_name("more.yaml"))
    assert len(load_experiments([str(experiment), str(other)], None, [])) == 2
    other.write_text(other.read_text().replace("accuracy: max", "accuracy: min"))
    with pytest.raises(ConfigError, match="metric valid_accuracy is declared differently"):
        load_experiments([str(experiment), str(other)], None, [])
    source = other.with_name("digits_mlp.py")
    source.write_text(source.read_text() + "# other\n")
    with pytest.raises(ConfigError, match="is another program in another experiment"):
        load_experiments([str(experiment), str(other)], None, [])


def test_the_documented_rules_load_and_every_option_is_in_their_table(tmp_path: Path):
    text = (Path(__file__).parents[3] / "docs" / "stopping.md").read_text("utf-8")
    rules = re.findall(r"```yaml\n(stop: .*?)```", text, re.DOTALL)
    cells = "title: t\nclaim: c\ngrid: {genotype: [DARTS], dataset: [digits, cifar10]}\n"
    for rule in rules:
        (tmp_path / "cells.yaml").write_text(cells + rule)
        assert len(load_experiment(tmp_path / "cells.yaml").cohorts()) == 2
    assert len(rules) == 2
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [f.name for f in fields(StopRule)]


@pytest.mark.parametrize(
    ("stop", "what", "fix"),
    [
        ("3", "stop is 3, not keys and values", ""),
        ("{after: 3}", "no rule is named", "rule: median"),
        ("{rule: medium}", "unknown rule 'medium'", "median, halving"),
        ("{rule: median, aftr: 3}", "unknown key stop.aftr", "did you mean after"),
        ("{rule: halving, rungs: [4, 2], keep: 0.3}", "rungs is [4, 2]", "ascending"),
        ("{rule: median, after: 3, metric: valid_los}", "valid_los has no goal", "valid_loss"),
        ("{rule: median, after: 3, goal: max}", "the goal of valid_loss is min", "omit goal"),
    ],
)
def test_a_rule_that_cannot_be_is_named_with_its_place(
    experiment: Path, stop: str, what: str, fix: str
):
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment, overrides=[f"stop={stop}"])
    assert what in str(caught.value)
    assert fix in str(caught.value)
    assert "--set stop" in str(caught.value)
