"""The JSON Schema of experiments takes what loads, and refuses mistakes that editors can see."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from experiment_files import GOOD, refused
from jsonschema import Draft202012Validator

from orchestrator.config.documents import parse_value
from orchestrator.config.experiment import Declaration
from orchestrator.config.schema import experiment_schema

ROOT = Path(__file__).parents[3]
FILES = [path for path in (ROOT / "experiments").rglob("*.yaml") if path.parent.name != "profiles"]
SNIPPETS = re.findall(
    r"^```yaml\n(.*?)^```$", (ROOT / "docs/experiments.md").read_text("utf-8"), re.DOTALL | re.M
)
WHOLE = {"title": "t", "claim": "c"}
GRID = {"genotype": ["DARTS"], "dataset": ["digits"]}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(experiment_schema())
    return Draft202012Validator(experiment_schema())


def read(text: str) -> Any:
    return parse_value(text, "x").data


def test_every_experiment_fits(schema):
    for path in FILES:
        assert not list(schema.iter_errors(read(path.read_text("utf-8")))), path


def test_every_documented_snippet_fits(schema):
    for text in SNIPPETS:
        shown = read(text)
        if "description" not in shown:  # a profile
            whole = WHOLE | {"grid": GRID} | shown
            whole["grid"] = GRID | whole["grid"]
            assert not list(schema.iter_errors(whole)), text


def test_it_has_every_key_with_its_meaning():
    properties = experiment_schema()["properties"]
    assert properties.keys() == Declaration.model_fields.keys() | {"figure", "extends"}
    for part in ("network", "recipe"):
        for name, field in properties[part]["properties"].items():
            assert name == "name" or field["description"], name
    assert properties["recipe"]["properties"]["epochs"]["minimum"] == 1
    assert properties["recipe"]["properties"]["decayed"]["enum"] == ["all", "weights"]


@pytest.mark.parametrize(
    "change",
    [
        {"title": 5},
        {"grid": {"genotype": "DARTS", "dataset": []}},
        {"grid": GRID | {"genotype": []}},
        {"grid": GRID | {"genotype": ["SNAZ"]}},
        {"grid": GRID | {"seed": [-1]}},
        {"grid": GRID | {"seed": 0}},
        {"grid": GRID | {"recipe.epochs": 3}},
        {"grid": GRID | {"recipes.epochs": [3]}},
        {"grid": GRID | {"exclude": {"seed": 0}}},
        {"grid": GRID | {"variants": "paper5"}},
        {"grid": GRID | {"variants": {"connections": {"mode": "paper4", "n": 3}}}},
        {"grid": GRID | {"variants": {"connections": {"mode": "uniform", "n": 1.5}}}},
        {"network": {"cells": 2}},
        {"recipe": {"weigth_decay": 0.1}},
        {"recipe": {"decayed": "none"}},
        {"recipe": {"name": "table2"}},
        {"landscape": {"contours": {}}},
        {"tables": {"a": "error"}},
        {"figures": {"a": {"kind": "contours", "show": ["test_loss"]}}},
        {"figures": {"a": {"kind": "convergence", "groups": 0}}},
        {"figure": {"kind": "trend", "title": 3}},
    ],
)
def test_what_does_not_load_does_not_fit(schema, folder, change):
    whole = WHOLE | {"grid": GRID} | change
    assert not schema.is_valid(whole)
    (folder / "y.yaml").write_text(json.dumps(whole))
    assert refused("y.yaml")


def test_what_plug_ins_and_parents_add_fits(schema):
    grid = GRID | {"dataset": ["my_data", {"npz": "flowers.npz"}]}
    named = {
        "recipe": {"optimizer": "lion"},
        "figures": {"a": "my_kind", "b": {"kind": "my", "x": 1}},
    }
    assert schema.is_valid(WHOLE | {"grid": grid} | named)
    assert schema.is_valid({"extends": "x.yaml", "figures": {"a": None}, "figure": {"groups": 3}})
    assert schema.is_valid({"program": "train.py:train", "title": "t", "metrics": {"loss": "min"}})
    assert not schema.is_valid(WHOLE)
    assert schema.is_valid(read(GOOD))


def test_the_command_prints_it(run):
    code, output, _ = run("experiments", "--schema")
    assert (code, json.loads(output)) == (0, experiment_schema())
