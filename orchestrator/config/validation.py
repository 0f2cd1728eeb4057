"""Checks a document against a model, and tells pydantic's errors in this project's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.config.documents import Document, KeyPath, Problem, dotted, report, show, suggest
from orchestrator.config.refusals import UNKNOWN_KEY
from results_schema.errors import SpecError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

_TYPES = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
}


def validate(model: type[M], document: Document, **context: Any) -> M:
    """The model of a document's data.

    Args:
        model: Of the whole document.
        document: As it was written.
        context: What the model's validators have to know beside the data.

    Raises:
        ConfigError: Tells every problem by the place of its value.
    """
    try:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        return model.model_validate_json(json.dumps(document.data), context=context)
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            path: KeyPath = tuple(key for key in detail["loc"] if key != "[key]")
            problems.append(Problem(document.place(path), *_word(detail, path, model)))
    raise report(problems)


def _word(detail: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong and how to mend it."""
    kind, value, name = detail["type"], detail["input"], dotted(path)
    context = detail.get("ctx", {})
    if kind in ("extra_forbidden", UNKNOWN_KEY):
        known = context.get("known") or _keys(model, path)
        return f"unknown key {name}", suggest(str(path[-1]), known)
    if kind == "missing":
        field = _keys(model, path).get(str(path[-1]))
        return f"{name} is missing", f"add {path[-1]}: {field.description}" if field else ""
    if kind in _TYPES:
        alone = kind == "tuple_type" and isinstance(value, str | int | float)
        fix = f"write it in brackets: [{value}]" if alone else ""
        return f"{name} is {show(value)}, not {_TYPES[kind]}", fix
    if kind == "too_long":
        return f"{name} is {show(value)}", f"keep {context['max_length']} values"
    error = context.get("error")
    if not isinstance(error, SpecError):
        said = detail["msg"].removeprefix("Value error, ")
        return f"{name} is {show(value)}", said.replace("Input should be", "it should be")
    if path and error.what.startswith(f"{path[-1]} is "):
        return f"{name} is {show(value)}", error.fix
    where = f"{error.where}: " if error.where else ""
    return f"{name}: {where}{error.what}", error.fix


def _keys(model: type[BaseModel], path: KeyPath) -> dict[str, FieldInfo]:
    """The keys that may stand beside the last one of a path, if a model tells them."""
    for key in path[:-1]:
        below = model.model_fields[str(key)].annotation if str(key) in model.model_fields else None
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            return {}
        model = below
    return {field.alias or key: field for key, field in model.model_fields.items()}
