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
from results_schema.store import open_store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.landscape.survey import survey
from workers.training import setup
from workers.training.trial import train


def test_a_store_with_earlier_ids_is_read_by_every_command_and_not_reused(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    path = write_experiment(tmp_path, epochs=1, seeds="0")
    store, experiment = open_store(tmp_path / "results"), load_experiment(path)
    [member] = experiment.members()
    # A field without effect, which was part of an id.
    recipe = replace(member.spec.recipe, version=1, drop_path_growth="constant")
    spec = replace(member.spec, recipe=recipe)
    surface = SurfaceSpec(spec, 1, "contour", 1, 1, extent=0.5, seed=3)
    with monkeypatch.context() as patch, few_digits():
        patch.setattr(setup, "RECIPE_VERSION", 1)
        assert train(spec, store, device="cpu").status == "done"
        assert survey(surface, store, device="cpu").status == "done"
    refused = train(replace(spec, seed=9), store, device="cpu")
    assert refused.kind == "spec"
    assert "the recipe version is 1, and this release's is 2" in refused.reason
    record(experiment, store)
    key = layout.members("small")
    rows = tables.from_parquet(store.get(key), tables.MEMBERS, key).to_pylist()
    rows = [row | {"trial_id": spec.trial_id} for row in rows]
    store.put(key, tables.to_parquet(rows, tables.MEMBERS))
    wanted = {"experiment": "small", "surface_id": surface.surface_id, "trial_id": spec.trial_id}
    wanted |= {"kind": "contour", "points": 1}
    store.put(layout.wanted("small"), tables.to_parquet([wanted], tables.WANTED))

    results = Results(store)
    trials, surfaces = results.trials("small"), results.surfaces("small")
    assert (trials["trial_id"].tolist(), trials["status"].tolist()) == ([spec.trial_id], ["done"])
    assert TrialSpec.from_json(str(trials["spec"][0])).trial_id == spec.trial_id
    [finished] = surfaces.to_dict("records")
    assert SurfaceSpec.from_json(finished["spec"]).surface_id == surface.surface_id
    read = (trials, surfaces, results.points("small"), results.metrics("small"))
    assert [bound.trial_id for bound in trial_bounds(*read)] == [spec.trial_id]

    code, output, _ = run("status", "--format", "json")
    assert (code, json.loads(output)["experiments"]["small"]["done"]) == (0, 1)
    for words in (
        ("query", "FROM member_trials"),
        ("logs", spec.trial_id),
        ("export", "small", "--to", "out"),
        ("report", "small", "--to", "page"),
        ("gc", "--unnamed", "--yes"),
    ):
        code, _, errors = run(*words)
        assert code == 0, (words, errors)
    assert results.trials("small").equals(trials), "gc leaves what an experiment names"

    code, output, _ = run("plan", path)
    assert (code, "0 of 1 trial reused, 1 to do" in output) == (0, True)
    assert "1 ended trials of the store have ids of an earlier format" in output
    assert json.loads(run("plan", path, "--format", "json")[1])["earlier_ids"] == 1
