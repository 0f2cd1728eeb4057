"""YAML files and values as plain data in which every value knows where it was written.

Nodes are walked rather than loaded, so that no tag can build an object, both of two equal keys are
seen, and aliases are counted as they unfold. Hostile text is refused within about a second.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner

from results_schema.errors import ConfigError

MAX_BYTES = 500_000
"""Size of a file."""

MAX_DEPTH = 20
"""Keys and list positions from the top of a document down to a value."""

MAX_VALUES = 10_000
"""Keys and values in a document, and values once its aliases are unfolded."""

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
        """Return the place of a value or, where it is not written, of the nearest value above."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def part(self, path: KeyPath) -> Document:
        """Return the document below a path, which must exist."""
        data = self.data
        for key in path:
            data = data[key]
        below = {p[len(path) :]: at for p, at in self.places.items() if p[: len(path)] == path}
        return Document(data, below)

    def override(self, path: KeyPath, value: Document) -> Document:
        """Return this document with one value replaced or added, which keeps its own places.

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


def combine(problems: Iterable[Problem]) -> ConfigError:
    """Return one error that lists problems (the first twenty) in the order of their places."""
    ordered = sorted(set(problems))
    errors = [ConfigError(what, where=str(at), fix=fix) for at, what, fix in ordered]
    if len(errors) == 1:
        return errors[0]
    rest = [f"and {len(errors) - 20} problems more"] if len(errors) > 20 else []
    return ConfigError("\n".join([*map(str, errors[:20]), *rest]))


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: `grid.genotype[1]`."""
    keys = (f"[{key}]" if isinstance(key, int) else f".{printable(key)}" for key in path)
    return "".join(keys).removeprefix(".")


def show(value: Any) -> str:
    """Return a value for an error message: as YAML writes it where that differs, cut if long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _brief.repr(value)


def printable(text: str) -> str:
    """Return the text itself if it is short and safe to print, else as `show` writes it."""
    return text if text.isprintable() and len(text) <= 60 else _brief.repr(text)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a fix for a misspelt name: similar names if there are any, and all known ones."""
    known = list(known)
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=2)
    near = f"did you mean {' or '.join(by_fold[fold] for fold in close)}? " if close else ""
    return f"{near}use {'one of ' if len(known) > 1 else ''}{', '.join(known)}"


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


def read_document(path: str | Path) -> Document:
    """Read a YAML 1.2 file whose top level is a mapping.

    Raises:
        ConfigError: The file cannot be read, is not YAML, is too large or too deep, repeats a key,
            or has a tag or a key that is not text. Problems are reported together where possible.
    """
    document = _parse(_read_text(Path(path)), str(path), numbered=True)
    if not isinstance(document.data, dict):
        empty = document.data is None
        what = "is empty" if empty else f"holds {show(document.data)}, not keys and values"
        raise ConfigError(f"the file {what}", where=f"{path}:1", fix="write key: value")
    return document


def parse_value(text: str, source: str) -> Document:
    """Parse a value given outside a file, such as on the command line.

    Args:
        text: YAML.
        source: Name of the place in error messages.

    Raises:
        ConfigError: As for `read_document`.
    """
    return _parse(text, source, numbered=False)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError("this is a folder", where=str(path), fix="name a YAML file in it")
        if not path.is_file():
            siblings = [str(other) for other in path.parent.glob("*.yaml")]
            close = difflib.get_close_matches(str(path), siblings, n=1)
            fix = f"did you mean {close[0]}?" if close else ""
            raise ConfigError("there is no such file", where=str(path), fix=fix)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            "the file is too large", where=str(path), fix=f"stay within {MAX_BYTES:,} bytes"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"byte {content[error.start]:#04x} is not UTF-8",
            where=f"{path}:{line}",
            fix="save the file as UTF-8 text",
        ) from error


