"""Specs: frozen dataclasses with checked fields, whose canonical JSON gives the ids.

Canonical JSON has sorted keys and no spaces. A field whose metadata has `absent` is omitted at that
value, so that a field added later keeps all older ids.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Self, get_type_hints

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.plugins import EXTENSION, NAME


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON that anyone may have written.

    Raises:
        ValueError: It is not JSON, not UTF-8, or nested deeper than Python's stack.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def optional(default: Any) -> Any:
    """Return a dataclass field that is omitted from the JSON at its default."""
    return field(default=default, metadata={"absent": default})


class Rule:
    """What a field's value may be.

    Args:
        check: Returns the value, given the field's name and what was given, or raises `SpecError`.
        schema: What it adds to the field's JSON Schema.
    """

    def __init__(self, check: Callable[[str, Any], Any], **schema: Any) -> None:
        self.check, self.schema = check, schema

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value, or raise `SpecError`."""
        return self.check(name, value)

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        return handler(core_schema) | self.schema


def whole(least: int, most: int = 2**31 - 1) -> Rule:
    """Return the rule of a field that holds an integer within bounds."""

    def check(name: str, value: Any) -> int:
        if type(value) is int and least <= value <= most:
            return value
        raise SpecError(f"{name} is {value!r}", fix=f"use a whole number from {least} to {most}")

    return Rule(check, minimum=least, maximum=most)


def real(*, zero: bool = False, below: float = math.inf) -> Rule:
    """Return the rule of a field that holds a finite float above 0, or from 0 on with `zero`."""
    bounds = f"{'from' if zero else 'above'} 0"
    bounds += f" and below {below:g}" if math.isfinite(below) else ""

    def check(name: str, value: Any) -> float:
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and (0 < number < below or (zero and number == 0)):
            # 1 and 1.0 must be one trial, and -0.0 and 0.0, which JSON spells differently.
            return number + 0.0
        raise SpecError(f"{name} is {value!r}", fix=f"use a finite number {bounds}")

    schema: dict[str, Any] = {"minimum" if zero else "exclusiveMinimum": 0}
    return Rule(check, **schema, **{"exclusiveMaximum": below} if math.isfinite(below) else {})


def one_of(names: tuple[str, ...]) -> Rule:
    """Return the rule of a field that holds one of some names."""

    def check(name: str, value: Any) -> str:
        if value in names:
            return value
        raise SpecError(f"unknown {name} {value!r}", fix=f"use one of {', '.join(names)}")

    return Rule(check, enum=[*names])


def dataset_name(name: str, value: Any) -> str:
    """Return the name of a data set, known here or not, or raise `SpecError` if it can't be one.

    The name of a user's own ends with a hyphen and ten hexadecimal digits of its content.
    """
    if type(value) is str and re.fullmatch(r"[a-z0-9_]{1,60}(-[0-9a-f]{10})?", value):
        return value
    fix = "use lower-case letters, digits and underscores"
    raise SpecError(f"{name} {value!r} is no name", fix=fix)


def extension_names(name: str, value: Any) -> tuple[str, ...]:
    """Return names of plug-ins' entries (`Entry.extension`), sorted, or raise `SpecError`."""
    given = tuple(value) if isinstance(value, list | tuple) else (value,)
    for one in given:
        if type(one) is not str or not EXTENSION.fullmatch(one):
            raise SpecError(f"{name} holds {one!r}", fix="write kind:name@version")
    return tuple(sorted(set(given)))


def entry_name(name: str, value: Any) -> str:
    """Return the name of a registry's entry, known here or not, or raise `SpecError`."""
    if type(value) is str and NAME.fullmatch(value):
        return value
    fix = "use a letter, then letters, digits and _, at most 40 in all"
    raise SpecError(f"{name} {value!r} is no name", fix=fix)


def entry_names(name: str, value: Any) -> tuple[str, ...]:
    """Return distinct names of a registry's entries, known here or not, or raise `SpecError`."""
    if not isinstance(value, list | tuple):
        raise SpecError(f"{name} is {value!r}", fix="use a list of names")
    names = tuple(entry_name(name, each) for each in value)
    if len(set(names)) < len(names):
        raise SpecError(f"{name} repeats a name: {', '.join(names)}", fix="name each once")
    return names


def flag(name: str, value: Any) -> bool:
    """Return true or false, or raise `SpecError`."""
    if type(value) is bool:
        return value
    raise SpecError(f"{name} is {value!r}", fix="use true or false")


def or_null(rule: Callable[[str, Any], Any]) -> Rule:
    """Return the rule of a field that may also hold None."""
    schema = rule.schema if isinstance(rule, Rule) else {}
    return Rule(lambda name, value: None if value is None else rule(name, value), **schema)


class Spec:
    """Base of the frozen dataclasses that decide numbers.

    A field annotated with a rule (`whole`, `real`, `one_of`, `dataset_name`) is checked by it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            for rule in getattr(hint, "__metadata__", ()):
                object.__setattr__(self, name, rule(name, getattr(self, name)))

    def to_json(self) -> str:
        """Return the spec as canonical JSON."""
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """The first 10 hexadecimal digits of the SHA-256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the spec that `to_json` wrote.

        Raises:
            SpecError: The text is not JSON, lacks a field, has an unknown one or a bad value.
        """
        try:
            data = parse_json(text)
        except ValueError as error:
            raise SpecError(f"{cls.__name__} is not JSON: {error}") from error
        return cls.from_parts(data)

    @classmethod
    def from_parts(cls, data: Any) -> Self:
        """Return the spec of parsed JSON; see `from_json`."""
        if not isinstance(data, Mapping):
            raise SpecError(f"{cls.__name__} is a JSON object, not {data!r}")
        known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
        if unknown := set(data) - set(known):
            what = f"{cls.__name__} has no field {sorted(unknown)}"
            raise SpecError(what, fix=f"use {', '.join(known)}")
        # A stored spec is complete: a default that has changed since must not creep into it.
        given = dict(data)
        for name, item in known.items():
            if name not in given:
                if "absent" not in item.metadata:
                    raise SpecError(f"{cls.__name__} lacks {name!r}")
                given[name] = item.metadata["absent"]
        for name, kind in _hints(cls).items():
            if kind is Genotype:
                given[name] = Genotype.from_json(given[name])
            elif isinstance(kind, type) and issubclass(kind, Spec):
                given[name] = kind.from_parts(given[name])
        return cls(**given)

    def _reset(self, *names: str) -> None:
        """Set fields without effect to their defaults, so that equal numbers have equal ids."""
        for item in fields(self):  # type: ignore[arg-type]
            if item.name in names:
                object.__setattr__(self, item.name, item.default)


@cache
def _hints(kind: type[Spec]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Genotype):
        return value.to_json()
    if not is_dataclass(value):
        return value
    return {
        item.name: _plain(getattr(value, item.name))
        for item in fields(value)
        if "absent" not in item.metadata or getattr(value, item.name) != item.metadata["absent"]
    }
