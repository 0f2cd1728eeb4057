"""What remains to be run, what is shared and reused, and the disk space that it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
from calls import calls
from small_surfaces import other_network
from small_trials import few_digits, small_spec

from orchestrator.cli.run import describe_plan
from orchestrator.config.experiment import load_experiment
from orchestrator.planning.estimate import Speeds
from orchestrator.planning.plan import (
    FIGURE_BYTES,
    PLOTLY_BYTES,
    POINT_BYTES,
    Plan,
    checkpoint_bytes,
    make_plan,
)
from results_schema import layout, tables
from results_schema.errors import ConfigError
from results_schema.store import open_store
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells import cost
from workers.cells.bases import named
from workers.landscape.survey import survey
from workers.network.network import build_network
from workers.training.engine import Engine

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def fig9(profile: str | None = "laptop"):
    return load_experiment(EXPERIMENTS / "fig9.yaml", profile=profile)


def shown(plan: Plan) -> str:
    """What a user is shown of a plan."""
    return "\n".join(describe_plan(plan, Speeds(), None))


def planned(folder: Path, grid: str, more: str = "") -> Plan:
    path = folder / "x.yaml"
    path.write_text(f"title: x\nclaim: x\ngrid: {{{grid}}}\n{more}")
    return make_plan([load_experiment(path)], None)


def test_without_a_store_everything_remains_and_experiments_share_trials():
    nine = fig9(None)
    plan = make_plan([nine], None)
    assert (len(plan.remaining), plan.epochs) == (56, 56 * 600)
    assert "and up to 1." in shown(plan)
    assert "GB of disk" in shown(plan)
    both = make_plan([nine, load_experiment(EXPERIMENTS / "more/grid.yaml")], None)
    assert len(both.trials) == 336, "Figure 9's 56 trials are part of the full grid"


def test_ended_trials_are_reused_whoever_trained_them_and_failed_ones_remain(tmp_path):
    store, experiment = open_store(tmp_path), fig9()
    first, second, *_ = [member.spec for member in experiment.members()]
    store.put(layout.trial(first.trial_id), tables.to_parquet([], tables.TRIALS))
    store.put(layout.failure(second.trial_id), b"{}")
    plan = make_plan([experiment], store)
    assert (len(plan.remaining), plan.remaining[0]) == (55, second)
    assert plan.failed == {second.trial_id}


def test_a_launch_without_landscapes_keeps_the_checkpoints_that_they_need(tmp_path: Path):
    epochs = "landscape: {contour: {epochs: [0, 300, last]}}\n"
    plan = planned(tmp_path, "genotype: [DARTS], dataset: [cifar10]", epochs)
    without = replace(plan, measure=False)
    assert (len(plan.wanted), len(plan.unmeasured)) == (3, 3)
    assert (without.wanted, without.unmeasured, without.points) == ({}, [], 0)
    assert plan.surface_epochs == without.surface_epochs == {300}
    measured = replace(plan, measured=set(plan.wanted))
    assert measured.surface_epochs == {300}, "as long as its trial has not ended"
    assert replace(measured, ended=set(plan.trials)).surface_epochs == set()
    kept = without.disk_bytes(kept=(), side_by_side=1)
    assert kept > replace(without, surfaces={}).disk_bytes(kept=(), side_by_side=1)


def test_measuring_alone_leaves_trials_and_surfaces_of_those_that_have_not_ended(tmp_path: Path):
    epochs = "landscape: {contour: {epochs: [0, last]}}\n"
    plan = planned(tmp_path, "genotype: [DARTS], dataset: [cifar10], seed: [0, 1]", epochs)
    one, two = plan.trials
    alone = replace(plan, measure_only=True, ended={one})
    assert alone.remaining == []
    assert [(s.trial.trial_id, s.epoch) for s in alone.unmeasured] == [
        (one, 0), (one, 600), (two, 0),
    ]  # fmt: skip
    assert {s.trial.trial_id for s in alone.choose([two]).unmeasured} == {two}


@pytest.mark.parametrize("name", ["DARTS", "NASNet", "ENAS"])
@pytest.mark.parametrize("size", [NetworkSpec(3, 2), NetworkSpec(5, 8)])
def test_a_checkpoint_is_no_larger_than_is_planned_and_not_much_smaller(name, size):
    spec = replace(small_spec(genotype=named(name), epochs=1), network=size)
    network = build_network(spec.genotype, size, in_channels=1, classes=10, seed=0)
    state = Engine(network, spec.recipe).state()
    real = len(safetensors.torch.save(state))
    assert real <= checkpoint_bytes(spec) <= 2.5 * real
    kept = {name: each for name, each in state.items() if not name.startswith("momentum.")}
    ended = len(safetensors.torch.save(kept))
    assert ended < real
    assert ended <= checkpoint_bytes(spec, ended=True) <= 2.5 * ended


def test_space_is_planned_for_kept_checkpoints_and_the_vectors_of_running_curvatures(tmp_path):
    plan = make_plan([fig9()], None)
    one, two = (plan.disk_bytes(kept=kept, side_by_side=2) for kept in ((), (1, 99)))
    assert two - one == sum(plan.checkpoint_sizes), "only the first is before the last epoch"
    ended = sum(checkpoint_bytes(spec, ended=True) for spec in plan.remaining)
    drawn = FIGURE_BYTES + PLOTLY_BYTES
    assert one - replace(plan, figures=0).disk_bytes(kept=(), side_by_side=2) == drawn
    assert ended < one - drawn < 2 * ended + 56 * 40_000
    assert one < plan.disk_bytes(kept=(), side_by_side=3)
    grid = "genotype: [DARTS], dataset: [cifar10], seed: [0, 1, 2]"
    plan = planned(tmp_path, grid, "landscape: {curvature: {}}\n")
    one, two = (
        plan.disk_bytes(kept=(), side_by_side=number)
        - replace(plan, measure=False).disk_bytes(kept=(), side_by_side=number)
        - POINT_BYTES * plan.points
        for number in (1, 2)
    )
    assert plan.points == 3 * 201
    assert two - one == one > 16 * 3_000_000


def grid(cells: int, seeds: int) -> str:
    """So many different cells, each with so many seeds."""
    variants = f"{{connections: {{mode: uniform, n: {cells - 1}}}}}"
    return f"genotype: [ENAS], variants: {variants}, dataset: [cifar10], seed: {list(range(seeds))}"


def test_ten_thousand_trials_cost_a_plan_as_many_times_one(tmp_path: Path):
    def cost_of(cells: int, seeds: int) -> int:
        return calls(lambda: shown(planned(tmp_path, grid(cells, seeds))))

    # A call takes about half a microsecond, so that 10,000 trials are planned within seconds.
    few = cost_of(5, 10)
    assert (cost_of(5, 210) - few) / 1000 < 900, "a further seed of a cell"
    assert (cost_of(105, 10) - few) / 1000 < 1100, "a further cell of ten seeds"


def test_a_trial_is_hashed_once_and_a_cell_counted_once(tmp_path: Path, monkeypatch):
    hashed, counted = [], []
    to_json, stack = TrialSpec.to_json, cost.stack
    monkeypatch.setattr(TrialSpec, "to_json", lambda spec: hashed.append(spec) or to_json(spec))
    monkeypatch.setattr(cost, "stack", lambda *a, **k: counted.append(a) or stack(*a, **k))
    cost.count.cache_clear()
    shown(planned(tmp_path, grid(4, 6)))
    assert (len(hashed), len(counted)) == (24, 4)


def test_a_surface_of_a_network_that_was_removed_remains_again(trained):
    text = trained.experiment.read_text() + "landscape: {contour: {grid: 1}}\n"
    trained.experiment.write_text(text)
    loaded = load_experiment(trained.experiment)
    one, two, _ = loaded.surfaces()
    with few_digits():
        for surface in (one, two):
            assert survey(surface, trained.store, device="cpu").status == "done"
        plan = make_plan([loaded], trained.store)
        assert plan.measured == {one.surface_id, two.surface_id}
        other_network(trained.store, one)
        plan = make_plan([loaded], trained.store)
        assert plan.measured == {two.surface_id}
        assert one in plan.unmeasured
        assert survey(one, trained.store, device="cpu").status == "done"
    assert one not in make_plan([loaded], trained.store).unmeasured


def test_a_chosen_part_is_planned_and_members_stay(tmp_path: Path):
    grid = "genotype: [DARTS, ENAS], variants: paper4, dataset: [digits], seed: [0, 1]"
    more = "landscape: {contour: {grid: 3, indices: [1]}}\n"
    whole = planned(tmp_path, grid, more)

    def names(plan: Plan) -> list[tuple[str, int, int]]:
        places = {m.spec.trial_id: (m.base, m.index, m.spec.seed) for m in plan.members["x"]}
        assert len(plan.trials) == len(whole.trials) == 20
        return [places[spec.trial_id] for spec in plan.remaining]

    assert names(whole.choose(["c2"])) == [
        ("DARTS", 2, 0), ("ENAS", 2, 0), ("DARTS", 2, 1), ("ENAS", 2, 1)
    ]  # fmt: skip
    assert names(whole.choose(["x/DARTS/C1/s1", "enas/s0/c[12]"])) == [
        ("ENAS", 1, 0), ("ENAS", 2, 0), ("DARTS", 1, 1)
    ]  # fmt: skip
    assert names(whole.choose(["base"], 3)) == [("DARTS", 0, 0), ("ENAS", 0, 0), ("DARTS", 0, 1)]
    [first, *_] = whole.trials
    assert names(whole.choose([first])) == [("DARTS", 0, 0)]
    chosen = whole.choose(limit=2)
    assert (len(chosen.remaining), len(chosen.unmeasured)) == (2, 1)
    assert "0 of 20 trials reused, 2 to do of 2 chosen trials: 1,200 epochs" in shown(chosen)
    # Of what has ended, surfaces are work too.
    ended = replace(whole, ended=set(whole.trials), measured={whole.unmeasured[0].surface_id})
    assert [s.trial.seed for s in ended.choose(limit=2).unmeasured] == [0, 1]
    with pytest.raises(
        ConfigError, match=r"no trial fits 'C9'\n  write a name such as x/DARTS/base"
    ):
        whole.choose(["C9"])


def test_a_rule_that_never_compares_trials_is_warned_about(tmp_path: Path):
    planned(tmp_path, "genotype: [DARTS], dataset: [digits]")
    for rule, warned in (("halving, rungs: [8, 9], keep: 0.5", True), ("median, after: 7", False)):
        options = [f"stop={{rule: {rule}}}", "recipe.epochs=8"]
        plan = make_plan([load_experiment(tmp_path / "x.yaml", overrides=options)], None)
        what = "stop compares no trials: it begins after epoch 8, and none has more than 8"
        assert plan.warnings == [what] * warned


def test_a_batch_or_a_cutout_larger_than_the_data_is_warned_about(tmp_path: Path):
    grid = "genotype: [DARTS], dataset: [digits, cifar10], seed: [0, 1]"
    assert not planned(tmp_path, grid).warnings
    file = tmp_path / "x.yaml"
    options = ["recipe.batch_size=2000", "recipe.cutout=31", "recipe.validation=0.1"]
    plan = make_plan([load_experiment(file, overrides=options)], None)
    assert plan.warnings == [
        "recipe.batch_size holds all 1,296 training images of digits: an epoch is one step",
        "recipe.cutout blanks every training image of digits, which has 16 pixels a side",
    ]
    assert f"warning: {plan.warnings[0]}\n" in shown(plan)
