"""The wheel, built and used in an environment of its own, outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.docs
ROOT = Path(__file__).parents[1]
SOURCES = ("nas_sweep", "orchestrator", "workers", "results_schema", "experiments")
FILES = ("pyproject.toml", "README.md", "LICENSE")
PLUGIN = """
import nas_sweep
from torch import nn

@nas_sweep.operation("blur", version=2)
def blur(channels, stride, affine):
    return nn.AvgPool2d(3, stride, padding=1)
"""
OWN = """
title: A cell of my own
claim: None, this is a test.
plugins: [blur.py]
grid:
  genotype:
    - name: mine
      normal: {nodes: [[[blur, 0], [sep_conv_3x3, 1]]], concat: [2]}
      reduce: {nodes: [[[blur, 0], [skip_connect, 1]]], concat: [2]}
  dataset: [digits]
network: {cells: 3, channels: 2}
recipe: {epochs: 1}
"""


class Installed:
    """An environment with nas-sweep, and with the packages that this one has."""

    def __init__(self, folder: Path, wheel: Path, kind: str) -> None:
        self.kind = kind
        venv.create(folder / "venv")
        self.python = folder / "venv/bin/python"
        code = "import site; print(site.getsitepackages()[0])"
        packages = Path(self._run(folder, [self.python, "-c", code]).strip())
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        # Their own .pth files, of which one may name a checkout, are not read through this one.
        (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
        self.folder = folder / "empty"
        self.folder.mkdir()

    def run(self, *arguments: str, code: int = 0) -> str:
        """What the installed command prints."""
        start = "import sys; from importlib.metadata import entry_points as e;"
        start += "[one] = e(group='console_scripts', name='nas-sweep'); sys.exit(one.load()())"
        return self._run(self.folder, [self.python, "-c", start, *arguments], code)

    def python_code(self, text: str) -> str:
        """What a program prints."""
        return self._run(self.folder, [self.python, "-c", text])

    @staticmethod
    def _run(folder: Path, command: list[object], code: int = 0) -> str:
        named = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NAS_SWEEP"))}
        ran = subprocess.run(
            [str(one) for one in command],
            cwd=folder,
            env=named | {"COLUMNS": "200", "XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr


def built(folder: Path, kind: str) -> tuple[Path, Path]:
    """The sources, copied so that no build is left in the checkout, and a wheel of them."""
    sources, ignored = folder / "checkout", shutil.ignore_patterns("__pycache__", ".*")
    sources.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    for name in FILES:
        shutil.copyfile(ROOT / name, sources / name)
    code = f"import sys, setuptools.build_meta as build; print(build.{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    ran = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    [wheel] = folder.glob("*.whl")
    return sources, wheel


@pytest.fixture(scope="module", params=["build_wheel", "build_editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp(request.param)
    sources, wheel = built(folder, request.param)
    if request.param == "build_wheel":
        shutil.rmtree(sources)
    return Installed(folder, wheel, request.param)


def test_every_package_is_named():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in SOURCES
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert sorted(named) == sorted({*there, "orchestrator.experiments"})


def test_packaged_experiments_are_planned_in_any_folder(installed: Installed):
    assert "fig9" in installed.run("experiments")
    assert "GPU-hours" in installed.run("plan", "fig9", "--profile", "laptop")
    assert "did you mean fig9" in installed.run("plan", "fig99", code=2)
    # A path that exists wins over a packaged name.
    (installed.folder / "fig9").mkdir()
    assert "the folder has no experiment" in installed.run("plan", "fig9", code=2)
    (installed.folder / "fig9").rmdir()


def test_one_is_copied_with_what_it_extends(installed: Installed):
    installed.run("experiments", "--copy", "fig14", "--to", "mine")
    copies = sorted(path.name for path in (installed.folder / "mine").iterdir())
    assert copies == ["fig13.yaml", "fig14.yaml"]
    assert "GPU-hours" in installed.run("plan", "mine/fig14.yaml", "--profile", "laptop")
    assert "there is a file" in installed.run("experiments", "--copy", "fig14", "--to=mine", code=2)


def test_an_experiment_with_a_plugin_trains_outside_the_checkout(installed: Installed):
    (installed.folder / "own.yaml").write_text(OWN)
    (installed.folder / "blur.py").write_text(PLUGIN)
    assert "blur" in installed.run("plugins", "own.yaml")
    spec = installed.run("plan", "own.yaml", "--spec", "digits")
    assert '"operation:blur@2"' in spec
    (installed.folder / "trial.json").write_text(spec)
    program = "import sys; from workers.train import main; "
    program += "sys.exit(main(['trial.json', '--device', 'cpu', '--plugin', 'blur.py']))"
    assert "done" in installed.python_code(program)
    [trial] = (installed.folder / "results/checkpoints").iterdir()
    load = f"import nas_sweep; {{}}; print(nas_sweep.load_network('results', '{trial.name}'))"
    assert "AvgPool2d" in installed.python_code(load.format("nas_sweep.load_plugin('blur.py')"))
    without = "import nas_sweep\ntry: nas_sweep.load_network('results', 'digits')\n"
    without += "except ValueError as error: print(error)"
    assert "the operation blur, version 2, is needed" in installed.python_code(without)


@pytest.mark.timeout(600)
def test_the_documented_study_runs_in_an_empty_folder(installed: Installed):
    if installed.kind == "build_editable":
        pytest.skip("once is enough")
    text = (ROOT / "docs/own-study.md").read_text()
    blocks = re.findall(r"^```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    plugin, experiment, evaluation = blocks
    (installed.folder / "my_lab.py").write_text(plugin)
    (installed.folder / "mixed.yaml").write_text(experiment)
    draws = np.random.RandomState(0)
    for kind, name in enumerate(["cats", "dogs", "hens"]):
        (installed.folder / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = draws.randint(0, 120, (20, 24, 3), dtype=np.uint8)
            pixels[:, 6 * kind : 6 * kind + 8, kind] += 120
            Image.fromarray(pixels).save(installed.folder / f"photos/{name}/{number}.png")
    assert "16 trials" in installed.run("plan", "mixed.yaml")
    shown = installed.run("launch", "mixed.yaml", "--device", "cpu")
    assert "weight decay" in shown and "±" in shown
    pictures = {path.stem for path in (installed.folder / "results/figures").glob("*.html")}
    assert {"mixed-cost", "mixed-curves"} <= pictures
    for command in re.findall(r"^    nas-sweep (claims.*|show.*)$", text, re.MULTILINE):
        assert "error" not in installed.run(*command.split())
    found = json.loads(installed.run("claims", "mixed", "--format", "json"))
    assert {"mixed-as-good", "decay-helps"} <= {one["claim"].partition(":")[2] for one in found}
    table = installed.python_code(evaluation)
    assert "mean" in table and "mixed" in table
    assert "16 ended" in installed.run("plan", "mixed.yaml")
