"""What `grid.genotype` may list: published cells, cells of the zoo, and a user's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticKnownError

from orchestrator.config.documents import show
from orchestrator.config.fields import check_axis
from orchestrator.config.refusals import bad_value, refusal, unknown_keys
from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import named, official_name, zoo, zoo_genotype
from workers.cells.notation import FIELDS, load_genotype, parse_genotype, parse_text

LONGEST_NAME = 60


@dataclass(frozen=True)
class Base:
    """A genotype that variants are drawn from.

    Attributes:
        name: A published cell's, or one that no published cell has.
        genotype: Its cells.
        file: That they were read from, if so.
    """

    name: str
    genotype: Genotype
    file: Path | None = field(default=None, compare=False)


_KEYS = {
    "zoo": ("zoo", "name"),
    "file": ("file", "name"),
    "text": ("name", "text"),
    "normal": ("name", *FIELDS),
}
"""The key that tells where a genotype comes from, to all that may stand with it."""


def _read(value: Any, info: ValidationInfo) -> Base:
    if isinstance(value, Base):
        return value
    if isinstance(value, str):
        return _published(value)
    if not isinstance(value, dict):
        raise PydanticKnownError("string_type")
    source = next((key for key in _KEYS if key in value), None)
    if source is None:
        raise SpecError(
            f"{show(value)} is no genotype",
            fix="name a published cell, or write {zoo: NAME}, {file: PATH}, "
            "{name: NAME, text: Genotype(…)} or {name: NAME, " + ": …, ".join(FIELDS) + ": …}",
        )
    problems = unknown_keys(value, _KEYS[source])
    for key in ("zoo", "file", "text", "name"):
        if not isinstance(value.get(key, ""), str):
            problems.append(bad_value(key, value[key], "string_type"))
    if problems:
        raise refusal(problems)
    folder = (info.context or {}).get("folder", Path())
    try:
        default, genotype = _find(source, value, folder)
    except SpecError as error:
        told = error.where.partition(" ")[0]  # the cell, if the genotype is written out
        key = told if told in value else source
        raise refusal([bad_value(key, value[key], error)]) from error
    try:
        name = _check_name(value.get("name", default), genotype)
    except SpecError as error:
        if "name" not in value:
            raise
        raise refusal([bad_value("name", value["name"], error)]) from error
    return Base(name, genotype, folder / value["file"] if source == "file" else None)


def _published(name: str) -> Base:
    try:
        return Base(official_name(name), named(name))
    except SpecError as error:
        if name in zoo():
            raise SpecError(error.what, fix=f"write {{zoo: {name}}}") from error
        raise


def _find(source: str, value: dict[str, Any], folder: Path) -> tuple[str | None, Genotype]:
    """The genotype, and the name that it brings along."""
    if source == "zoo":
        return value["zoo"], zoo_genotype(value["zoo"])
    if source == "file":
        path = folder / value["file"]
        return path.stem, load_genotype(path)
    if source == "text":
        return None, parse_text(value["text"])
    return None, parse_genotype({field: value[field] for field in FIELDS if field in value})


def _check_name(name: str | None, genotype: Genotype) -> str:
    fix = "add a name of its own, such as name: mine"
    if name is None:
        raise SpecError("the genotype has no name", fix=fix)
    plain = name.isprintable() and name == " ".join(name.split())
    if not plain or not 0 < len(name) <= LONGEST_NAME:
        raise SpecError(
            f"{show(name)} is no name", fix=f"use one line of at most {LONGEST_NAME} characters"
        )
    try:
        official = official_name(name)
    except SpecError:
        return name
    if named(official) != genotype:
        raise SpecError(f"{name} is the name of a published cell, and this is another", fix=fix)
    return official


def _distinct(bases: tuple[Base, ...]) -> tuple[Base, ...]:
    check_axis(tuple(base.name for base in bases))
    return bases


Bases = Annotated[tuple[Annotated[Base, PlainValidator(_read)], ...], AfterValidator(_distinct)]
"""The value of `grid.genotype`; paths of files start at the context's `folder`."""
