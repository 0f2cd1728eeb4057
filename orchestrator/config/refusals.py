"""How a validator of ours refuses several keys of one mapping at once.

Pydantic puts what it raises among its own errors, below the path of the mapping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from results_schema.errors import SpecError

UNKNOWN_KEY = "unknown_key"
"""Type of the error of a key that none of the known ones is; its context lists these."""


def bad_value(key: str, value: Any, error: SpecError | str) -> InitErrorDetails:
    """What is wrong with a key's value.

    Args:
        key: Of the mapping.
        value: As it was given.
        error: What is wrong in words, or one of pydantic's types of errors.
    """
    if isinstance(error, str):
        return InitErrorDetails(type=error, loc=(key,), input=value)
    return InitErrorDetails(type="value_error", loc=(key,), input=value, ctx={"error": error})


def unknown_keys(data: Mapping[str, Any], known: Collection[str]) -> list[InitErrorDetails]:
    """What is wrong with every key that is not among the known ones."""
    error = PydanticCustomError(UNKNOWN_KEY, "unknown key", {"known": list(known)})
    return [
        InitErrorDetails(type=error, loc=(key,), input=value)
        for key, value in data.items()
        if key not in known
    ]


def refusal(problems: Sequence[InitErrorDetails]) -> ValidationError:
    """The error that tells them all."""
    return ValidationError.from_exception_data("a mapping", list(problems))
