"""Reads YAML files, and values given on a command line, as documents."""

from __future__ import annotations

import difflib
from pathlib import Path

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from orchestrator.config.documents import Document, Place, show
from orchestrator.config.yaml_bounds import SHORTER, Unbounded, compose
from orchestrator.config.yaml_nodes import to_document
from results_schema.errors import ConfigError

MAX_BYTES = 500_000


def read_document(path: str | Path) -> Document:
    """Reads a YAML 1.2 file whose top level is a mapping.

    Raises:
        ConfigError: The file cannot be read, is no YAML, is too large, repeats a key, or has a
            tag or a key that is not text. All that can be found at once is told at once.
    """
    text = _read_text(Path(path))
    document = _parse(text, str(path), numbered=True)
    if not isinstance(document.data, dict):
        empty = document.data is None
        what = "is empty" if empty else f"holds {show(document.data)}, not keys and values"
        raise ConfigError(f"the file {what}", where=f"{path}:1", fix="write key: value")
    return document


def parse_value(text: str, source: str) -> Document:
    """Parses a value given outside a file, such as on the command line.

    Args:
        text: YAML.
        source: How error messages name where the text was given.

    Raises:
        ConfigError: As `read_document`.
    """
    return _parse(text, source, numbered=False)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError("this is a folder", where=str(path), fix="name a YAML file in it")
        if not path.is_file():
            raise ConfigError("there is no such file", where=str(path), fix=_nearby(path))
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


def _nearby(path: Path) -> str:
    siblings = [str(other) for other in path.parent.glob("*.yaml")]
    close = difflib.get_close_matches(str(path), siblings, n=1)
    return f"did you mean {close[0]}?" if close else ""


def _parse(text: str, source: str, *, numbered: bool) -> Document:
    try:
        root = compose(text)
    except Unbounded as error:
        place = Place(source, error.line if numbered else 0)
        raise ConfigError(error.what, where=str(place), fix=SHORTER) from error
    except YAMLError as error:
        raise _syntax_error(error, text, source, numbered) from error
    return to_document(root, source, numbered=numbered)


def _syntax_error(error: YAMLError, text: str, source: str, numbered: bool) -> ConfigError:
    line, what = 1, str(error)
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
    fix = "look for a missing colon, quote, bracket or space at or above this place"
    if "'\\t'" in what:
        fix = "indent with spaces, not tabs"
    return ConfigError(f"not YAML: {what}", where=where, fix=fix)
