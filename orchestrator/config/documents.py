"""YAML documents checked against pydantic models; errors name the file and line, or the option.

Nodes are walked rather than loaded, so that no tag can build an object, both of two equal keys are
seen, and aliases are counted as they unfold. Hostile text is refused within about a second.

Validators raise `SpecError` for one bad value, or `refuse` several keys of a mapping at once;
pydantic adds the path, and `validate` turns it into a line.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver

from results_schema.errors import ConfigError, SpecError, suggest
from workers.data.catalog import describe

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

MAX_BYTES = 500_000
"""Size of a file."""
MAX_DEPTH = 20
"""Keys and list positions from the top of a document down to a value."""
MAX_VALUES = 10_000
"""Keys and values in a document, and values once its aliases are unfolded."""
LONGEST_NAME = 100
"""Characters in the name of an experiment, figure or table: files are named by it and a suffix."""

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document down to a value."""

DERIVED = ("version", "stem_stride")
"""Fields of specs that no one writes: the code's, and one that follows from the data set."""

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Place(NamedTuple):
    """Where a value was written: a file and its line, or a command line option (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def folder(self, otherwise: Path) -> Path:
        """Return the folder of the file, from which its paths begin; another for an option."""
        return Path(self.source).parent if self.line else otherwise


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

    def part(self, path: KeyPath, value: Any) -> Document:
        """Return a document of the value that was written at a path, with its places."""
        places = {(): self.place(path)}
        if isinstance(value, dict | list):
            depth = len(path)
            places |= {p[depth:]: at for p, at in self.places.items() if p[:depth] == path}
        return Document(value, places)

    def override(self, path: KeyPath, other: Document, source: KeyPath = ()) -> Document:
        """Return this document with the value at `path` replaced or added.

        The value, and the places of what is in it, are those of another document at `source`.

        Raises:
            ConfigError: The path leads through something that is not a mapping.
        """
        data, value, origin = copy.deepcopy(self.data), other.data, other.place(source)
        for key in source:
            value = value[key]
        mapping = data
        for depth, key in enumerate(path[:-1], start=1):
            mapping = mapping.setdefault(key, {})
            if not isinstance(mapping, dict):
                raise ConfigError(
                    f"{dotted(path)} cannot be set: {dotted(path[:depth])} is {show(mapping)}",
                    where=str(origin),
                    fix=f"set {dotted(path[:depth])} as a whole",
                )
        mapping[path[-1]] = value
        places = {path[:depth]: origin for depth in range(1, len(path))}
        places |= {p: at for p, at in self.places.items() if p[: len(path)] != path}
        below = len(source)
        places |= {path + p[below:]: at for p, at in other.places.items() if p[:below] == source}
        return Document(data, places)


def combine(problems: Iterable[Problem]) -> ConfigError:
    """Return one error that lists problems (the first twenty) in the order of their places."""
    errors = [ConfigError(what, where=str(at), fix=fix) for at, what, fix in sorted(set(problems))]
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
        return json.dumps(value)
    return _brief.repr(value)


def printable(text: str) -> str:
    """Return the text itself if it is short and safe to print, else as `show` writes it."""
    return text if text.isprintable() and len(text) <= 60 else _brief.repr(text)


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


def read_document(path: str | Path) -> Document:
    """Read a YAML 1.2 file whose top level is a mapping.

    Raises:
        ConfigError: The file cannot be read, is not YAML, is too large or too deep, repeats a key,
            or has a tag or a key that is not text. Problems are reported together where possible.
    """
    document = _Reader(partial(Place, str(path))).read(read_text(Path(path)))
    if not isinstance(document.data, dict):
        empty = document.data is None
        what = "is empty" if empty else f"holds {show(document.data)}, not keys and values"
        raise ConfigError(f"the file {what}", where=f"{path}:1", fix="write key: value")
    return document


def parse_value(text: str, source: str) -> Document:
    """Parse YAML given outside a file, such as on the command line; errors name it as `source`.

    Raises:
        ConfigError: As for `read_document`.
    """
    return _Reader(lambda line: Place(source)).read(text)


def read_text(path: Path) -> str:
    """Return the text of a file that is no larger than `MAX_BYTES`.

    Raises:
        ConfigError: The file cannot be read, is too large or not UTF-8.
    """
    try:
        if path.is_dir():
            raise ConfigError("this is a folder", where=str(path), fix="name a YAML file in it")
        if not path.is_file():
            beside = {one.stem: str(one) for one in sorted(path.parent.glob("*.yaml"))}
            # By names without the suffix, which would make any two names alike.
            near = [beside[stem] for stem in difflib.get_close_matches(path.stem, beside)]
            fix = f"did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError("there is no such file", where=str(path), fix=fix)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > MAX_BYTES:
        fix = f"stay within {MAX_BYTES:,} bytes"
        raise ConfigError("the file is too large", where=str(path), fix=fix)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what, fix = f"byte {content[error.start]:#04x} is not UTF-8", "save the file as UTF-8 text"
        raise ConfigError(what, where=f"{path}:{line}", fix=fix) from error


def _beyond_bounds(mark: StreamMark, *, deep: bool) -> MarkedYAMLError:
    what = f"lists or mappings are nested more than {MAX_DEPTH} deep"
    return MarkedYAMLError(
        problem=what if deep else f"more than {MAX_VALUES:,} keys and values",
        problem_mark=mark,
        note="write it shorter and without aliases",
    )


class _Parser(Parser):
    """Counts values and their depth, since a text of brackets can take the composer minutes."""

    _count = _level = 0

    def get_event(self) -> Any:
        event = super().get_event()
        self._count += isinstance(event, NodeEvent)
        self._level += isinstance(event, CollectionStartEvent)
        self._level -= isinstance(event, CollectionEndEvent)
        if self._level > MAX_DEPTH or self._count > MAX_VALUES:
            raise _beyond_bounds(event.start_mark, deep=self._level > MAX_DEPTH)
        return event


class _Resolver(VersionedResolver):
    """YAML 1.2 whatever a %YAML line claims: under 1.1 `no` is false and 1:30 is 90."""

    @property
    def processing_version(self) -> tuple[int, int]:
        return 1, 2


class _Reader:
    """Turns YAML into plain data, and collects the place of every value and every problem.

    `at` gives the place of a line.
    """

    def __init__(self, at: Callable[[int], Place]) -> None:
        self.at = at
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self.count = 0

    def read(self, text: str) -> Document:
        yaml = YAML(typ="safe", pure=True)
        yaml.Parser, yaml.Resolver = _Parser, _Resolver
        yaml.composer.warn_double_anchors = False
        try:
            root = yaml.compose(text)
            data = None if root is None else self._value(root, ())
        except YAMLError as error:
            raise self._syntax_error(error, text) from error
        if self.problems:
            raise combine(self.problems)
        return Document(data, self.places | {(): self.at(1)})

    def _value(self, node: Node, path: KeyPath) -> Any:
        # The parser counted each aliased node once; here an alias costs what it stands for.
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise _beyond_bounds(node.start_mark, deep=len(path) > MAX_DEPTH)
        self.places.setdefault(path, self._place(node))
        tag = _tag(node)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, ScalarNode) or tag not in _SCALARS:
            what = f"tag {printable(str(node.tag))} is not allowed"
            return self._add(node, path, what, "remove the tag; write plain values")
        try:
            return _SCALARS[tag](node.value)
        except ValueError:
            what = f"{show(node.value)} cannot be read as {tag}"
            fix = "use a whole number of at most 64 bits" if tag == "int" else ""
            return self._add(node, path, what, fix)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            name, below = key.value, (*path, key.value)
            is_text = isinstance(key, ScalarNode) and _tag(key) in _TEXT_TAGS
            if not is_text or not name.isprintable():
                shown = show(name) if isinstance(name, str) else "composite"
                fix = "use a word, in quotes if it looks otherwise"
                self._add(key, path, f"a key is {shown}, not text", fix)
            elif name in data:
                line = self.places[below].line
                first = f", first in line {line}" if line else ""
                self._add(key, (), f"{dotted(below)} is given twice{first}", "keep one")
            else:
                self.places[below] = self._place(key)
                data[name] = self._value(value, below)
        return data

    def _place(self, node: Node) -> Place:
        return self.at(node.start_mark.line + 1)

    def _add(self, node: Node, path: KeyPath, what: str, fix: str = "") -> None:
        prefix = f"{dotted(path)}: " if path else ""
        self.problems.append(Problem(self._place(node), prefix + what, fix))

    def _syntax_error(self, error: YAMLError, text: str) -> ConfigError:
        line, what, fix = 1, str(error), None
        if isinstance(error, MarkedYAMLError):
            what, fix = ", ".join(filter(None, (error.context, error.problem))), error.note
            start, end = error.context_mark, error.problem_mark
            line = end.line + 1 if end else 1
            if start and self.at(start.line + 1) != self.at(line):
                what += f" (it starts in line {start.line + 1})"
        elif isinstance(error, ReaderError):
            line = text.count("\n", 0, error.position) + 1
            what = f"character {chr(error.character)!r} is not allowed"
        if fix is None:
            fix = "look for a missing colon, quote, bracket or space at or above this place"
            fix = "indent with spaces, not tabs" if "'\\t'" in what else fix
            what = f"not YAML: {what}"
        return ConfigError(what, where=str(self.at(line)), fix=fix)


def _tag(node: Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _text(text: str) -> str:
    text.encode()  # half of a surrogate pair, written as an escape, could not be printed
    return text


def _integer(text: str) -> int:
    if not -(2**63) <= (number := int(text, 0)) < 2**63:
        raise ValueError("more than 64 bits")
    return number


_TEXT_TAGS = ("str", "merge", "value", "timestamp")
"""YAML 1.2 no longer has the last three: `<<`, `=` and dates are text like any other."""
_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: bool(("false", "true").index(text.lower())),
    "int": _integer,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    **dict.fromkeys(_TEXT_TAGS, _text),
}


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
    """Return the model of a document's data; `context` is what its validators need beside them.

    Raises:
        ConfigError: The data do not fit; every problem is listed with the place of its value.
    """
    made, problems = check_model(model, document, **context)
    if made is None:
        raise combine(problems)
    return made


def check_model(
    model: type[M], document: Document, **context: Any
) -> tuple[M | None, list[Problem]]:
    """Return the model of a document's data, or None, and what is wrong; see `validate`."""
    try:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        return model.model_validate_json(json.dumps(document.data), context=context), []
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            path: KeyPath = tuple(key for key in detail["loc"] if key != "[key]")
            problems.append(Problem(document.place(path), *_describe(detail, path, model)))
        return None, problems


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
        if alone and (ends := re.fullmatch(r"(\d+)\s*(?:-|:|\.\.+|to)\s*(\d+)", str(value))):
            fix = f"write all values in brackets, or {{range: [{ends[1]}, {int(ends[2]) + 1}]}}"
        return f"{name} is {show(value)}, not {_TYPES[kind]}", fix
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