def _parse(text: str, source: str, *, numbered: bool) -> Document:
    """Parse YAML; `numbered` is whether line numbers mean anything in the source."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Composer, yaml.Resolver = _Scanner, _Composer, _Resolver
    yaml.composer.warn_double_anchors = False
    walk = _Walk(source, numbered)
    try:
        root = yaml.compose(text)
        data = None if root is None else walk.value(root, ())
    except YAMLError as error:
        raise _describe(error, text, source, numbered) from error
    if walk.problems:
        raise combine(walk.problems)
    return Document(data, walk.places | {(): Place(source, int(numbered))})


class _BeyondBounds(MarkedYAMLError):
    """A text is too deep or too long, at a mark."""

    def __init__(self, mark: StreamMark, *, deep: bool) -> None:
        what = f"lists or mappings are nested more than {MAX_DEPTH} deep"
        super().__init__(
            problem=what if deep else f"more than {MAX_VALUES:,} keys and values",
            problem_mark=mark,
        )


class _Scanner(Scanner):
    """Refuses nested brackets where they open, as it would look ahead over hundreds of them."""

    def fetch_flow_collection_start(self, *given: Any, **named: Any) -> None:
        if self.flow_level > MAX_DEPTH:
            raise _BeyondBounds(self.reader.get_mark(), deep=True)
        super().fetch_flow_collection_start(*given, **named)


class _Composer(Composer):
    """Counts the nodes it composes and their depth: without, brackets can take it minutes."""

    _count = _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._count += 1
        self._level += 1
        deep = self._level > MAX_DEPTH + 1  # a value is one level deeper than its container
        if deep or self._count > MAX_VALUES:
            raise _BeyondBounds(self.parser.peek_event().start_mark, deep=deep)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


class _Resolver(VersionedResolver):
    """YAML 1.2 whatever a %YAML line claims: under 1.1 `no` is false and 1:30 is 90."""

    @property
    def processing_version(self) -> tuple[int, int]:
        return 1, 2


class _Walk:
    """Turns nodes into plain data, and collects the place of every value and every problem."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source, self.numbered = source, numbered
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self.count = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        # The composer counted each aliased node once; here an alias costs what it stands for.
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _BeyondBounds(node.start_mark, deep=len(path) > MAX_DEPTH)
        self.places.setdefault(path, self._place(node))
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        prefix = f"{dotted(path)}: " if path else ""
        if isinstance(node, ScalarNode) and tag in _SCALARS:
            try:
                return _SCALARS[tag](node.value)
            except ValueError:
                self._add(node, f"{prefix}{show(node.value)} cannot be read as {tag}")
        else:
            fix = "remove the tag; write plain values"
            self._add(node, f"{prefix}tag {printable(str(node.tag))} is not allowed", fix)
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            name, below = key.value, (*path, key.value)
            is_text = isinstance(key, ScalarNode) and str(key.tag).endswith(_TEXT_TAGS)
            if not is_text or not name.isprintable():
                shown = show(name) if isinstance(name, str) else "composite"
                prefix = f"{dotted(path)}: " if path else ""
                fix = "use a word, in quotes if it looks otherwise"
                self._add(key, f"{prefix}a key is {shown}, not text", fix)
            elif name in data:
                line = self.places[below].line
                first = f", first in line {line}" if line else ""
                self._add(key, f"{dotted(below)} is given twice{first}", "keep one")
            else:
                self.places[below] = self._place(key)
                data[name] = self.value(value, below)
        return data

    def _place(self, node: Node) -> Place:
        return Place(self.source, node.start_mark.line + 1 if self.numbered else 0)

    def _add(self, node: Node, what: str, fix: str = "") -> None:
        self.problems.append(Problem(self._place(node), what, fix))


def _text(text: str) -> str:
    text.encode()  # half of a surrogate pair, written as an escape, could not be printed
    return text


def _integer(text: str) -> int:
    if not -(2**63) <= (number := int(text, 0)) < 2**63:
        raise ValueError("more than 64 bits")
    return number


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "str": _text,
    "null": lambda _: None,
    "bool": lambda text: bool(("false", "true").index(text.lower())),
    "int": _integer,
    "float": _float,
    # Tags that YAML 1.2 no longer has: `<<`, `=` and dates are text like any other.
    "merge": str,
    "value": str,
    "timestamp": str,
}
_TEXT_TAGS = (":str", ":merge", ":value", ":timestamp")


def _describe(error: YAMLError, text: str, source: str, numbered: bool) -> ConfigError:
    """Return the parser's error with its place and a fix."""
    line, what = 1, str(error)
    fix = "look for a missing colon, quote, bracket or space at or above this place"
    if isinstance(error, MarkedYAMLError):
        what = ", ".join(filter(None, (error.context, error.problem)))
        start, end = error.context_mark, error.problem_mark
        line = end.line + 1 if end else 1
        if numbered and start and start.line + 1 != line:
            what += f" (it starts in line {start.line + 1})"
    elif isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        what = f"character {chr(error.character)!r} is not allowed"
    where = str(Place(source, line if numbered else 0))
    if isinstance(error, _BeyondBounds):
        return ConfigError(what, where=where, fix="write it shorter and without aliases")
    if "'\\t'" in what:
        fix = "indent with spaces, not tabs"
    return ConfigError(f"not YAML: {what}", where=where, fix=fix)
