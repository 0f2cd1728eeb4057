"""A store of recipe version 1: its ids are found, read and counted, and nothing of it is reused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_trials import few_digits
from sweeps import write_experiment

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from orchestrator.paper.theorems import trial_bounds
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.landscape.survey import survey
from workers.training import setup
from workers.training.trial import train


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LocalStore, Path]:
    """A store as the first version wrote it, and the experiment that was launched into it."""
    monkeypatch.chdir(tmp_path)
    path, store = write_experiment(tmp_path, epochs=1, seeds="0"), open_store(tmp_path / "results")
    experiment = load_experiment(path)
    named: dict[str, TrialSpec] = {}
    for member in experiment.members():
        # A field without effect, which was part of an id.
        recipe = replace(member.spec.recipe, version=1, drop_path_growth="constant")
        named[member.spec.trial_id] = replace(member.spec, recipe=recipe)
    surfaces = [SurfaceSpec(s, 2, "contour", 1, 1, extent=0.5, seed=3) for s in named.values()]
    with pytest.MonkeyPatch.context() as patch, few_digits():
        patch.setattr(setup, "RECIPE_VERSION", 1)
        for spec in named.values():
            assert train(spec, store, device="cpu").status == "done"
        assert survey(surfaces[0], store, device="cpu").status == "done"
    record(experiment, store)
    key = layout.members(experiment.name)
    rows = tables.from_parquet(store.get(key), tables.MEMBERS, key).to_pylist()
    rows = [row | {"trial_id": named[row["trial_id"]].trial_id} for row in rows]
    store.put(key, tables.to_parquet(rows, tables.MEMBERS))
    wanted = [
        {
            "experiment": experiment.name,
            "surface_id": surface.surface_id,
            "trial_id": surface.trial.trial_id,
            "kind": surface.kind,
            "points": 1,
        }
        for surface in surfaces
    ]
    store.put(layout.wanted(experiment.name), tables.to_parquet(wanted, tables.WANTED))
    return store, path


def test_every_command_reads_a_store_with_earlier_ids(earlier, run):
    store, _ = earlier
    results = Results(store)
    members, trials = results.members("small"), results.trials("small")
    assert trials["status"].tolist() == ["done"] * 3
    assert len(results.metrics("small")) == 6
    assert results.surfaces("small")["status"].tolist()[0] == "done"
    for trial_id, text in zip(trials["trial_id"], trials["spec"], strict=True):
        assert TrialSpec.from_json(text).trial_id == trial_id
        assert store.has(layout.metrics(trial_id))
    [finished] = results.surfaces().to_dict("records")
    assert SurfaceSpec.from_json(finished["spec"]).surface_id == finished["surface_id"]

    tables = (trials, results.surfaces("small"), results.points("small"), results.metrics("small"))
    assert [bound.trial_id for bound in trial_bounds(*tables)] == [*trials["trial_id"]]

    code, output, _ = run("status", "--format", "json")
    assert (code, json.loads(output)["experiments"]["small"]["done"]) == (0, 3)
    first = members["trial_id"][0]
    for words in (
        ("query", "FROM member_trials"),
        ("claims",),
        ("logs", first),
        ("export", "small", "--to", "out"),
        ("report", "small", "--to", "page"),
        ("gc", "--unnamed", "--yes"),
    ):
        code, output, errors = run(*words)
        assert code == 0, (words, errors)
    assert results.trials("small").equals(trials), "gc leaves what an experiment names"


def test_a_plan_counts_them_and_reuses_none(earlier, run):
    _, path = earlier
    code, output, _ = run("plan", path)
    assert code == 0
    assert "0 of 3 trials are reused, 3 to do" in output
    assert "3 ended trials of the store have ids of an earlier format: readable, but not" in output
    assert json.loads(run("plan", path, "--format", "json")[1])["earlier_ids"] == 3


def test_a_trial_of_an_earlier_version_is_not_trained_on(earlier):
    store, _ = earlier
    spec = TrialSpec.from_json(str(Results(store).trials()["spec"][0]))
    outcome = train(replace(spec, seed=9), store, device="cpu")
    assert outcome.kind == "spec"
    assert "the recipe version is 1, and this release's is 2" in outcome.reason