def refuse(problems: Iterable[InitErrorDetails]) -> ValidationError:
    """Return the error for a validator to raise: pydantic adds it below the mapping's path."""
    return ValidationError.from_exception_data("a mapping", list(problems))


@contextmanager
def at_key(key: str, value: Any) -> Iterator[None]:
    """Turn a `SpecError` into that of the value of a mapping's key."""
    try:
        yield
    except SpecError as error:
        problem = InitErrorDetails(
            type="value_error", loc=(key,), input=value, ctx={"error": error}
        )
        raise refuse([problem]) from error


def unknown_keys(data: Mapping[str, Any], known: Collection[str]) -> list[InitErrorDetails]:
    """Return a problem for every key that is not among the known ones."""
    error = PydanticCustomError(_UNKNOWN_KEY, "unknown key", {"known": list(known)})
    return [
        InitErrorDetails(type=error, loc=(key,), input=value)
        for key, value in data.items()
        if key not in known
    ]


@cache
def mapping_of(kind: type[T]) -> Callable[[Any], T]:
    """Return a validator that builds a dataclass or a model, and reports every bad value.

    A dataclass checks itself when built and stops at the first bad value; hence each key is tried
    alone, but for those that must be given, where the whole does not fit.
    """
    adapter = TypeAdapter(kind)
    parameters = signature(kind).parameters
    known = [name for name in parameters if name not in DERIVED]
    required = [name for name in known if parameters[name].default is Parameter.empty]

    def build(value: Any) -> T:
        if not isinstance(value, dict):
            raise PydanticKnownError("dict_type")
        problems = unknown_keys(value, known)
        if not problems:
            # Keys that fit one another need not fit the others' defaults.
            with suppress(ValidationError):
                return adapter.validate_json(json.dumps(value), strict=True)
        needed = {key: value[key] for key in required if key in value}
        for key in (key for key in value if key in known):
            try:
                adapter.validate_json(json.dumps({**needed, key: value[key]}), strict=True)
            except ValidationError as error:
                problems += [_below(key, value[key], detail) for detail in error.errors()]
        if problems:
            raise refuse(problems)
        return adapter.validate_json(json.dumps(value), strict=True)

    return build


