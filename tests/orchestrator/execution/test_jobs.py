"""`launch --detach`: what is sent to a cluster, what its job runs, and what is refused before."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.dashboard.utils
import ray.job_submission
import small_programs
from PIL import Image
from ray.job_submission import JobStatus

from orchestrator.cli import run as cli
from orchestrator.config.experiment import load_experiment
from orchestrator.execution import jobs
from orchestrator.execution.jobs import PACKAGES, REPLACED, Shipment, job_command, pack
from orchestrator.execution.trainable import PLUGINS, PROGRAMS, code_digest, own_versions
from results_schema.errors import ConfigError
from workers.origin import code_origin
from workers.program.source import find_as_sent
from workers.signals import GRACE

EXPERIMENT = """
title: Cells of my own
claim: None, this is a test.
grid:
  genotype: [DARTS, {file: ../cells/mine.json}]
  dataset: [digits]
"""
CELLS = """
{"normal": {"nodes": [[["sep_conv_3x3", 0], ["skip_connect", 1]]], "concat": [2]},
 "reduce": {"nodes": [[["max_pool_3x3", 0], ["skip_connect", 1]]], "concat": [2]}}
"""
PROFILE = """
description: small
set: {network.cells: 3}
"""
SHIPMENT = Shipment(["files/a/x.yaml", "files/y.yaml"], "files/a/profiles/laptop.yaml")


@pytest.fixture(autouse=True)
def _no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets the programs that other tests have found, which would be sent, too."""
    monkeypatch.setattr(jobs, "FOUND", {})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two experiments, a profile beside them, and cells in a folder beside theirs."""
    project = tmp_path / "my project"
    for folder in ("experiments/profiles", "cells"):
        (project / folder).mkdir(parents=True)
    (project / "experiments/one.yaml").write_text(EXPERIMENT)
    (project / "experiments/two.yaml").write_text(EXPERIMENT.replace("digits", "digit_pairs"))
    (project / "experiments/profiles/small.yaml").write_text(PROFILE)
    (project / "cells/mine.json").write_text(CELLS)
    monkeypatch.chdir(project)
    return project


def packed(folder: Path, paths: Sequence[str], profile: str | None = "small") -> Shipment:
    files = [Path(path) for path in paths]
    loaded = [load_experiment(path, profile=profile) for path in files]
    return pack(folder, files, loaded, profile=profile, overrides=())


def test_an_experiment_is_the_same_where_it_arrives(project: Path, tmp_path: Path):
    folder = tmp_path / "job"
    shipment = packed(folder, ["experiments/one.yaml", str(project / "experiments/two.yaml")])
    (tmp_path / "my project").rename(tmp_path / "gone")
    os.chdir(tmp_path)
    profile = folder / (shipment.profile or "")
    one, two = (load_experiment(folder / n, profile=str(profile)) for n in shipment.experiments)
    assert (one.name, two.name) == ("one@small", "two@small")
    os.chdir(tmp_path / "gone")
    for there, path in ((one, "experiments/one.yaml"), (two, "experiments/two.yaml")):
        assert there.members() == load_experiment(path, profile="small").members()


@pytest.mark.usefixtures("project")
def test_the_code_arrives_whole_and_runs_there(tmp_path: Path):
    folder = tmp_path / "job"
    assert packed(folder, ["experiments/one.yaml"], profile=None).profile is None
    assert {path.name for path in folder.iterdir()} == {*PACKAGES, "files", "shipped.json"}
    assert code_digest(folder) == own_versions()["code"]
    assert not list(folder.rglob("__pycache__"))
    code = "import orchestrator.output.text; print(orchestrator.output.text.__file__)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert ran.stdout.startswith(str(folder)), ran.stderr
    assert json.loads((folder / "shipped.json").read_bytes()) == code_origin()


@pytest.mark.usefixtures("project")
def test_several_profiles_of_one_name_are_refused(tmp_path: Path):
    other = tmp_path / "other"
    (other / "profiles").mkdir(parents=True)
    (other / "profiles/small.yaml").write_text(PROFILE)
    (other / "three.yaml").write_text(EXPERIMENT.replace("{file: ../cells/mine.json}", "SNAS"))
    with pytest.raises(ConfigError, match="several profiles of this name"):
        packed(tmp_path / "a", ["experiments/one.yaml", str(other / "three.yaml")])


@pytest.mark.usefixtures("own_plugins")
def test_files_go_along_unless_their_paths_mean_nothing_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "cache"))
    (project / "my_ops.py").write_text("import nas_sweep\nnas_sweep.operation('mix_conv')(int)\n")
    (project / "drawing.py").write_text("import nas_sweep\nnas_sweep.figure('rings')(int)\n")
    photos = project / "photos"
    for number in range(8):
        (photos / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.full((8, 8), 30 * number, np.uint8))
        image.save(photos / f"{number % 2}/{number}.png")
    path, folder = project / "experiments/one.yaml", tmp_path / "job"
    text = EXPERIMENT.replace("digits", "{folder: ../photos, test: 0.25}")
    path.write_text(text := f"plugins: [../my_ops.py, ../drawing.py]{text}")
    shipment = packed(folder, ["experiments/one.yaml"])
    photos.rename(project / "elsewhere")
    again = load_experiment(folder / shipment.experiments[0])
    assert [one.path.parent for one in again.loaded_plugins] == [folder / "files"] * 2
    assert again.grid.dataset[0].startswith("photos-")
    sent = [one.name for one in (folder / PLUGINS).iterdir()]
    assert sent == ["my_ops.py"], "workers draw nothing"
    (project / "elsewhere").rename(photos)
    for name, what in (
        ("my_ops.py", r"the plug-in my_ops\.py is"),
        ("photos", r"the data set photos-\w+ is"),
        ("cells", "the cells of mine are"),
    ):
        path.write_text(text.replace(f"../{name}", str(project / name)))
        with pytest.raises(ConfigError, match=f"{what} in .*, a path of this machine"):
            packed(tmp_path / f"no {name}", ["experiments/one.yaml"])


def test_a_program_goes_with_the_experiment_and_with_the_code(tmp_path: Path, monkeypatch):
    experiment, _ = small_programs.made(tmp_path / "lab")
    source = small_programs.write(experiment.parent)
    monkeypatch.setattr(jobs, "FOUND", {source.program: source})
    folder = tmp_path / "job"
    shipment = packed(folder, [str(experiment)], profile=None)
    again = load_experiment(folder / shipment.experiments[0]).source
    assert again is not None
    assert again.root == folder / "files"
    gone = source.sent() | {"root": str(tmp_path / "gone")}
    assert find_as_sent(gone, folder / PROGRAMS).digest == source.digest == again.digest


def context(*arguments: str):
    return cli.launch.make_context("launch", list(arguments))


def test_a_job_is_given_what_the_user_gave_and_nothing_else():
    given = context(
        "a/x.yaml", "y.yaml", "--profile", "laptop", "--set", "recipe.epochs=2", "--store", "r",
        "--set", "grid.seed=[0, 1]", "--address", "head:6379", "--detach", "--ship-code",
        "--device", "cpu", "--gpus-per-trial", "auto", "--checkpoint-at", "3", "--deterministic",
        "--allow-open-cluster",
    )  # fmt: skip
    command = shlex.split(shlex.join(job_command(SHIPMENT, "s3://bucket/my results", given)))
    assert command[:6] == [
        "python", "-m", "orchestrator.cli", "launch", "files/a/x.yaml", "files/y.yaml",
    ]  # fmt: skip
    assert set(command[6:]) == {
        "--profile=files/a/profiles/laptop.yaml",
        "--store=s3://bucket/my results",
        "--address=auto",
        "--set=recipe.epochs=2",
        "--set=grid.seed=[0, 1]",
        "--device=cpu",
        "--gpus-per-trial=auto",
        "--checkpoint-at=3",
        "--deterministic",
        "--allow-open-cluster",
    }
    again = context(*command[4:])
    assert all(again.params[n] == v for n, v in given.params.items() if n not in REPLACED)
    # What the user left open is left to the cluster.
    command = job_command(SHIPMENT._replace(profile=None), "/r", context("x.yaml", "--detach"))
    assert command[6:] == ["--store=/r", "--address=auto"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--detach",), "--detach leaves the launch to a cluster"),
        (("--ship-code", "--device", "cpu"), "--ship-code sends this code to a cluster's nodes"),
        (("--address", "http://head:8265"), "add --detach"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, folder, options, told):
    code, _, errors = run("launch", "x.yaml", *options)
    assert (code, told in errors) == (2, True)
    assert not (folder / "results/experiments").exists()


class Client:
    """Ray's client of a cluster whose jobs go through these statuses, two requests apart."""

    statuses: Sequence[JobStatus] = (JobStatus.PENDING, JobStatus.RUNNING)
    error: Exception | None = None
    submitted: dict[str, Any]

    def __init__(self, url: str) -> None:
        self.requests = 0

    def submit_job(self, **job: Any) -> str:
        if self.error:
            raise self.error
        sent = Path(job["runtime_env"]["working_dir"])
        Client.submitted = job | {"files": [path.name for path in sent.iterdir()]}
        return job["submission_id"]

    def get_job_status(self, name: str) -> JobStatus:
        self.requests += 1
        return self.statuses[min(len(self.statuses) - 1, (self.requests - 1) // 2)]

    def get_job_logs(self, name: str) -> str:
        return "first\nno module named orchestrator\n"

    def get_job_info(self, name: str) -> Any:
        return type("Info", (), {"message": "exit code 1"})


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A cluster whose dashboard takes jobs; it asks for a token unless this says otherwise."""
    asks, now = {"": True}, [0.0]
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    find = ray.dashboard.utils
    monkeypatch.setattr(find, "get_address_for_submission_client", lambda address: "http://h:8265")
    monkeypatch.setattr(jobs.access, "asks_for_token", lambda at, token="": asks[""] and not token)
    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://another")
    return asks


def detach(run, *options: str) -> tuple[int, str, str]:
    return run("launch", "x.yaml", "--detach", "--address", "h:6379", "--store", "r", *options)


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ((JobStatus.PENDING, JobStatus.RUNNING), "runs"),
        ((JobStatus.PENDING,), "waits to be started"),
        ((JobStatus.RUNNING, JobStatus.SUCCEEDED), "has ended"),
    ],
)
def test_a_job_is_submitted_and_how_to_follow_it_is_printed(
    run, folder: Path, dashboard, monkeypatch, statuses, state
):
    monkeypatch.setattr(Client, "statuses", statuses)
    code, output, errors = detach(run)
    assert code == 0, errors
    name = Client.submitted["submission_id"]
    assert f"job {name} {state} on http://h:8265" in output
    assert f"ray job stop --address http://h:8265 {name}" in output
    assert f"status --store {folder / 'r'} --watch" in output
    assert name.startswith("x-")
    assert set(Client.submitted["files"]) == {*PACKAGES, "files", "shipped.json"}
    variables = Client.submitted["runtime_env"]["env_vars"]
    assert variables == {"RAY_JOB_STOP_WAIT_TIME_S": str(int(4 * GRACE))}
    assert "--address=auto" in Client.submitted["entrypoint"]
    assert "RAY_API_SERVER_ADDRESS" not in os.environ, "which is not what the user names"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("refused"), "can't be reached: refused\n  if the dashboard listens"),
        (RuntimeError("too large\nmore"), "the cluster refuses the job: too large\n"),
        (None, "exit code 1\n  first\n  no module named orchestrator"),
    ],
)
def test_a_job_that_is_not_taken_or_fails_at_once_is_an_error(
    run, folder, dashboard, monkeypatch, error, told
):
    monkeypatch.setattr(Client, "statuses", (JobStatus.RUNNING, JobStatus.FAILED))
    monkeypatch.setattr(Client, "error", error)
    code, _, errors = detach(run)
    assert (code, told in errors, "Traceback" in errors) == (3, True, False), errors


def test_an_open_cluster_is_sent_nothing_unless_it_is_allowed(run, folder, dashboard, monkeypatch):
    monkeypatch.setattr(Client, "statuses", (JobStatus.RUNNING,))
    monkeypatch.setattr(jobs.access, "admit", lambda address, allow_open: None)
    dashboard[""] = False
    code, _, errors = detach(run)
    assert (code, "asks for no token" in errors) == (3, True)
    assert detach(run, "--allow-open-cluster")[0] == 0
