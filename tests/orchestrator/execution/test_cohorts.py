"""Early stopping without Ray: workers run in this process, and drivers die."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_programs import HALVING, MEDIAN, drive, made, made_queue, results_of, worked, write
from small_trials import few_digits

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.housekeeping.status import StatusReader
from orchestrator.paper.claims.population import Population
from orchestrator.planning.plan import make_plan
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.program import ProgramSpec
from results_schema.results import Results
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Return a function from a rule to the results of its trials, which nothing disturbed."""

    @cache
    def results(stop: str) -> Any:
        experiment, store = made(tmp_path_factory.mktemp("undisturbed") / "lab", stop)
        assert set(drive(store, experiment).endings.values()) == {"done", "pruned"}
        return results_of(store)

    return results


@pytest.mark.parametrize("stop", [HALVING, MEDIAN])
@pytest.mark.parametrize("seed", range(3))
def test_decisions_are_the_same_whoever_dies(tmp_path: Path, undisturbed, stop: str, seed: int):
    experiment, store = made(tmp_path / "disturbed", stop)
    draws, launches = random.Random(seed), 0
    while make_plan([load_experiment(experiment)], store).remaining:
        drive(store, experiment, draws)
        launches += 1
    assert launches > 1
    assert results_of(store) == undisturbed(stop)
    before = {key: store.get(key) for key in store.list(layout.DECISIONS)}
    drive(store, experiment)
    assert {key: store.get(key) for key in store.list(layout.DECISIONS)} == before


def test_halving_trains_what_it_keeps_and_shows_what_it_pruned(tmp_path: Path):
    experiment, store = made(tmp_path / "lab", HALVING)
    queue = drive(store, experiment)
    assert sorted(queue.endings.values()).count("done") == 3
    states = StatusReader(store).read().trials.experiments["walk"]
    assert sorted(states.values()) == ["done"] * 3 + ["pruned"] * 6
    shown: Any = Results(store).trials("walk").set_index("trial_id")
    assert shown["epochs"].value_counts().to_dict() == {2: 4, 5: 2, 8: 3}
    metrics: Any = pd.read_parquet(store.root / "metrics")
    assert metrics.groupby("trial_id").size().to_dict() == shown["epochs"].astype(int).to_dict()
    # The best at the first rung are those that were kept.
    at_rung = metrics[metrics["epoch"] == 2].set_index("trial_id")["score"]
    kept = shown.index[shown["epochs"] > 2]
    assert at_rung[kept].min() > at_rung.drop(kept).max()
    plan = make_plan([load_experiment(experiment)], store)
    assert (plan.remaining, len(plan.pruned)) == ([], 6)


def test_a_pruned_trial_continues_once_the_rule_is_dropped(tmp_path: Path):
    experiment, store = made(tmp_path / "lab", HALVING)
    drive(store, experiment)
    before = pd.read_parquet(store.root / "metrics")
    experiment.write_text(experiment.read_text().replace(f"stop: {HALVING}\n", ""))
    record(load_experiment(experiment), store)
    queue = drive(store, experiment)
    assert [*queue.endings.values()] == ["done"] * 6
    after = pd.read_parquet(store.root / "metrics")
    assert len(after) == 9 * 8
    both: Any = before.merge(after, on=["trial_id", "epoch"])
    assert (both["score_x"] == both["score_y"]).all()
    assert set(Results(store).trials("walk")["status"]) == {"done"}
    # And with the rule again nothing is revised, nor pruned that has ended.
    decided = {key: store.get(key) for key in store.list(layout.DECISIONS)}
    experiment.write_text(experiment.read_text() + f"stop: {HALVING}\n")
    assert make_plan([load_experiment(experiment)], store).remaining == []
    assert {key: store.get(key) for key in store.list(layout.DECISIONS)} == decided


def test_a_trial_that_another_experiment_wants_whole_is_trained_whole(tmp_path: Path):
    experiment, store = made(tmp_path / "lab", HALVING)
    other = experiment.with_name("other.yaml")
    text = experiment.read_text().replace(f"stop: {HALVING}\n", "")
    other.write_text(text.replace("[0, 1, 2]", "[0]"))
    plan = make_plan([load_experiment(experiment), load_experiment(other)], store)
    queue, _ = made_queue(plan, store)
    assert queue.cohorts is not None
    untils = {spec.trial_id: queue.cohorts.until(spec.trial_id) for spec in plan.remaining}
    wanted = {member.spec.trial_id for member in plan.members["other"]}
    assert {trial: until is None for trial, until in untils.items()} == {
        trial: trial in wanted for trial in untils
    }


