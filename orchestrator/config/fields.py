"""Kinds of values that the models of an experiment's files share.

Their errors tell, at the value itself, what is wrong and how to mend it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticKnownError

from orchestrator.config.documents import show, suggest
from orchestrator.config.refusals import bad_value, refusal, unknown_keys
from results_schema.errors import SpecError
from workers.data.catalog import describe

T = TypeVar("T")

_DERIVED = ("version", "stem_stride")
LONGEST_NAME = 100
"""Characters in the name of an experiment, figure or table: files are named by it and a suffix."""
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


def one_of(kind: str, known: Sequence[str]) -> BeforeValidator:
    """Admits some names alone; `kind` says what they name."""

    def check(name: Any) -> Any:
        if name not in known:
            raise SpecError(f"unknown {kind} {show(name)}", fix=suggest(str(name), known))
        return name

    return BeforeValidator(check)


def part(kind: type[T]) -> Callable[[Any], T]:
    """A validator that builds a checked dataclass, telling every bad value and not the first alone.

    A `version` counts changes of the code, and the stem's stride follows from the data set, so
    neither is a key.
    """
    known = [field.name for field in fields(kind) if field.name not in _DERIVED]  # type: ignore
    adapter = TypeAdapter(kind)

    def read(data: dict[str, Any]) -> T:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        return adapter.validate_json(json.dumps(data), strict=True)

    def problems_of(key: str, value: Any) -> list[InitErrorDetails]:
        try:
            read({key: value})
        except ValidationError as error:
            return [_below(key, value, detail) for detail in error.errors()]
        return []

    def build(value: Any) -> T:
        if isinstance(value, kind):
            return value
        if not isinstance(value, dict):
            raise PydanticKnownError("dict_type")
        problems = unknown_keys(value, known)
        given = {key: value[key] for key in value if key in known}
        try:
            built = read(given)
            if not problems:
                return built
        except ValidationError:
            for key in given:
                problems += problems_of(key, given[key])
            if not problems:
                raise
        raise refusal(problems)

    return build


def _below(key: str, value: Any, detail: Any) -> InitErrorDetails:
    """An error of a mapping of one key, as one of that key; a check of the whole is one of it."""
    if not detail["loc"]:
        return bad_value(key, value, detail["ctx"]["error"])
    return InitErrorDetails(
        type=detail["type"], loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {})
    )


def check_axis(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, which are some and distinct.

    Raises:
        SpecError: They are not.
    """
    if not values:
        raise SpecError("the list is empty", fix="name at least one value")
    return check_distinct(values)


def check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, which are distinct, if there are any.

    Raises:
        SpecError: They are not.
    """
    if repeated := [show(value) for value, times in Counter(values).items() if times > 1]:
        raise SpecError(f"{', '.join(repeated)} given more than once", fix="name every value once")
    return values


def check_file_name(name: str) -> str:
    """The name, if a file of the store can have it.

    Raises:
        SpecError: None can.
    """
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}", name):
        raise SpecError(
            f"{show(name)} cannot name a file of the store",
            fix=f"use letters, digits, _ and -, a letter or digit first, {LONGEST_NAME} in all",
        )
    return name


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if not line or not line.isprintable():
        raise SpecError(f"{show(text)} is no readable text", fix="write a sentence")
    return line


Axis = Annotated[tuple[T, ...], AfterValidator(check_axis)]
Text = Annotated[str, AfterValidator(_one_line)]
FileName = Annotated[str, AfterValidator(check_file_name)]
DatasetName = Annotated[str, AfterValidator(lambda name: describe(name).name)]