def _below(key: str, value: Any, detail: ErrorDetails) -> InitErrorDetails:
    """Return an error of a mapping with a single key as an error of the key."""
    return InitErrorDetails(
        type=detail["type"],
        loc=detail["loc"] or (key,),
        input=detail["input"] if detail["loc"] else value,
        ctx=detail.get("ctx", {}),
    )


def check_known(name: Any, kind: str, known: Iterable[str]) -> str:
    """Return the name; raise `SpecError` if it is not among those known of this kind."""
    known = tuple(known)
    if name not in known:
        what = f"no {kind} is named" if name is None else f"unknown {kind} {show(name)}"
        raise SpecError(what, fix=suggest(name, known))
    return name


def read_named(value: Any, key: str, kind: str, known: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Return a known name and its options, written as `NAME` or `{key: NAME, OPTION: VALUE, …}`."""
    if not isinstance(value, dict):
        return check_known(value, kind, known), {}
    options = dict(value)
    with at_key(key, value.get(key)):
        return check_known(options.pop(key, None), kind, known), options


def one_of(kind: str, known: Iterable[str]) -> BeforeValidator:
    """Return a validator that calls `check_known`."""
    names: Any = Literal[*known]
    return BeforeValidator(
        lambda name: check_known(name, kind, known), json_schema_input_type=names
    )


def built(kind: type) -> PlainValidator:
    """Return a validator that calls `mapping_of`."""
    return PlainValidator(mapping_of(kind), json_schema_input_type=kind)


def check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values; raise `SpecError` if one is repeated."""
    if repeated := [show(value) for value, times in Counter(values).items() if times > 1]:
        raise SpecError(f"{', '.join(repeated)} given more than once", fix="name every value once")
    return values


def check_axis(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values; raise `SpecError` if there are none, or one is repeated."""
    if not values:
        raise SpecError("the list is empty", fix="name at least one value")
    return check_distinct(values)


def check_file_name(name: str) -> str:
    """Return the name; raise `SpecError` if no file in a store can have it."""
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
