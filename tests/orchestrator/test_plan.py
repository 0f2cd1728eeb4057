"""What is owed, what is shared and what is reused."""

from pathlib import Path

from orchestrator.experiment import load_experiment
from orchestrator.plan import make_plan
from orchestrator.record import member_rows
from results_schema import layout, tables
from results_schema.store import open_store

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_without_a_store_everything_is_owed():
    plan = make_plan([load_experiment(EXPERIMENTS / "fig9.yaml")], None)
    assert len(plan.owed) == 56
    assert plan.epochs == 56 * 600


def test_experiments_share_the_trials_they_both_name():
    nine = load_experiment(EXPERIMENTS / "fig9.yaml")
    grid = load_experiment(EXPERIMENTS / "more/grid.yaml")
    plan = make_plan([nine, grid], None)
    assert len(plan.trials) == 336, "Figure 9's 56 trials are part of the full grid"


def test_ended_trials_are_reused_whoever_trained_them_and_failed_ones_are_owed(tmp_path):
    store = open_store(tmp_path / "results")
    experiment = load_experiment(EXPERIMENTS / "fig9.yaml", profile="laptop")
    first, second, *_ = experiment.members()
    store.put(layout.trial(first.spec.trial_id), tables.to_parquet([], tables.TRIALS))
    store.put(layout.failure(second.spec.trial_id), b"{}")
    plan = make_plan([experiment], store)
    assert len(plan.owed) == 55
    assert plan.owed[0] == second.spec
    assert plan.failed == {second.spec.trial_id}


def test_member_rows_fit_their_table():
    rows = member_rows(load_experiment(EXPERIMENTS / "fig9.yaml", profile="laptop"))
    table = tables.from_parquet(tables.to_parquet(rows, tables.MEMBERS), tables.MEMBERS, "x")
    frame = table.to_pandas()
    assert set(frame["profile"]) == {"laptop"}
    assert set(frame["named_dataset"]) == {"cifar10"}
    assert set(frame["dataset"]) == {"digits"}
    assert frame.groupby("base", sort=False)["index"].apply(list).tolist() == [list(range(14))] * 4
