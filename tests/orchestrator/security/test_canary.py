"""A secret in the environment: nothing that is kept or printed has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from canaries import CANARY, SECRETS, hits
from sweeps import launch, started, write_experiment

from orchestrator.config.experiment import load_experiment


def said_by(command: list[str], **more: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **SECRETS, **more}, timeout=200
    )
    return done.stdout + done.stderr


def test_the_search_finds_what_is_there(tmp_path: Path):
    (tmp_path / "a").write_text(f"x{CANARY}x")
    assert list(hits(tmp_path)) == [str(tmp_path / "a")]


def test_a_trial_and_its_failure_keep_no_secret(tmp_path: Path):
    experiment = load_experiment(write_experiment(tmp_path, epochs=1, seeds="0, 1"))
    train = [sys.executable, "-m", "workers.train", "--device", "cpu", "--store", "results"]
    output = ""
    for number, member in enumerate(experiment.members()):
        spec = tmp_path / f"{number}.json"
        spec.write_text(member.spec.to_json())
        train[train.index("--store") + 1] = str(tmp_path / "results")
        if number:  # a file where its checkpoints would go: it fails with a traceback in its log
            (tmp_path / f"results/checkpoints/{member.spec.trial_id}").write_text("in the way")
        output += said_by([*train, str(spec)])
    assert "done: trained 1 epochs" in output
    assert "error: " in output
    assert "Traceback" in "".join(p.read_text() for p in (tmp_path / "results/logs").iterdir())
    assert CANARY not in output
    assert list(hits(tmp_path)) == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_launch_and_its_report_keep_no_secret(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("c")
    experiment = write_experiment(folder, epochs=1, seeds="0", figures="{f: accuracy_by_index}")
    code, output = launch(experiment, "--store", folder / "s", **SECRETS)
    assert code == 0, output
    with started("report", "small", "--single", "--store", folder / "s", **SECRETS) as process:
        output += process.communicate(timeout=100)[0]
    assert "the value of RAY_AUTH_TOKEN" in output
    assert len(list((folder / "s/reports").rglob("*.html"))) >= 1
    assert CANARY not in output
    assert list(hits(folder)) == []
