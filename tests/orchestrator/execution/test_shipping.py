"""What goes to a cluster: this code, and all files that an experiment is read from."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.execution.jobs import PACKAGES, Shipment, pack
from orchestrator.execution.trainable import (
    code_digest,
    own_versions,
)
from results_schema.errors import ConfigError
from workers.training import device

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
    folder.mkdir()
    files = [Path(path) for path in paths]
    loaded = [load_experiment(path, profile=profile) for path in files]
    return pack(folder, files, loaded, profile=profile, overrides=())


def test_an_experiment_is_the_same_where_it_arrives(project: Path, tmp_path: Path):
    folder = tmp_path / "job"
    paths = ["experiments/one.yaml", str(project / "experiments/two.yaml")]
    shipment = packed(folder, paths)
    (tmp_path / "my project").rename(tmp_path / "gone")
    os.chdir(tmp_path)
    profile = folder / (shipment.profile or "")
    one, two = (load_experiment(folder / n, profile=str(profile)) for n in shipment.experiments)
    assert (one.name, two.name, one.profile, one.network.cells) == ("one", "two", "small", 3)
    os.chdir(tmp_path / "gone")
    for there, path in ((one, "experiments/one.yaml"), (two, "experiments/two.yaml")):
        here = load_experiment(path, profile="small")
        assert there.members() == here.members()
    assert {base.name for base in one.grid.genotype} == {"DARTS", "mine"}


def test_the_code_arrives_whole_and_runs_there(project: Path, tmp_path: Path):
    folder = tmp_path / "job"
    packed(folder, ["experiments/one.yaml"], profile=None)
    assert {path.name for path in folder.iterdir()} == {*PACKAGES, "files", "shipped.json"}
    assert code_digest(folder) == own_versions()["code"]
    assert not list(folder.rglob("__pycache__"))
    code = "import orchestrator.output.text; print(orchestrator.output.text.__file__)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert ran.stdout.startswith(str(folder)), ran.stderr
    assert json.loads((folder / "shipped.json").read_bytes()) == device.code_origin()


def test_a_path_that_means_nothing_elsewhere_is_refused(project: Path, tmp_path: Path):
    path = project / "experiments/one.yaml"
    path.write_text(EXPERIMENT.replace("../cells", str(project / "cells")))
    with pytest.raises(ConfigError, match=r"the cells of mine are in .*, a path of this machine"):
        packed(tmp_path / "job", ["experiments/one.yaml"])


def test_profiles_of_one_name_in_two_folders_are_told(project: Path, tmp_path: Path):
    other = tmp_path / "other"
    (other / "profiles").mkdir(parents=True)
    (other / "profiles/small.yaml").write_text(PROFILE)
    (other / "three.yaml").write_text(EXPERIMENT.replace("{file: ../cells/mine.json}", "SNAS"))
    with pytest.raises(ConfigError, match="the experiments have several profiles of this name"):
        packed(tmp_path / "job", ["experiments/one.yaml", str(other / "three.yaml")])
