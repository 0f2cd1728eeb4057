"""A secret in the environment: nothing that is kept or printed has it."""

from pathlib import Path

from canaries import CANARY, SECRETS, hits
from small_trials import few_digits
from sweeps import write_experiment

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
