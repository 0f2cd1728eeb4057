"""How far one driver reaches."""

import pytest

from benchmarks.scale import Cost, grid, limits_table, plan, sweeps_table
from benchmarks.sweeps import Sweep, drive
from orchestrator.config.experiment import load_experiment


def sweep(trials: int, epochs: int, processor: float) -> Sweep:
    return Sweep(trials, epochs, trials, wall=10.0, processor=processor, memory=2**20)


def test_what_the_driver_needs_is_separated_for_trials_and_epochs():
    # A second to start, 10 ms a trial and 2 ms an epoch.
    few, more = sweep(200, 1, 1 + 200 * 0.012), sweep(2000, 1, 1 + 2000 * 0.012)
    long = sweep(200, 11, 1 + 200 * 0.032)
    cost = Cost.between(few, more, long)
    assert (cost.trial, cost.epoch) == pytest.approx((0.010, 0.002))
    # 600 epochs of 10 s take the driver 1.21 s of 6,000.
    assert cost.slots(600, 10.0) == pytest.approx(6000 / 1.21)
    assert "| 600 epochs of 10 s | 1,210 ms | 4,959 |" in limits_table(cost)


def test_the_grids_have_as_many_trials_and_cells_as_asked(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text(grid(200, 10))
    specs = [member.spec for member in load_experiment(path).members()]
    assert len({spec.trial_id for spec in specs}) == 200
    assert len({spec.genotype for spec in specs}) == 10


@pytest.mark.long
@pytest.mark.timeout(600)
def test_trials_are_spread_over_emulated_nodes_and_each_is_trained_once():
    done = drive("nodes", 12)
    assert (done.ended, done.repeated) == (12, 0)
    assert done.processor > 0
    assert "| 12 | 1 | 0 |" in sweeps_table([(done, 0.03)])
    wall, row = plan(20, 2)
    assert wall > 0
    assert row[:2] == ["20", "2"]
