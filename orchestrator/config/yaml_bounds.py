"""The YAML parser, made to leave off at what is too deep or too much: hostile text costs a second.

Left to itself it takes minutes over some kilobytes of brackets.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.nodes import Node
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner

from orchestrator.config.documents import MAX_DEPTH

MAX_VALUES = 10_000
"""Keys and values in one document, and values once its aliases are unfolded: a second's work."""

TOO_DEEP = f"lists or mappings are nested more than {MAX_DEPTH} deep"
TOO_MANY = f"more than {MAX_VALUES:,} keys and values"
SHORTER = "write it shorter and without aliases"


class Unbounded(Exception):
    """A text goes beyond the bounds.

    Args:
        what: `TOO_DEEP` or `TOO_MANY`.
        line: Where, from 1.
    """

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what, line)
        self.what, self.line = what, line


def compose(text: str) -> Node | None:
    """The nodes of a YAML 1.2 text, None if it says nothing.

    Raises:
        YAMLError: It is no YAML.
        Unbounded: It is too deep or too much.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Composer, yaml.Resolver = _Scanner, _Composer, _Resolver
    yaml.composer.warn_double_anchors = False
    return yaml.compose(text)


class _Scanner(Scanner):
    """Refuses nested brackets where they open: it looks ahead over hundreds of them."""

    def fetch_flow_collection_start(self, *given: Any, **named: Any) -> None:
        if self.flow_level > MAX_DEPTH:
            raise Unbounded(TOO_DEEP, self.reader.line + 1)
        super().fetch_flow_collection_start(*given, **named)


class _Composer(Composer):
    """Counts what it composes, and how deep it is."""

    _count = _level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._count += 1
        self._level += 1
        deep = self._level > MAX_DEPTH + 1  # a value lies one deeper than what it is a part of
        if deep or self._count > MAX_VALUES:
            line = self.parser.peek_event().start_mark.line + 1
            raise Unbounded(TOO_DEEP if deep else TOO_MANY, line)
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


class _Resolver(VersionedResolver):
    """YAML 1.2 whatever a %YAML line claims: under 1.1 `no` is false and 1:30 is 90."""

    @property
    def processing_version(self) -> tuple[int, int]:
        return 1, 2
