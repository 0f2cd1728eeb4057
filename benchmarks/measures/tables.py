"""Tables of what was measured, printed and put into documents by the same hand."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from results_schema.errors import ConfigError, NasSweepError


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def publish(path: Path | None, name: str, text: str) -> int:
    """Prints a text, and puts it into a document if one is named, as `write` does.

    Returns:
        The exit code: 0, or that of an error, which is told.
    """
    print(text)
    try:
        if path:
            write(path, name, text)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write(path: Path, name: str, text: str) -> None:
    """Puts a text between the two comments of that name in a document.

    Args:
        path: Of a document with the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.
        name: Of the place.
        text: Replaces what stands there.

    Raises:
        ConfigError: There is no such document, or it has no such place.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    try:
        document = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(error.strerror or str(error), where=str(path)) from error
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(between.findall(document)) != 1:
        raise ConfigError(
            f"has no one place for {name!r}",
            where=str(path),
            fix=f"add the lines {begin} and {end}",
        )
    # A function, because a text may hold what a pattern's replacement would read as a group.
    written = between.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", document)
    path.write_text(written, "utf-8")
