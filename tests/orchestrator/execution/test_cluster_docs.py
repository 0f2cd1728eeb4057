"""docs/cluster.md: its commands are read out of it and run against a real cluster."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from disturbing import OPTIONS, foreign, held_open
from ray_nodes import Cluster, cluster_of_nodes
from sweeps import trained_epochs, wait_for, write_experiment

from orchestrator.cli import main as cli
from results_schema import layout
from results_schema.store import open_store

TEXT = (Path(__file__).parents[3] / "docs/cluster.md").read_text()
COMMANDS = re.findall(r"^    ((?:nas-sweep|RAY_AUTH_MODE=token ray job) .*)$", TEXT, re.MULTILINE)
EPOCHS, SEEDS = 12, 8


def test_every_command_and_option_exists():
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        _, _, ours = command.rpartition("nas-sweep ")
        name, *words = ours.split()
        if command.startswith("RAY"):
            assert name == "launch"
        known = {text for option in cli.cli.commands[name].params for text in option.opts}
        assert {word for word in words if word.startswith("--")} <= known


class Following:
    """Somebody who follows the document, on a small experiment of their own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder / "mine"
        self.folder.mkdir()
        self.store = open_store(folder / "shared results")
        seeds = ", ".join(map(str, range(SEEDS)))
        self.experiment = write_experiment(self.folder, epochs=EPOCHS, seeds=seeds)

    def command(self, *words: str) -> str:
        """The one command of the document with these words, for what is there."""
        [found] = [c for c in COMMANDS if all(re.search(rf"{w}(?!\S)", c) for w in words)]
        logs = self.store.list(layout.LOGS)
        for old, new in (
            ("experiments/fig9.yaml --profile laptop", f"small.yaml {' '.join(OPTIONS)}"),
            ("/shared/results", f"'{self.store.root}'"),
            ("head:6379", self.cluster.address),
            ("http://localhost:8265", self.cluster.dashboard),
            ("cancel fig9", "cancel small"),
            ("digits-w2d4", Path(logs[0]).stem if logs else "none"),
        ):
            found = found.replace(old, new)
        return found

    def run(self, command: str, seconds: float = 200) -> tuple[int, str]:
        """A line typed into a shell."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, "COLUMNS": "200", **self.cluster.environment},
        )
        return done.returncode, done.stdout + done.stderr

    def detach(self, *words: str) -> dict[str, str]:
        """Runs that command; the commands that it prints, by what they do."""
        code, output = self.run(self.command(*words, "--detach"))
        assert code == 0, output
        assert re.search(r"^job small-\w+ runs on http://\S+; it does not", output, re.MULTILINE)
        printed = re.findall(r"((?:RAY_AUTH_MODE=token ray job|nas-sweep) .*)$", output, re.M)
        return {re.findall("status|logs|stop|cancel", line)[0]: line for line in printed}

    def state(self, logs: str) -> str:
        """What Ray says of a job."""
        listed, name = logs.partition(" logs ")[0], logs.split()[-1]
        _, output = self.run(f"{listed} status --address {self.cluster.dashboard} {name}")
        return next(s for s in ("SUCCEEDED", "FAILED", "STOPPED", "RUNNING") if s in output.upper())

    def assert_whole(self) -> None:
        """Every trial has ended, with each epoch once, and nobody holds one."""
        metrics = pd.read_parquet(self.store.root / "metrics")
        assert not metrics.duplicated(["trial_id", "epoch"]).any()
        assert len(metrics) == EPOCHS * SEEDS
        assert len(layout.names(self.store.list(layout.TRIALS))) == SEEDS
        assert self.store.leases.held() == {}


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Following]:
    with cluster_of_nodes(cpus=2) as cluster:
        yield Following(cluster, tmp_path)


@pytest.mark.long
@pytest.mark.cluster
@pytest.mark.docs
@pytest.mark.timeout(1800)
def test_the_document_is_followed_as_it_stands(following: Following):
    store, experiment = following.store, following.experiment

    # Submitted, followed from the store, and cancelled.
    with held_open(experiment, store):
        told = following.detach(r"head:6379")
        wait_for(lambda: foreign(store) and trained_epochs(store), 250)
        for command, shown in (
            (told["status"].replace(" --watch", ""), "running"),
            (following.command("nas-sweep status"), ""),
            (following.command("nas-sweep logs"), "epoch 1: train loss"),
            (following.command("nas-sweep cancel"), "cancelled"),
        ):
            code, output = following.run(command)
            assert (code, shown in output) == (0, True), output
    code, output = following.run(told["logs"])
    assert "cancelled: " in output and "; the same command resumes them" in output
    assert following.state(told["logs"]) == "FAILED"  # as the exit code is 1

    # Submitted by the dashboard's address, and stopped as it says.
    with held_open(experiment, store):
        told = following.detach("http://localhost:8265")
        wait_for(lambda: foreign(store))
        code, output = following.run(told["stop"])
        assert code == 0, output
        assert following.state(told["logs"]) == "STOPPED"
        wait_for(lambda: not foreign(store))

    # The driver of a third dies; the same command, by Ray's own, resumes.
    with held_open(experiment, store):
        told = following.detach(r"head:6379")
        wait_for(lambda: foreign(store))
        [driver] = [
            process
            for process in following.cluster.alive()
            if process.name().startswith("python") and "orchestrator.cli" in process.cmdline()
        ]
        driver.kill()
        wait_for(lambda: not foreign(store))
        assert wait_for(lambda: following.state(told["logs"]) != "RUNNING")
    code, output = following.run(following.command("ray job submit"), seconds=600)
    assert (code, "succeeded" in output) == (0, True), output
    following.assert_whole()
