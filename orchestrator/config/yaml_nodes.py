"""Turns what a YAML parser has composed into plain data.

Nodes are walked rather than loaded, so that no tag can build an object, both of two equal keys
are seen, and aliases are counted as they unfold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.config.documents import (
    MAX_DEPTH,
    Document,
    KeyPath,
    Place,
    Problem,
    dotted,
    printable,
    report,
    show,
)
from orchestrator.config.yaml_bounds import MAX_VALUES, SHORTER, TOO_DEEP, TOO_MANY
from results_schema.errors import ConfigError


def to_document(root: Node | None, source: str, *, numbered: bool) -> Document:
    """The plain data below a node, and the place of each of its values.

    Args:
        root: None for a text that says nothing.
        source: What the places name.
        numbered: Whether lines mean anything in the source.

    Raises:
        ConfigError: Tells every repeated key, tag and key that is not text; or the values are
            too many or too deep.
    """
    walk = _Walk(source, numbered)
    data = None if root is None else walk.value(root, ())
    if walk.problems:
        raise report(walk.problems)
    return Document(data, walk.places | {(): Place(source, int(numbered))})


class _Walk:
    """Turns nodes into plain data, noting every value's place and every problem."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source, self.numbered = source, numbered
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self.count = 0

    def value(self, node: Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            what = TOO_DEEP if len(path) > MAX_DEPTH else TOO_MANY
            raise ConfigError(what, where=str(self._place(node)), fix=SHORTER)
        self.places.setdefault(path, self._place(node))
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag in _SCALARS:
            try:
                return _SCALARS[tag](node.value)
            except ValueError:
                self._add(node, f"{_at(path)}{show(node.value)} cannot be read as {tag}")
        else:
            fix = "remove the tag; write plain values"
            self._add(node, f"{_at(path)}tag {printable(str(node.tag))} is not allowed", fix)
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value
            is_text = isinstance(key, ScalarNode) and str(key.tag).endswith(_TEXT_TAGS)
            if not is_text or not name.isprintable():
                what = f"{_at(path)}a key is {show(name) if isinstance(name, str) else 'composite'}"
                self._add(key, f"{what}, not text", "use a word, in quotes if it looks otherwise")
            elif name in data:
                first = self.places[(*path, name)]
                where = f", first in line {first.line}" if first.line else ""
                self._add(key, f"{dotted((*path, name))} is given twice{where}", "keep one")
            else:
                self.places[(*path, name)] = self._place(key)
                data[name] = self.value(value, (*path, name))
        return data

    def _place(self, node: Node) -> Place:
        return Place(self.source, node.start_mark.line + 1 if self.numbered else 0)

    def _add(self, node: Node, what: str, fix: str = "") -> None:
        self.problems.append(Problem(self._place(node), what, fix))


def _at(path: KeyPath) -> str:
    return f"{dotted(path)}: " if path else ""


def _text(text: str) -> str:
    text.encode()  # half of a surrogate pair, written as an escape, could not be printed
    return text


def _whole(text: str) -> int:
    if not -(2**63) <= (number := int(text, 0)) < 2**63:
        raise ValueError("more than 64 bits")
    return number


def _real(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "str": _text,
    "null": lambda _: None,
    "bool": lambda text: bool(("false", "true").index(text.lower())),
    "int": _whole,
    "float": _real,
    # Tags that YAML 1.2 knows no more: `<<`, `=` and dates are text like any other.
    "merge": str,
    "value": str,
    "timestamp": str,
}
_TEXT_TAGS = (":str", ":merge", ":value", ":timestamp")
