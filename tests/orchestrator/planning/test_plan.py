"""What is owed, what is shared and what is reused."""

from dataclasses import replace
from pathlib import Path

import pytest
from calls import calls
from small_surfaces import other_network
from small_trials import few_digits

from orchestrator.cli.run import describe_plan
from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.config.record import member_rows
from orchestrator.planning.estimate import Speeds
from orchestrator.planning.plan import Plan, make_plan
from results_schema import layout, tables, trial
from results_schema.store import open_store
from workers.cells import cost
from workers.landscape.survey import survey

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def test_without_a_store_everything_is_owed():
    plan = make_plan([load_experiment(EXPERIMENTS / "fig9.yaml")], None)
    assert len(plan.remaining) == 56
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
    assert len(plan.remaining) == 55
    assert plan.remaining[0] == second.spec
    assert plan.failed == {second.spec.trial_id}


def test_a_plan_counts_trials_with_ids_of_an_earlier_format_by_their_names(tmp_path):
    store = open_store(tmp_path / "results")
    experiment = load_experiment(EXPERIMENTS / "fig9.yaml", profile="laptop")
    first, *others = [member.spec for member in experiment.members()]
    earlier = [replace(spec, recipe=replace(spec.recipe, version=1)) for spec in others[:3]]
    for spec in (first, *earlier):
        # Nothing is read: the names are enough.
        store.put(layout.trial(spec.trial_id), b"")
    assert (
        said(make_plan([experiment], store)).count("\n3 ended trials of the store have ids of") == 1
    )
    store = open_store(tmp_path / "new")
    store.put(layout.trial(first.trial_id), b"")
    assert "earlier" not in said(make_plan([experiment], store))


def said(plan: Plan) -> str:
    """What a user is shown of a plan."""
    return "\n".join(describe_plan(plan, Speeds()))


def test_a_launch_without_landscapes_keeps_the_checkpoints_that_they_need(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "title: x\nclaim: x\ngrid: {genotype: [DARTS], dataset: [cifar10]}\n"
        "landscape: {contour: {epochs: [0, 300, last]}}\n"
    )
    plan = make_plan([load_experiment(path)], None)
    without = replace(plan, measure=False)
    assert (len(plan.wanted), len(plan.unmeasured)) == (3, 3)
    assert (without.wanted, without.unmeasured, without.points) == ({}, [], 0)
    assert plan.surface_epochs == without.surface_epochs == {300}
    measured = replace(plan, measured=set(plan.wanted))
    assert measured.surface_epochs == {300}, "as long as its trial has not ended"
    assert replace(measured, ended=set(plan.trials)).surface_epochs == set()
    kept = without.disk_bytes(kept=(), side_by_side=1)
    assert kept > replace(without, surfaces={}).disk_bytes(kept=(), side_by_side=1)


def test_member_rows_fit_their_table():
    rows = member_rows(load_experiment(EXPERIMENTS / "fig9.yaml", profile="laptop"))
    table = tables.from_parquet(tables.to_parquet(rows, tables.MEMBERS), tables.MEMBERS, "x")
    frame = table.to_pandas()
    assert set(frame["profile"]) == {"laptop"}
    assert set(frame["named_dataset"]) == {"cifar10"}
    assert set(frame["dataset"]) == {"digits"}
    assert frame.groupby("base", sort=False)["index"].apply(list).tolist() == [list(range(14))] * 4


def written(folder: Path, cells: int, seeds: int) -> Path:
    """An experiment of so many different cells, each with so many seeds."""
    path = folder / f"grid-{cells}-{seeds}.yaml"
    path.write_text(
        "title: Many trials\nclaim: None, this is a test.\n"
        f"grid: {{genotype: [ENAS], variants: {{connections: {{mode: uniform, n: {cells - 1}}}}}, "
        f"dataset: [cifar10], seed: {list(range(seeds))}}}\n"
    )
    return path


def planned(path: Path) -> int:
    """Calls that it takes to load an experiment, to plan it and to say so."""
    return calls(lambda: list(describe_plan(make_plan([load_experiment(path)], None), Speeds())))


def test_ten_thousand_trials_cost_a_plan_as_many_times_one(tmp_path: Path):
    # A call takes about half a microsecond, so that 10,000 trials are planned within seconds.
    few, seeds = planned(written(tmp_path, 5, 10)), planned(written(tmp_path, 5, 210))
    assert (seeds - few) / 1000 < 700, "a further seed of a cell"
    cells = planned(written(tmp_path, 105, 10))
    assert (cells - few) / 1000 < 900, "a further cell of ten seeds"


def test_a_trial_is_hashed_once_and_a_cell_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hashed, counted = [], []
    dump, stack = trial.dump, cost.stack
    monkeypatch.setattr(trial, "dump", lambda spec: hashed.append(spec) or dump(spec))
    monkeypatch.setattr(cost, "stack", lambda *a, **k: counted.append(a) or stack(*a, **k))
    cost.count.cache_clear()
    planned(written(tmp_path, 4, 6))
    assert (len(hashed), len(counted)) == (24, 4)


def test_a_surface_of_a_network_that_was_removed_is_owed_again(trained):
    loaded = write_landscape(trained)
    one, two, _ = loaded.surfaces()
    with few_digits():
        for surface in (one, two):
            outcome = survey(surface, trained.store, device="cpu")
            assert outcome.status == "done", outcome
    plan = make_plan([loaded], trained.store)
    assert plan.measured == {one.surface_id, two.surface_id}
    other_network(trained.store, one)
    plan = make_plan([loaded], trained.store)
    assert plan.measured == {two.surface_id}
    assert one in plan.unmeasured
    with few_digits():
        assert survey(one, trained.store, device="cpu").status == "done"
    assert one not in make_plan([loaded], trained.store).unmeasured


def write_landscape(trained) -> Experiment:
    path = trained.experiment
    path.write_text(path.read_text() + "landscape: {contour: {grid: 1}}\n")
    return load_experiment(path)
