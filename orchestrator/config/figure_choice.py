"""What an experiment says of one of its figures: a kind, and perhaps options of that kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticKnownError

from orchestrator.config.documents import show, suggest
from orchestrator.config.figure_kinds import KINDS, Options
from orchestrator.config.refusals import bad_value, refusal, unknown_keys
from results_schema.errors import SpecError


@dataclass(frozen=True)
class Choice:
    """A kind of figure and its options.

    Attributes:
        kind: A key of `KINDS`.
        options: Of that kind.
    """

    kind: str
    options: Options = field(default_factory=Options)

    def to_json(self) -> dict[str, Any]:
        """What `read_choice` makes the same choice of."""
        return {"kind": self.kind, **self.options.model_dump(mode="json", exclude_defaults=True)}

    def arguments(self, *, drawing: bool) -> dict[str, Any]:
        """The kind's own options by name: those that drawing takes, or those that the data do."""
        kind = KINDS[self.kind]
        own = kind.options.model_fields.keys() - Options.model_fields.keys()
        names = [name for name in own if (name in kind.drawing) == drawing]
        return {name: getattr(self.options, name) for name in names}


def read_choice(value: Any) -> Choice:
    """The choice that a YAML value makes: the name of a kind, or `{kind: NAME, OPTION: VALUE}`.

    Raises:
        SpecError: The kind is unknown.
        PydanticKnownError: The value is neither text nor a mapping.
        ValidationError: An option is unknown or has a bad value.
    """
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        return Choice(value, _kind(value)())
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    if "kind" not in value:
        missing = SpecError("no kind of figure is named", fix=f"use one of {', '.join(KINDS)}")
        raise refusal([bad_value("kind", value, missing)])
    try:
        model = _kind(value["kind"])
    except SpecError as error:
        raise refusal([bad_value("kind", value["kind"], error)]) from error
    given = {key: option for key, option in value.items() if key != "kind"}
    problems = unknown_keys(given, model.model_fields)
    known = {key: option for key, option in given.items() if key in model.model_fields}
    try:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        options = model.model_validate_json(json.dumps(known))
        if not problems:
            return Choice(value["kind"], options)
    except ValidationError as error:
        problems += _details(error)
    raise refusal(problems)


def _kind(name: Any) -> type[Options]:
    if not isinstance(name, str) or name not in KINDS:
        raise SpecError(f"unknown kind of figure {show(name)}", fix=suggest(str(name), KINDS))
    return KINDS[name].options


def _details(error: ValidationError) -> Iterator[InitErrorDetails]:
    for detail in error.errors(include_url=False):
        context: Mapping[str, Any] = detail.get("ctx", {})
        yield InitErrorDetails(
            type=detail["type"], loc=detail["loc"], input=detail["input"], ctx=dict(context)
        )
