"""Why trials are new: the nearest ended trial of each, and the fields in which it differs."""

from pathlib import Path

import pytest
from synthetic_stores import NOW, blank

from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.config.record import record
from orchestrator.planning.difference import Change, compare, explain, summary
from orchestrator.planning.plan import Plan, make_plan
from results_schema import layout, tables
from results_schema.errors import ConfigError
from results_schema.store import LocalStore, open_store

GRID = "{genotype: [DARTS, ENAS], variants: paper4, dataset: [digits]}"


@pytest.fixture
def experiment(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text(f"title: x\nclaim: x\nrecipe: {{epochs: 3}}\ngrid: {GRID}\n")
    return lambda *overrides: load_experiment(path, overrides=overrides)


@pytest.fixture
def store(tmp_path: Path, experiment) -> LocalStore:
    """A store in which all trials of the experiment as it is written have ended."""
    made = open_store(tmp_path / "results")
    end(made, experiment())
    return made


def end(store: LocalStore, experiment: Experiment) -> None:
    for member in experiment.members():
        spec = member.spec
        row = blank(tables.TRIALS) | {"trial_id": spec.trial_id, "spec": spec.to_json()}
        row |= {"status": "done", "started_at": NOW, "ended_at": NOW}
        store.put(layout.trial(spec.trial_id), tables.to_parquet([row], tables.TRIALS))


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        ([], []),
        (["recipe.weight_decay=0.001"], ["10 new: recipe.weight_decay 0.0003 → 0.001"]),
        (["grid.seed=[0, 1, 2]"], ["20 new: seed 1, 2"]),
        (["grid.dataset=[digit_pairs]"], ["10 new: dataset digits → digit_pairs"]),
        (["grid.variants={operations: legacy}"], ["20 new: another cell"]),
        (
            ["grid.recipe.weight_decay=[0.0003, 0.1]", "grid.precision=[fp32, bf16]"],
            [
                "10 new: precision fp32 → bf16",
                "10 new: recipe.weight_decay 0.0003 → 0.1",
                "10 new: recipe.weight_decay 0.0003 → 0.1; precision fp32 → bf16",
            ],
        ),
        (
            ["recipe={epochs: 4, momentum: 0.5, cutout: 2, batch_size: 7}", "grid.seed=[1]"],
            [],
        ),
    ],
)
def test_a_plan_sums_up_what_is_new(store, experiment, overrides, lines):
    plan = make_plan([experiment(*overrides)], store)
    assert sorted(summary(plan, store)) == sorted(lines)
    # What was launched before is not new, whether it has ended or not.
    record(experiment(*overrides), store)
    assert summary(plan, store) == []
    end(store, experiment(*overrides))
    assert summary(make_plan([experiment(*overrides)], store), store) == []


def test_each_planned_trial_has_the_nearest_that_ended(store, experiment):
    more = experiment("grid.seed=[0, 5]", "recipe.batch_size=9")
    found = explain([more], store, ["ENAS/C3"])
    ids = {m.spec.trial_id: m for m in more.members()}
    assert [(ids[one.trial_id].base, ids[one.trial_id].index) for one in found] == [("ENAS", 3)] * 2
    [old] = [m.spec.trial_id for m in experiment().members() if (m.base, m.index) == ("ENAS", 3)]
    assert {one.ended for one in found} == {old}
    assert found[0].changes == (Change("recipe.batch_size", "80", "9"),)
    assert [str(change) for change in found[1].changes] == [
        "recipe.batch_size 80 → 9",
        "seed 0 → 5",
    ]
    empty = open_store(store.root.parent / "empty")
    assert [(one.ended, one.changes) for one in explain([more], empty, ["C3/ENAS/s5"])] == [
        (None, ())
    ]


def test_damage_and_other_releases_are_passed_over(store, experiment):
    first, second, *_ = (m.spec.trial_id for m in experiment().members())
    store.put(layout.trial(first), b"PAR1")
    row = blank(tables.TRIALS) | {"trial_id": second, "spec": "{}", "status": "done"}
    row |= {"started_at": NOW, "ended_at": NOW}
    store.put(layout.trial(second), tables.to_parquet([row], tables.TRIALS))
    found = explain([experiment("recipe.batch_size=9")], store, [])
    assert not {one.ended for one in found} & {first, second}
    with pytest.raises(ConfigError, match="has not ended"):
        compare(store, [first, second])


def test_two_trials_of_a_store_are_compared(store, experiment, run, monkeypatch):
    monkeypatch.chdir(store.root.parent)
    one, other, *_ = (m.spec.trial_id for m in experiment().members())
    assert [change.field for change in compare(store, [one, other])] == [
        "genotype.normal", "genotype.reduce",
    ]  # fmt: skip
    assert compare(store, [one, one]) == ()
    assert run("why", one, other)[:2] == (0, run("why", one, other)[1])
    code, output, _ = run("why", "x.yaml", "DARTS/C2", "--set", "grid.seed=[3]", "--format", "csv")
    assert code == 0
    assert "seed" in output
    for wrong, said in (([one], "1 trial and no file"), (["x.yaml", "nothing"], "no trial fits")):
        code, _, error = run("why", *wrong)
        assert (code, said in error) == (2, True), error


def test_plan_and_launch_take_a_part(store, experiment, run, monkeypatch):
    from orchestrator.cli import launch as commands

    monkeypatch.chdir(store.root.parent)
    plans: list[Plan] = []
    monkeypatch.setattr(commands, "_work", lambda _, __, plan, ___, **____: plans.append(plan) or 0)
    part = ["x.yaml", "--set", "grid.seed=[1, 2]", "--only", "c[12]", "--limit", "3"]
    assert run("launch", *part)[0] == 0
    [plan] = plans
    assert (len(plan.members["x"]), len(plan.remaining)) == (20, 3)
    assert "3 to do of 3 chosen trials: 9 epochs" in run("plan", *part)[1]
    code, _, error = run("launch", "x.yaml", "--only", "c9")
    assert (code, "no trial fits 'c9'" in error) == (2, True)
