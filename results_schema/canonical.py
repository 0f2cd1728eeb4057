"""Specs as canonical JSON, from which ids are hashed, and the checks of their fields.

Canonical JSON has sorted keys and no spaces. A field whose metadata has `absent` is omitted at that
value, so that a field added later keeps all older ids.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from results_schema.errors import SpecError
from results_schema.genotype import Genotype


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON that anyone may have written.

    Raises:
        ValueError: It is not JSON, not UTF-8, or nested deeper than Python's stack.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def parse_spec(text: str | bytes, what: str) -> dict[str, Any]:
    """Return the JSON object of a spec.

    Raises:
        SpecError: The text is not a JSON object.
    """
    try:
        data = parse_json(text)
    except ValueError as error:
        raise SpecError(f"a {what}'s spec is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(f"a {what}'s spec is a JSON object, not {type(data).__name__}")
    return data


def dump(spec: Any) -> str:
    """Return a dataclass as canonical JSON."""
    return json.dumps(_plain(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def build(kind: type[Any], data: Any) -> Any:
    """Return a dataclass from what `dump` made of it.

    Raises:
        SpecError: A field is missing or unknown, or has a bad value.
    """
    names = {item.name: item for item in fields(kind)}
    if not isinstance(data, Mapping):
        raise SpecError(f"{kind.__name__} is a JSON object, not {data!r}")
    if unknown := set(data) - set(names):
        raise SpecError(
            f"{kind.__name__} has no field {sorted(unknown)}", fix=f"use {', '.join(names)}"
        )
    # A stored spec is complete: a default that has changed since must not creep into it.
    given = dict(data)
    for name, known in names.items():
        if name not in given:
            if "absent" not in known.metadata:
                raise SpecError(f"{kind.__name__} lacks {name!r}")
            given[name] = known.metadata["absent"]
    return kind(**given)


def optional(default: Any) -> Any:
    """Return a dataclass field that is omitted from the JSON at its default."""
    return field(default=default, metadata={"absent": default})


def check_choice(owner: Any, name: str, known: tuple[str, ...]) -> None:
    """Raise `SpecError` unless a field is one of some names."""
    value = getattr(owner, name)
    if value not in known:
        raise SpecError(f"unknown {name} {value!r}", fix=f"use one of {', '.join(known)}")


def check_dataset(what: str, name: Any) -> None:
    """Raise `SpecError` unless something may name a data set."""
    if type(name) is not str or not re.fullmatch(r"[a-z0-9_]+", name):
        raise SpecError(
            f"{what} {name!r} is no name", fix="use lower-case letters, digits and underscores"
        )


def check_int(owner: Any, name: str, least: int, most: int = 2**31 - 1) -> None:
    """Raise `SpecError` unless a field is an integer within bounds."""
    value = getattr(owner, name)
    if type(value) is not int or not least <= value <= most:
        raise SpecError(f"{name} is {value!r}", fix=f"use a whole number from {least} to {most}")


def check_float(
    owner: Any, name: str, *, above: float, zero: bool = False, below: float = math.inf
) -> None:
    """Raise `SpecError` unless a field is a finite number within bounds; store it as a float.

    Args:
        owner: The dataclass.
        name: Name of the field.
        above: Exclusive lower bound.
        zero: Whether the lower bound itself is valid.
        below: Exclusive upper bound.
    """
    value = getattr(owner, name)
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    good = above < number < below or (zero and number == above)
    if not good or not math.isfinite(number):
        bounds = f"{'from' if zero else 'above'} {above:g}"
        bounds += f" and below {below:g}" if math.isfinite(below) else ""
        raise SpecError(f"{name} is {value!r}", fix=f"use a finite number {bounds}")
    # 1 and 1.0 must be one trial, and -0.0 and 0.0, which JSON spells differently.
    object.__setattr__(owner, name, number + 0.0)


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
