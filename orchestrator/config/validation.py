"""Checks documents against pydantic models, and reports errors at the line of the offending value.

Validators raise `SpecError` for one bad value, or `refuse` several keys of a mapping at once;
pydantic adds the path, and `validate` turns both into a line, what is wrong and how to fix it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from orchestrator.config.documents import Document, KeyPath, Problem, combine, dotted, show, suggest
from results_schema.errors import SpecError
from workers.data.catalog import describe

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

LONGEST_NAME = 100
"""Characters in the name of an experiment, figure or table: files are named by it and a suffix."""

_UNKNOWN_KEY = "unknown_key"
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
    """Return the model of a document's data.

    Args:
        model: Model of the whole document.
        document: The document as written.
        context: What the model's validators need beside the data.

    Raises:
        ConfigError: The data do not fit; every problem is listed with the place of its value.
    """
    try:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        return model.model_validate_json(json.dumps(document.data), context=context)
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            path: KeyPath = tuple(key for key in detail["loc"] if key != "[key]")
            problems.append(Problem(document.place(path), *_describe(detail, path, model)))
    raise combine(problems)


def _describe(detail: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> tuple[str, str]:
    """Return what is wrong and how to fix it."""
    kind, value, name = detail["type"], detail["input"], dotted(path)
    context = detail.get("ctx", {})
    if kind in ("extra_forbidden", _UNKNOWN_KEY):
        known = context.get("known") or _keys_beside(path, model)
        return f"unknown key {name}", suggest(str(path[-1]), known)
    if kind == "missing":
        field = _keys_beside(path, model).get(str(path[-1]))
        return f"{name} is missing", f"add {path[-1]}: {field.description}" if field else ""
    if kind in _TYPES:
        alone = kind == "tuple_type" and isinstance(value, str | int | float)
        fix = f"write it in brackets: [{value}]" if alone else ""
        return f"{name} is {show(value)}, not {_TYPES[kind]}", fix
    if kind == "too_long":
        return f"{name} is {show(value)}", f"keep {context['max_length']} values"
    error = context.get("error")
    if not isinstance(error, SpecError):
        message = detail["msg"].removeprefix("Value error, ")
        return f"{name} is {show(value)}", message.replace("Input should be", "it should be")
    if path and error.what.startswith(f"{path[-1]} is "):
        return f"{name} is {show(value)}", error.fix
    where = f"{error.where}: " if error.where else ""
    return f"{name}: {where}{error.what}", error.fix


def _keys_beside(path: KeyPath, model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the keys that may be used beside the last one of a path, if models define them."""
    for key in path[:-1]:
        below = model.model_fields[str(key)].annotation if str(key) in model.model_fields else None
        if not (isinstance(below, type) and issubclass(below, BaseModel)):
            return {}
        model = below
    return {field.alias or key: field for key, field in model.model_fields.items()}


def refuse(problems: Sequence[InitErrorDetails]) -> ValidationError:
    """Return the error for a validator to raise: pydantic adds it below the mapping's path."""
    return ValidationError.from_exception_data("a mapping", list(problems))


def bad_value(key: str, value: Any, error: SpecError | str) -> InitErrorDetails:
    """Return what is wrong with the value of a key; `error` may be a type of pydantic's errors."""
    if isinstance(error, str):
        return InitErrorDetails(type=error, loc=(key,), input=value)
    return InitErrorDetails(type="value_error", loc=(key,), input=value, ctx={"error": error})


def unknown_keys(data: Mapping[str, Any], known: Collection[str]) -> list[InitErrorDetails]:
    """Return a problem for every key that is not among the known ones."""
    error = PydanticCustomError(_UNKNOWN_KEY, "unknown key", {"known": list(known)})
    return [
        InitErrorDetails(type=error, loc=(key,), input=value)
        for key, value in data.items()
        if key not in known
    ]


def mapping_of(kind: type[T]) -> Callable[[Any], T]:
    """Return a validator that builds a dataclass or a model, and reports every bad value.

    A dataclass checks itself when built and stops at the first bad value; hence each key is tried
    alone once the whole has failed.
    """

    def build(value: Any) -> T:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise PydanticKnownError("dict_type")
        known, read = _reader(kind)
        problems = unknown_keys(value, known)
        given = {key: value[key] for key in value if key in known}
        try:
            built = read(given)
            if not problems:
                return built
        except ValidationError:
            for key in given:
                try:
                    read({key: given[key]})
                except ValidationError as error:
                    problems += [_below(key, given[key], one) for one in error.errors()]
            if not problems:
                raise
        raise refuse(problems)

    return build


@cache
def _reader(kind: type[Any]) -> tuple[list[str], Callable[[dict[str, Any]], Any]]:
    """Return the keys of a class, and what builds it from a mapping of some of them."""
    adapter = TypeAdapter(kind)
    if issubclass(kind, BaseModel):
        known = list(kind.model_fields)
    else:
        # `version` counts changes of the code, and the stem's stride follows from the dataset.
        derived = ("version", "stem_stride")
        known = [field.name for field in fields(kind) if field.name not in derived]
    return known, lambda data: adapter.validate_json(json.dumps(data), strict=True)


def _below(key: str, value: Any, detail: ErrorDetails) -> InitErrorDetails:
    """Return an error of the mapping {key: value} as an error of the key."""
    if not detail["loc"]:
        return bad_value(key, value, detail["ctx"]["error"])  # type: ignore
    return InitErrorDetails(
        type=detail["type"], loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {})
    )


def one_of(kind: str, known: Sequence[str]) -> BeforeValidator:
    """Return a validator that admits known names only; `kind` is what they name, for errors."""

    def check(name: Any) -> Any:
        if name not in known:
            raise SpecError(f"unknown {kind} {show(name)}", fix=suggest(str(name), known))
        return name

    return BeforeValidator(check)


def check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values, which may be empty.

    Raises:
        SpecError: A value is repeated.
    """
    if repeated := [show(value) for value, times in Counter(values).items() if times > 1]:
        raise SpecError(f"{', '.join(repeated)} given more than once", fix="name every value once")
    return values


def check_axis(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values.

    Raises:
        SpecError: There are none, or a value is repeated.
    """
    if not values:
        raise SpecError("the list is empty", fix="name at least one value")
    return check_distinct(values)


def check_file_name(name: str) -> str:
    """Return the name.

    Raises:
        SpecError: No file in a store can have it.
    """
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}", name):
        raise SpecError(
            f"{show(name)} cannot name a file of the store",
            fix=f"use letters, digits, _ and -, a letter or digit first, {LONGEST_NAME} in all",
        )
    return name


def _join_lines(text: str) -> str:
    line = " ".join(text.split())
    if not line or not line.isprintable():
        raise SpecError(f"{show(text)} is no readable text", fix="write a sentence")
    return line


Axis = Annotated[tuple[T, ...], AfterValidator(check_axis)]
Text = Annotated[str, AfterValidator(_join_lines)]
FileName = Annotated[str, AfterValidator(check_file_name)]
DatasetName = Annotated[str, AfterValidator(lambda name: describe(name).name)]
