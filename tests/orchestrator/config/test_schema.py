"""The JSON Schema of experiments takes what loads, and refuses mistakes that editors can see."""

import json

import pytest
from experiment_files import GOOD, refused
from jsonschema import Draft202012Validator

from orchestrator.config.documents import parse_value
from orchestrator.config.experiment import Declaration
from orchestrator.config.schema import experiment_schema

WHOLE = {"title": "t", "claim": "c"}
GRID = {"genotype": ["DARTS"], "dataset": ["digits"]}


SCHEMA = Draft202012Validator(experiment_schema())


def test_it_has_every_key_with_its_meaning():
    schema = experiment_schema()
    Draft202012Validator.check_schema(schema)
    properties, specs = schema["properties"], schema["$defs"]
    assert properties.keys() == Declaration.model_fields.keys() | {"figure", "extends"}
    for part in ("NetworkSpec", "Recipe", "StopRule"):
        for name, field in specs[part]["properties"].items():
            assert name == "name" or field["description"], name
    recipe = specs["Recipe"]["properties"]
    assert recipe["epochs"]["minimum"] == 1
    assert recipe["decayed"]["enum"] == ["all", "weights"]


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
def test_what_does_not_load_does_not_fit(folder, change):
    whole = WHOLE | {"grid": GRID} | change
    assert not SCHEMA.is_valid(whole)
    (folder / "y.yaml").write_text(json.dumps(whole))
    assert refused("y.yaml")


def test_what_plug_ins_and_parents_add_fits():
    grid = GRID | {"dataset": ["my_data", {"npz": "flowers.npz"}]}
    named = {
        "recipe": {"optimizer": "lion"},
        "figures": {"a": "my_kind", "b": {"kind": "my", "x": 1}},
    }
    assert SCHEMA.is_valid(WHOLE | {"grid": grid} | named)
    assert SCHEMA.is_valid({"extends": "x.yaml", "figures": {"a": None}, "figure": {"groups": 3}})
    assert SCHEMA.is_valid({"program": "train.py:train", "title": "t", "metrics": {"loss": "min"}})
    assert not SCHEMA.is_valid(WHOLE)
    assert SCHEMA.is_valid(parse_value(GOOD, "x").data)


def test_the_command_prints_it(run):
    code, output, _ = run("experiments", "--schema")
    assert (code, json.loads(output)) == (0, experiment_schema())
