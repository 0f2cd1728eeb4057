"""What a sweep costs beyond its trials' own work."""

import pytest

from benchmarks.overhead import epochs_table, trials_table
from benchmarks.sweeps import Growth, Sweep, drive, experiment, own_seconds, trial
from orchestrator.config.experiment import load_experiment


def test_growth_is_what_each_further_trial_took():
    small = Sweep(trials=20, epochs=1, ended=20, wall=10.0, processor=2.0, memory=100_000)
    large = Sweep(trials=220, epochs=1, ended=220, wall=30.0, processor=3.0, memory=300_000)
    growth = Growth.between(small, large)
    assert (growth.wall, growth.processor, growth.memory) == (0.1, 0.005, 1000)


def test_the_command_line_trains_the_trials_whose_work_is_measured(tmp_path):
    path = tmp_path / "trivial.yaml"
    path.write_text(experiment(3, 2))
    specs = [member.spec for member in load_experiment(path).members()]
    assert specs == [trial(seed, 2) for seed in range(3)]
    assert 0 < own_seconds(2) < 5


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_a_sweep_is_driven_and_measured(kind: str):
    sweep = drive(kind, 3, epochs=3)
    assert sweep.ended == 3
    assert 0 < sweep.wall < 300
    assert sweep.processor > 0
    assert sweep.between is not None
    assert 0 <= sweep.between < 1
    assert "3" in trials_table([(kind, sweep)], own=0.1)
    assert "ms" in epochs_table([(kind, sweep)])
