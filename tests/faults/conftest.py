import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from small_stores import Trained, trained_store
from small_trials import COMMIT_LAST, few_digits, small_spec

from orchestrator.cli import main as cli
from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


@pytest.fixture
def on_few_digits() -> Iterator[None]:
    """For trials that are trained in this process; those of Ray have all digits."""
    with few_digits():
        yield


@pytest.fixture(scope="session")
def specs() -> Sequence[TrialSpec]:
    """Three trials of six epochs, a second or less each."""
    return [replace(small_spec(epochs=6), seed=seed) for seed in range(3)]


@pytest.fixture(scope="session")
def reference(specs: Sequence[TrialSpec], tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store in which they were trained without any trouble."""
    store = open_store(tmp_path_factory.mktemp("reference") / "results")
    with few_digits():
        for spec in specs:
            assert train(spec, store, device="cpu", checkpointing=COMMIT_LAST).status == "done"
    return store


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_store(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def trained(_trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A copy of a store with three trials that have ended, and a surface of each is wanted."""
    monkeypatch.chdir(tmp_path)
    copy = _trained.copied(tmp_path)
    text = copy.experiment.read_text() + "landscape: {contour: {grid: [3, 5]}}\n"
    copy.experiment.write_text(text)
    record(load_experiment(copy.experiment), copy.store)
    return copy


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; returns exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas-sweep", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call
