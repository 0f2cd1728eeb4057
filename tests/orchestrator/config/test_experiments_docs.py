"""docs/experiments.md: that what it shows loads, and that its tables hold every key and default."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from pydantic import BaseModel

from orchestrator.config.documents import parse_value
from orchestrator.config.experiment import Declaration, Profile, load_experiment
from orchestrator.config.grid import CONNECTIONS, OPERATIONS, Grid, Variants
from orchestrator.config.landscape import Landscape
from orchestrator.config.registry import FIGURE_KINDS, Options
from orchestrator.config.schema import experiment_schema
from results_schema.trial import _OPTIONS, NetworkSpec, Recipe
from workers.cells.sampling import Profile as Slots
from workers.cells.sampling import Stratified, Uniform
from workers.data.catalog import DATASETS
from workers.data.custom import ImageFolder
from workers.data.readers import ARRAYS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/experiments.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SNIPPETS = [text for language, text in BLOCKS if language == "yaml"]
SNIPPETS += re.findall(
    r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
PLUGINS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/plugins.md").read_text(), re.DOTALL | re.MULTILINE
)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
ROWS = {
    row[1].strip(): row[2] for row in (line.split("|") for line in TEXT.splitlines()) if row[1:]
}
"""First column of every table to the second."""


def read(text: str) -> Any:
    return parse_value(text, "docs").data


@pytest.fixture
def folder(tmp_path, monkeypatch, own_plugins):
    (cell,) = (text for language, text in BLOCKS if language == "json")
    (tmp_path / "my_cell.json").write_text(cell)
    draws = np.random.RandomState(0)
    for label in ("bee", "cat"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(5):
            image = Image.fromarray(draws.randint(0, 256, (40, 50, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / label / f"{number}.png")
    images, labels = draws.randint(0, 256, (8, 16, 16), dtype=np.uint8), np.arange(8) % 2
    flowers = dict(zip(ARRAYS, [images, labels] * 2, strict=True))
    np.savez(tmp_path / "flowers.npz", **flowers)
    (blobs,) = (text for text in PLUGINS if "my_data.py" in text)
    (tmp_path / "my_data.py").write_text(blobs)
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "cache"))
    (tmp_path / "fig9.yaml").write_bytes((ROOT / "experiments/fig9.yaml").read_bytes())
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_loads(folder, snippet):
    shown, profile = read(snippet), None
    grid = {"genotype": ["DARTS"], "dataset": ["digits"]}
    if "description" in shown:
        profile = folder / "shown.yaml"
        profile.write_text(snippet)
    else:
        grid |= shown.pop("grid", {})
    whole = {"title": "t", "claim": "c", "grid": grid} | (shown if profile is None else {})
    assert not list(Draft202012Validator(experiment_schema()).iter_errors(whole))
    (folder / "x.yaml").write_text(json.dumps(whole))
    assert load_experiment(folder / "x.yaml", profile=profile and str(profile)).members()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_loads(command):
    program, _, path, *options = shlex.split(command)
    assert program == "nas-sweep"
    assert set(options[::2]) == {"--set"}
    assert load_experiment(ROOT / path, overrides=options[1::2]).members()


def plain(default: Any) -> Any:
    """A default as YAML has it."""
    if isinstance(default, Variants):
        return "none"
    if isinstance(default, Landscape):
        return {}
    return list(default) if isinstance(default, tuple) else default


def keys_of(model: type[BaseModel], path: str = "") -> dict[str, list[Any]]:
    """The keys of a model and their defaults, of which a required key has none."""
    return {
        path + (field.alias or key): [] if field.is_required() else [plain(field.default)]
        for key, field in model.model_fields.items()
    }


def options_of(kind: type[Any], path: str = "") -> dict[str, list[Any]]:
    """The keys of a dataclass and their defaults."""
    return {
        path + f.name: [plain(f.default)]
        for f in fields(kind)
        if f.name not in ("version", "stem_stride")
    }


SHARED = Options.model_fields
"""Options of every kind of figure."""

FIGURE_OPTIONS = {k: v for kind in FIGURE_KINDS.values() for k, v in keys_of(kind.options).items()}
KEYS = {
    **keys_of(Declaration),
    **keys_of(Grid, "grid."),
    **options_of(NetworkSpec, "network."),
    **options_of(Recipe, "recipe."),
    **keys_of(Profile),
    **options_of(Slots),
    **options_of(Stratified),
    **options_of(Uniform),
    **{k: v for k, v in FIGURE_OPTIONS.items() if k not in SHARED},
    "n": [Uniform.n, Stratified.n],
    "mode": [],
    **{key: [] for key in ("grid.PATH", "figure", "extends")},
    **{key: [[]] for key in ("grid.zip", "grid.exclude")},
}


def test_every_key_is_reported_with_its_default():
    keys = KEYS.keys() - {"grid", "network", "recipe"}
    lacking = sorted(key for key in keys if f"`{key}`" not in ROWS)
    assert not lacking, f"docs/experiments.md has no row for {', '.join(lacking)}"
    shown = {key: [read(text) for text in re.findall("`(.*?)`", ROWS[f"`{key}`"])] for key in keys}
    assert shown == {key: KEYS[key] for key in keys}


def test_every_key_of_a_data_set_is_reported():
    [table] = re.findall(r"## Data sets\n(.*?)\nPaths begin", TEXT, re.DOTALL)
    for name, [default] in options_of(ImageFolder).items():
        if name != "folder":
            assert re.search(rf"`{name}`.* \| `{json.dumps(default)}` \|", table), name


def test_every_name_is_reported():
    names = [*CONNECTIONS, *OPERATIONS, *FIGURE_KINDS]
    assert [name for name in names if f"`{name}`" not in ROWS] == []
    assert [name for name in [*DATASETS, *SHARED] if f"`{name}`" not in TEXT] == []
    for key, choices in _OPTIONS.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `recipe.{key}` |"))
        assert [name for name in choices if f"`{name}`" not in row] == []
