"""Plain data in which every value knows where it was written, and problems told by that place."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from results_schema.errors import ConfigError

MAX_DEPTH = 20
"""Keys and list positions on the way from the top of a document down to a value."""

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document down to a value."""


class Place(NamedTuple):
    """Where a value was written: a file and its line, or a command line option (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Problem(NamedTuple):
    """One thing wrong with a document."""

    place: Place
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the place of each of its values."""

    data: Any
    places: Mapping[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """The place of a value or, where it is not written, of what it would belong to."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def part(self, path: KeyPath) -> Document:
        """The document below a path, which must exist."""
        data = self.data
        for key in path:
            data = data[key]
        below = {p[len(path) :]: at for p, at in self.places.items() if p[: len(path)] == path}
        return Document(data, below)

    def override(self, path: KeyPath, value: Document) -> Document:
        """This document with one value replaced or added, which keeps its own places.

        Raises:
            ConfigError: The path leads through something that is not a mapping.
        """
        origin = value.place(())

        def replace(data: Any, depth: int) -> Any:
            if depth == len(path):
                return value.data
            if not isinstance(data, dict):
                raise ConfigError(
                    f"{dotted(path)} cannot be set: {dotted(path[:depth])} is {show(data)}",
                    where=str(origin),
                    fix=f"set {dotted(path[:depth])} as a whole",
                )
            return data | {path[depth]: replace(data.get(path[depth], {}), depth + 1)}

        data = replace(self.data, 0)
        places = {path[:depth]: origin for depth in range(1, len(path))}
        places |= {p: at for p, at in self.places.items() if p[: len(path)] != path}
        places |= {path + p: at for p, at in value.places.items()}
        return Document(data, places)


def report(problems: Iterable[Problem]) -> ConfigError:
    """One error that tells every problem, in the order of their places."""
    ordered = sorted(set(problems))
    errors = [ConfigError(what, where=str(at), fix=fix) for at, what, fix in ordered]
    if len(errors) == 1:
        return errors[0]
    rest = [f"and {len(errors) - 20} problems more"] if len(errors) > 20 else []
    return ConfigError("\n".join([*map(str, errors[:20]), *rest]))


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `grid.genotype[1]`."""
    keys = (f"[{key}]" if isinstance(key, int) else f".{printable(key)}" for key in path)
    return "".join(keys).removeprefix(".")


def show(value: Any) -> str:
    """A value for an error message: as YAML has it where that differs, cut where it is long."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return _brief.repr(value)


def suggest(word: str, known: Iterable[str]) -> str:
    """How to mend a misspelt name: those that look alike, if any do, and all that are known."""
    known = list(known)
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=2)
    near = f"did you mean {' or '.join(by_fold[fold] for fold in close)}? " if close else ""
    return f"{near}use {'one of ' if len(known) > 1 else ''}{', '.join(known)}"


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


def printable(text: str) -> str:
    """The text itself where it is short and safe to print, else as `show` has it."""
    return text if text.isprintable() and len(text) <= 60 else _brief.repr(text)
