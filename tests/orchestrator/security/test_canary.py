"""A secret in the environment: nothing that is kept or printed has it."""

from pathlib import Path

import pytest
from canaries import CANARY, SECRETS, hits
from small_trials import few_digits
from sweeps import launch, started, write_experiment

from orchestrator.config.experiment import load_experiment
from workers import train


def test_a_trial_and_its_failure_keep_no_secret(tmp_path: Path, monkeypatch, capfd):
    (tmp_path / "a").write_text(f"x{CANARY}x")
    assert list(hits(tmp_path)) == [str(tmp_path / "a")], "the search finds what is there"
    (tmp_path / "a").unlink()
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    experiment = load_experiment(write_experiment(tmp_path, epochs=1, seeds="0, 1"))
    store = tmp_path / "results"
    for number, member in enumerate(experiment.members()):
        spec = tmp_path / f"{number}.json"
        spec.write_text(member.spec.to_json())
        if number:  # a file where its checkpoints would go: it fails with a traceback in its log
            (store / f"checkpoints/{member.spec.trial_id}").write_text("in the way")
        with few_digits():
            train.main(["--device", "cpu", "--store", str(store), str(spec)])
    shown = "".join(capfd.readouterr())
    assert "done: trained 1 epochs" in shown
    assert "error: " in shown
    assert "Traceback" in "".join(path.read_text() for path in (store / "logs").iterdir())
    assert CANARY not in shown
    assert list(hits(tmp_path)) == []


@pytest.mark.ray
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
