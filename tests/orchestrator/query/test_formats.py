"""Answers as text, CSV, JSON and Markdown: nothing is lost that a format can hold."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.output.tables import escape_formula
from orchestrator.query.formats import to_text_table, write_csv, write_json

NOW = datetime(2020, 4, 26, 12, tzinfo=UTC)


def written(write, answer: pa.Table) -> str:
    text = io.StringIO()
    write(answer, text)
    return text.getvalue()


@given(st.lists(st.tuples(st.floats(), st.text(), st.none() | st.integers(-(2**63), 2**63 - 1))))
def test_csv_and_json_give_back_what_they_were_given(rows):
    schema = pa.schema([("x", pa.float64()), ("text", pa.string()), ("n", pa.int64())])
    kept = [(x, "".join(c for c in t if c.isprintable()), n) for x, t, n in rows]
    answer = pa.table([list(c) for c in zip(*kept, strict=True)] or [[]] * 3, schema=schema)
    lines = list(csv.reader(io.StringIO(written(write_csv, answer), newline="")))
    assert lines[0] == ["x", "text", "n"]
    for line, (x, text, n) in zip(lines[1:], kept, strict=True):
        assert (float(line[0]) == x or x != x) and line[1] == escape_formula(text)
        assert line[2] == ("" if n is None else str(n))
    for record, (x, text, n) in zip(json.loads(written(write_json, answer)), kept, strict=True):
        finite = x == x and abs(x) != float("inf")
        assert record == {"x": x if finite else None, "text": text, "n": n}


def test_every_type_can_be_written_and_csv_holds_no_formula():
    answer = pa.table({"=a": ["=1+1", "-x", None], "n": [-1.0, float("-inf"), None]})
    assert written(write_csv, answer) == "'=a,n\n'=1+1,-1.0\n'-x,-inf\n,\n"
    answer = pa.table({
        "when": pa.array([NOW]), "sum": pa.array([Decimal(12)]),
        "share": pa.array([Decimal("1.5")]),
        "raw": pa.array([b"\x01"]), "flag": pa.array([True]), "list": pa.array([[1, None]]),
        "part": pa.array([{"a": float("nan")}]),
    })  # fmt: skip
    [record] = json.loads(written(write_json, answer))
    assert record == {
        "when": "2020-04-26T12:00:00+00:00", "sum": 12, "share": 1.5, "raw": "01", "flag": True,
        "list": [1, None], "part": {"a": None},
    }  # fmt: skip
    assert to_text_table(answer).rows[0][:3] == ["2020-04-26 12:00:00", "12", "1.5"]


def test_two_columns_of_one_name_are_two_keys_and_no_row_is_an_empty_list():
    answer = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert json.loads(written(write_json, answer)) == [{"a": 1, "a_2": 2}]
    assert json.loads(written(write_json, answer.slice(1))) == []
    assert to_text_table(answer.slice(1)).remarks == ("0 rows",)


def test_a_long_table_is_cut_and_says_so():
    sheet = to_text_table(pa.table({"a": range(1000)}))
    assert len(sheet.rows) == 100
    assert "1,000 rows, of which the first 100 are shown" in sheet.remarks[0]
    assert len(to_text_table(pa.table({"a": range(1000)}), whole=True).rows) == 1000


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\nb", "\x07"])
def test_a_terminal_is_not_sent_control_characters(evil):
    sheet = to_text_table(pa.table({evil: [evil + "x" * 100]}))
    assert all(text.isprintable() for text in (*sheet.columns, *sheet.rows[0]))
    assert len(sheet.rows[0][0]) == 60
