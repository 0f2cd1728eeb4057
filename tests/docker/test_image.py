"""The environment that the Dockerfile's commands build, and the documented commands in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from s3_server import make_bucket, s3_server

from results_schema.results import Results

ROOT = Path(__file__).parents[2]
SMALLER = (
    "--device", "cpu", "--profile", "laptop", "--set", "recipe.epochs=1",
    "--set", "grid.genotype=[DARTS]", "--set", "grid.variants=none",
)  # fmt: skip
"""Options that leave one trial of a second of an experiment."""

pytestmark = [pytest.mark.docs, pytest.mark.long, pytest.mark.timeout(1800)]


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what they are given, in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    words = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, rest in words]


@dataclass
class Image:
    """A folder with what the image has.

    Attributes:
        root: Its root folder.
        path: The PATH of the last stage.
        command: What the image runs by default.
    """

    root: Path
    path: str
    command: list[str]

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command as in a container, in a home of its own."""
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        left = {k: v for k, v in os.environ.items() if k.startswith("AWS_") or k == "TMPDIR"}
        environment = left | {"PATH": self.path, "HOME": str(home), "COLUMNS": "200"}
        done = subprocess.run(
            list(map(str, words)), cwd=home, env=environment, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def image(docker: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of the Dockerfile as a folder, without the base's own system."""
    if not shutil.which("uv"):
        pytest.skip("uv is not installed")
    root = tmp_path_factory.mktemp("image")
    steps = instructions((docker / "Dockerfile").read_text())
    stages = [number for number, (name, _) in enumerate(steps) if name == "FROM"]
    [begin] = [n for n in stages if steps[n][1].endswith(" AS build")]
    end = min(n for n in stages if n > begin)
    _build(steps[begin + 1 : end], root)
    _, last = [n for n in stages if n >= begin]
    final = steps[last:]
    for name, rest in final:
        if name == "COPY":  # from the stage before, which lies in the same folder
            source, target = (root / path.lstrip("/") for path in rest.split()[-2:])
            if source != target:
                shutil.copytree(source, target)
    words = [word for n, rest in final if n == "ENV" for word in shlex.split(rest)]
    settings = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    first = root / settings["PATH"].split(":")[0].lstrip("/")
    [command] = [json.loads(rest) for name, rest in final if name == "CMD"]
    return Image(root, f"{first}:/usr/bin:/bin", command)


def _build(steps: list[tuple[str, str]], root: Path) -> None:
    """Does what a stage says below a folder; of ARG, COPY, ENV, RUN and WORKDIR alone."""
    arguments: dict[str, str] = {}
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "UV_NO_SYNC")
    }
    folder = root
    for name, rest in steps:
        for argument, value in arguments.items():
            rest = rest.replace(f"${{{argument}}}", value)
        match name:
            case "ARG":
                argument, _, value = rest.partition("=")
                arguments[argument] = value
            case "ENV":
                for word in shlex.split(rest):
                    key, _, value = word.partition("=")
                    environment[key] = f"{root}{value}" if value.startswith("/") else value
                # Neither decides what is installed, and both take minutes.
                environment |= {"UV_COMPILE_BYTECODE": "0", "UV_LINK_MODE": "hardlink"}
            case "WORKDIR":
                folder = root / rest.lstrip("/")
                folder.mkdir(parents=True)
            case "COPY" if "--from" not in rest:
                *sources, target = rest.split()
                _copy(sources, folder / target)
            case "COPY":
                pass  # uv, which is here
            case "RUN":
                command = re.sub(r"--mount=\S+\s*", "", rest)
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                if done.returncode and command.startswith("uv python install"):
                    # Without a network the interpreter is this one.
                    arguments["PYTHON_VERSION"] = "{}.{}".format(*sys.version_info)
                    continue
                assert done.returncode == 0, f"{command}\n{done.stderr}"
            case _:
                raise AssertionError(f"{name} is not known to this test")


def _copy(sources: list[str], target: Path) -> None:
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, target)


def documented(docker: Path) -> list[str]:
    """The commands of nas-sweep that the documents of containers run in one."""
    text = (docker / "README.md").read_text()
    found = re.findall(r"docker compose exec \S+ (nas-sweep .*)", text)
    job = YAML(typ="safe", pure=True).load(docker / "kuberay/rayjob.yaml")
    found.append(job["spec"]["entrypoint"])
    assert len(found) >= 2
    return list(dict.fromkeys(found))


@pytest.fixture
def bucket() -> Iterator[str]:
    """A bucket, and what finds it in the environment."""
    with s3_server():
        yield f"{make_bucket('image')}/results"


def test_what_is_needed_is_installed_and_starts(image: Image, compose: dict[str, Any]):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for found in project["optional-dependencies"].values() for one in found]
    names = [re.split(r"[<>=\[ ]", one)[0] for one in extras]
    assert {"boto3", "dash"} <= set(names)
    code = "import sys; from importlib.metadata import version; [*map(version, sys.argv[1:])]"
    image.run("python", "-c", code, *names)
    image.run("python", "-c", "import orchestrator.dash.app, results_schema.s3.store")
    assert image.run(*image.command).stdout.startswith("Usage: nas-sweep")
    for service in ("head", "cpu-worker"):
        ray, start, *options = compose["services"][service]["command"]
        known = image.run(ray, start, "--help").stdout
        assert all(option.partition("=")[0] in known for option in options)
    found = json.loads(image.run("nas-sweep", "doctor", "--format", "json", check=False).stdout)
    verdicts = {check["name"]: check["verdict"] for check in found}
    assert (verdicts["packages"], verdicts["ray"], verdicts["store"]) == ("ok", "ok", "ok")


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_documented_commands_run_on_a_folder_and_a_bucket(
    image: Image, docker: Path, tmp_path: Path, request: pytest.FixtureRequest, place: str
):
    store = str(tmp_path / "results") if place == "folder" else request.getfixturevalue("bucket")
    for line in documented(docker):
        words = shlex.split(line)
        words[words.index("--store") + 1] = store
        at = words.index("--address")
        del words[at : at + 2]  # the cluster's commands run in test_nodes.py
        words = [f"{image.root}{w}" if w.startswith("/experiments") else w for w in words]
        image.run(*words, *SMALLER)
    trials = Results(store).trials("fig9")
    assert trials["status"].tolist() == ["done"]
    for words in (
        ("status",), ("query", "FROM trials"), ("claims",), ("gc", "--yes"),
        ("export", "fig9", "--to", tmp_path / "out"), ("report", "fig9"),
    ):  # fmt: skip
        image.run("nas-sweep", *words, "--store", store)