def test_who_failed_for_good_comes_last_and_who_was_killed_is_waited_for(tmp_path: Path):
    experiment, store = made(tmp_path / "lab", HALVING)
    plan, source = make_plan([load_experiment(experiment)], store), write(experiment.parent)
    first, second = (spec.trial_id for spec in plan.remaining[:2])
    for kind, ended in (("killed", False), ("error", True)):
        queue, clock = made_queue(plan, store)
        while not queue.over:
            item = queue.offer()
            if item is None:
                clock.now += 1
                continue
            [spec], [until] = item.pack, item.until
            assert isinstance(spec, ProgramSpec)
            if spec.trial_id == first:
                queue.settle(item.token, first, "failed", "a test", kind)  # type: ignore[arg-type]
            else:
                outcome = worked(spec, store, source, item.token, until, None)
                queue.settle(item.token, spec.trial_id, outcome.status, outcome.reason)
            queue.close(item.token)
        assert (queue.endings.get(first), second in queue.endings) == ("failed", ended)
        assert queue.cohorts is not None
        assert queue.cohorts.missing(queue.undecided) == ([] if ended else [first])
    assert first in make_plan([load_experiment(experiment)], store).pruned


@pytest.mark.parametrize("stop", [HALVING, MEDIAN])
def test_two_launches_at_once_make_the_same_decisions(tmp_path: Path, undisturbed, stop: str):
    experiment, store = made(tmp_path / "both", stop)
    source = write(experiment.parent)
    plan = make_plan([load_experiment(experiment)], store)
    launches = [made_queue(plan, store) for _ in range(2)]
    trained, draws = [0, 0], random.Random(0)
    while not all(queue.over for queue, _ in launches):
        one = draws.randrange(2)
        queue, clock = launches[one]
        clock.now += 3
        if (item := queue.offer()) is None:
            continue
        [spec], [until] = item.pack, item.until
        assert isinstance(spec, ProgramSpec)
        outcome = worked(spec, store, source, item.token, until, None)
        trained[one] += outcome.epochs
        queue.settle(item.token, spec.trial_id, outcome.status, outcome.reason)
        queue.close(item.token)
    assert results_of(store) == undisturbed(stop)
    assert sum(trained) == len(pd.read_parquet(store.root / "metrics"))
    assert min(trained) > 0


CELLS = """\
title: t
claim: c
grid: {genotype: [DARTS], dataset: [digits], learning_rate: [0.001, 0.05, 0.1]}
network: {cells: 3, channels: 2}
recipe: {epochs: 3, batch_size: 48}
stop: {rule: halving, rungs: [1], keep: 0.5}
"""


def test_cells_are_stopped_early_too(tmp_path: Path):
    experiment, store = tmp_path / "cells.yaml", open_store(tmp_path / "results")
    experiment.write_text(CELLS)
    loaded = load_experiment(experiment)
    record(loaded, store)
    [cohort] = loaded.cohorts()
    assert (cohort.rule.metric, cohort.rule.goal) == ("test_loss", "min")
    queue, _ = made_queue(make_plan([loaded], store), store)
    with few_digits():
        while not queue.over:
            item = queue.offer()
            assert item is not None
            [spec], [until] = item.pack, item.until
            assert isinstance(spec, TrialSpec)
            outcome = train(spec, store, device="cpu", token=item.token, until=until)
            queue.settle(item.token, spec.trial_id, outcome.status, outcome.reason)
            queue.close(item.token)
    shown: Any = Results(store).trials("cells")
    assert shown["status"].value_counts().to_dict() == {"done": 2, "pruned": 1}
    first: Any = Results(store).metrics()
    first = first[first["epoch"] == 1].set_index("trial_id")["test_loss"]
    assert [first.idxmax()] == shown[shown["status"] == "pruned"]["trial_id"].tolist()
    assert Population(Results(store), ["cells"]).trials["status"].tolist() == ["done", "done"]


def test_the_metric_of_cells_is_of_the_validation_split_where_there_is_one(tmp_path: Path):
    path = tmp_path / "cells.yaml"
    path.write_text(CELLS)
    [cohort] = load_experiment(path, overrides=["recipe.validation=0.1"]).cohorts()
    assert cohort.rule.metric == "val_loss"
    for override, fix in (("stop.metric=val_loss", "validation: 0.1"), ("stop.metric=rate", "use")):
        with pytest.raises(ConfigError, match="has no goal here") as caught:
            load_experiment(path, overrides=[override])
        assert fix in caught.value.fix
