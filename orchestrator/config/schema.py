"""A JSON Schema of experiments for editors, made from the models: `nas-sweep experiments --schema`.

It knows keys, types, names and bounds, and what each key means; `nas-sweep plan` checks the rest.
Where plug-ins can add names, others than the built-in ones are allowed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from orchestrator.config.axes import GENERATED
from orchestrator.config.documents import DERIVED
from orchestrator.config.experiment import Declaration, Settings
from orchestrator.config.grid import CONNECTIONS, FIELDS, OPERATIONS, REDUCTIONS, SAMPLINGS
from orchestrator.config.recipes import RECIPES
from orchestrator.config.registry import FIGURE_KINDS
from results_schema.stopping import StopRule
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import NAMES, zoo
from workers.cells.sampling import UniformOperations
from workers.data.catalog import DATASETS
from workers.data.custom import SOURCES

Schema = dict[str, Any]


def experiment_schema() -> Schema:
    """Return the JSON Schema (2020-12) of an experiment's file."""
    schema = _untitled(Declaration.model_json_schema())
    specs = schema["$defs"]
    for kind in (NetworkSpec, Recipe, StopRule):
        properties, meanings = specs[kind.__name__]["properties"], _meanings(kind)
        kept = properties.keys() - {*DERIVED}
        described = {name: properties[name] | {"description": meanings[name]} for name in kept}
        specs[kind.__name__] = _object(described)
    for key in ("network", "recipe"):
        del schema["properties"][key]["default"]
    specs["Recipe"]["properties"]["name"] = {"enum": [*RECIPES], "default": "section4"}
    figure = {"anyOf": [_open(FIGURE_KINDS), {"type": "null"}, *_figures()]}
    tables = schema["properties"]["tables"]
    tables["additionalProperties"] = {"anyOf": [tables["additionalProperties"], {"type": "null"}]}
    grid = specs.pop("Grid")
    required = {"title", "claim", "grid"}
    schema["properties"] |= {
        "extends": {"type": "string", "description": "file whose keys hold where this has none"},
        "figure": figure | {"description": "a figure that has the experiment's name"},
        "figures": {"type": "object", "additionalProperties": figure},
        "params": {"type": "object", "description": "what the program gets, by name"},
        "metrics": {"type": ["object", "array"], "description": "what the program reports"},
        "grid": _grid(grid),
    }
    whole = {"required": sorted(required), "properties": {"grid": {"required": grid["required"]}}}
    del schema["required"]
    # A program decides all but its parameters, and what a file extends may give the rest.
    schema["anyOf"] = [{"required": ["extends"]}, {"required": ["program"]}, whole]
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Experiment"}
    return about | schema


def _grid(schema: Schema) -> Schema:
    own = schema["properties"]
    generated = [
        {"type": "object", "required": [form], "description": about}
        for form, (_, _, about) in GENERATED.items()
    ]
    several = {"anyOf": [{"type": "array", "minItems": 1}, *generated]}
    axes = rf"^({'|'.join(Settings.model_fields)})(\..+)?$"
    axis = {axes: several | {"description": "values of this key of the experiment"}}
    cells = {"anyOf": [{"enum": [*NAMES]}, _genotype()]}
    data = [{"type": "object", "required": [kind]} for kind in SOURCES]
    own |= {
        "genotype": own["genotype"] | {"items": cells, "minItems": 1},
        "dataset": own["dataset"] | {"items": {"anyOf": [_open(DATASETS), *data]}},
        "learning_rate": {"anyOf": [own["learning_rate"], *generated]},
        "seed": {"anyOf": [own["seed"], *generated]},
        "variants": {"anyOf": [{"enum": ["none", *CONNECTIONS]}, _variants()]},
        "zip": {"type": ["object", "array"], "description": "axes that vary together"},
        "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1}},
    }
    kept = {key: value for key, value in schema.items() if key != "required"}
    return kept | {"properties": own, "patternProperties": axis}


def _genotype() -> Schema:
    texts = {key: {"type": "string"} for key in ("file", "name", "text")}
    cells = {key: {} for key in FIELDS}
    return _object({"zoo": {"enum": [*zoo()]}, **texts, **cells})


def _variants() -> Schema:
    draws = [_draw(kind, {"mode": {"const": mode}}) for mode, kind in SAMPLINGS.items()]
    fixed = [mode for mode in CONNECTIONS if mode not in SAMPLINGS]
    named = _object({"mode": {"enum": fixed}})
    operations = _draw(UniformOperations, {"mode": {"const": "uniform"}})
    return _object(
        {
            "connections": {"anyOf": [{"enum": [*CONNECTIONS]}, named, *draws]},
            "operations": {"anyOf": [{"enum": [*OPERATIONS]}, operations]},
            "indices": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "reduction": {"enum": [*REDUCTIONS]},
        }
    )


def _draw(kind: type[Any], more: Mapping[str, Schema]) -> Schema:
    return _object(_untitled(TypeAdapter(kind).json_schema())["properties"] | more)


def _figures() -> list[Schema]:
    """Return the schema of each kind's mapping, of other kinds, and of what a parent's lacks."""
    found = []
    for kind, known in FIGURE_KINDS.items():
        options = _untitled(known.options.model_json_schema())["properties"]
        found.append(_object({"kind": {"const": kind}} | options) | {"required": ["kind"]})
    other = {"required": ["kind"], "properties": {"kind": {"not": {"enum": [*FIGURE_KINDS]}}}}
    return [*found, {"type": "object", **other}, {"type": "object", "not": {"required": ["kind"]}}]


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Return the descriptions of attributes in a class' docstring."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section.partition("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _open(names: Iterable[str]) -> Schema:
    """Return the schema of a name that is known, or a plug-in's."""
    return {"anyOf": [{"enum": [*names]}, {"type": "string"}]}


def _untitled(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
