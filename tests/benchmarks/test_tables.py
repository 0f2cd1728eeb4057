"""Tables in Markdown, and the places in documents that they are put into."""

from pathlib import Path

import pytest

from benchmarks.measure import table, write
from results_schema.errors import ConfigError

DOCUMENT = "# Speed\n\nBefore.\n\n<!-- begin a b -->\nold | table\n<!-- end a b -->\n\nAfter.\n"


def test_a_cell_cannot_break_the_table():
    made = table(("loop", "images/s"), [["a|b\nc", "1"]])
    assert made.splitlines() == ["| loop | images/s |", "| --- | ---: |", "| a\\|b c | 1 |"]


def test_only_what_stands_between_the_comments_is_replaced(tmp_path: Path):
    path = tmp_path / "speed.md"
    path.write_text(DOCUMENT)
    for text in (r"\1 and \g<0>", "| a |\n| --- |"):
        write(path, "a b", text)
        assert path.read_text() == DOCUMENT.replace(
            "-->\nold | table\n<!--", f"-->\n\n{text}\n\n<!--"
        )


@pytest.mark.parametrize("document", ["", "<!-- end a b --><!-- begin a b -->", DOCUMENT * 2])
def test_a_document_without_the_one_place_is_left_alone(tmp_path: Path, document: str):
    path = tmp_path / "speed.md"
    path.write_text(document)
    with pytest.raises(ConfigError, match=r"speed\.md") as caught:
        write(path, "a b", "text")
    assert "<!-- begin a b -->" in caught.value.fix
    assert path.read_text() == document


def test_a_missing_document_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="nowhere"):
        write(tmp_path / "nowhere.md", "a", "text")
