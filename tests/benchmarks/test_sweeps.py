"""What a sweep costs beyond its trials' own work, and how far one driver reaches."""

import pytest

from benchmarks.scale import Cost, grid, limits_table, plan
from benchmarks.sweeps import Sweep, drive, growth, own_seconds, specs, sweeps_table
from orchestrator.config.experiment import load_experiment


def sweep(trials: int, epochs: int, processor: float, *, wall: float = 10.0) -> Sweep:
    return Sweep(trials, epochs, trials, wall, processor, memory=2**20 + 1024 * trials)


def test_growth_is_what_each_further_trial_took():
    assert growth(sweep(20, 1, 2.0), sweep(220, 1, 3.0, wall=30.0)) == (0.1, 0.005, 1024)


def test_what_the_driver_needs_is_separated_for_trials_and_epochs():
    # A second to start, 10 ms a trial and 2 ms an epoch.
    few, more = sweep(200, 1, 1 + 200 * 0.012), sweep(2000, 1, 1 + 2000 * 0.012)
    cost = Cost.between(few, more, sweep(200, 11, 1 + 200 * 0.032))
    assert (cost.trial, cost.epoch) == pytest.approx((0.010, 0.002))
    # 600 epochs of 10 s take the driver 1.21 s of 6,000.
    assert cost.slots(600, 10.0) == pytest.approx(6000 / 1.21)
    assert "| 600 epochs of 10 s | 1,210 ms | 4,959 |" in limits_table(cost)


def test_the_grids_have_as_many_trials_and_cells_as_asked(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text(grid(200, 10))
    made = [member.spec for member in load_experiment(path).members()]
    assert len({spec.trial_id for spec in made}) == 200
    assert len({spec.genotype for spec in made}) == 10


def test_trivial_trials_differ_in_their_seed_and_are_timed():
    assert [(spec.seed, spec.recipe.epochs) for spec in specs(3, 2)] == [(0, 2), (1, 2), (2, 2)]
    assert own_seconds(1) > 0


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["ours", "nodes", "plain"])
def test_a_sweep_is_driven_and_measured(kind: str):
    done = drive(kind, 3, epochs=3)
    assert (done.ended, done.repeated) == (3, 0)
    assert done.wall > 0 and done.processor > 0
    assert done.between is not None
    assert "| sweep | 3 | 3 | 0 |" in sweeps_table([("sweep", done, 0.1)])


@pytest.mark.long
def test_a_plan_is_measured():
    wall, row = plan(20, 2)
    assert wall > 0
    assert row[:2] == ["20", "2"]
