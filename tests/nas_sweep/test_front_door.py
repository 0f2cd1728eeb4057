"""The front door: a sweep planned, its networks loaded, nothing imported before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_trials import few_digits, small_spec

import nas_sweep
from results_schema import layout
from results_schema.errors import ConfigError, DataError
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.data.batches import load, normalise
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train

EXPERIMENT = """
title: Two learning rates
claim: None.
grid: {genotype: [DARTS], dataset: [digits], learning_rate: [0.025, 0.1]}
network: {cells: 3, channels: 2}
recipe: {epochs: 2}
figures: {}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """One trial of two epochs, both with a checkpoint."""
    store = open_store(tmp_path_factory.mktemp("front") / "results")
    checkpointing = Checkpointing(at=frozenset({1}))
    with few_digits():
        train(small_spec(epochs=2), store, device="cpu", checkpointing=checkpointing)
    return store


def test_what_is_not_used_is_not_loaded():
    heavy = {"torch", "ray", "pandas", "pydantic", "plotly", "orchestrator", "workers"}
    code = "import nas_sweep, sys; nas_sweep.operation('mix_conv')(int)"
    code += f"; print(sorted({{*sys.modules}} & {heavy!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_every_public_name_is_there_and_no_other():
    names = {*nas_sweep.__all__} - {"landscape"}
    assert all(callable(getattr(nas_sweep, name)) for name in names)
    assert nas_sweep.landscape.__name__ == "nas_sweep.landscape"
    assert {*nas_sweep.__all__} <= {*dir(nas_sweep)}
    with pytest.raises(AttributeError, match="nothing"):
        _ = nas_sweep.nothing


def test_a_plan_needs_no_store_and_makes_none(tmp_path: Path):
    path = tmp_path / "rates.yaml"
    path.write_text(EXPERIMENT)
    experiment = nas_sweep.load_experiment(path, overrides=["recipe.epochs=1"])
    plan = nas_sweep.plan([experiment], str(tmp_path / "results"))
    rates = [s.learning_rate for s in plan.remaining if isinstance(s, TrialSpec)]
    assert rates == [0.025, 0.1]
    assert not (tmp_path / "results").exists()


def test_a_network_computes_what_its_trial_measured(store: LocalStore):
    [name] = nas_sweep.Results(store).trials()["trial_id"]
    losses = nas_sweep.Results(store).metrics()["test_loss"]
    with few_digits():
        data = load("digits", torch.device("cpu"))
    images = normalise(data.test.pixels, data.about)
    for epoch, measured in zip((1, None), losses, strict=True):
        network = nas_sweep.load_network(str(store.root), name[:6], epoch)
        assert not network.training
        with torch.no_grad():
            logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits, data.test.labels)
        assert loss.item() == pytest.approx(measured, rel=1e-5)


def test_a_network_that_is_not_there_is_refused(store: LocalStore, tmp_path: Path):
    location, [name] = str(store.root), layout.names(store.list(layout.TRIALS))
    with pytest.raises(ConfigError, match="nothing-like-it"):
        nas_sweep.load_network(location, "nothing-like-it")
    with pytest.raises(DataError, match="epoch 7"):
        nas_sweep.load_network(location, name, 7)
    running = open_store(tmp_path / "results")
    running.put(layout.log(name), b"")
    with pytest.raises(ConfigError, match="has not ended"):
        nas_sweep.load_network(str(running.root), name)
