"""Tables: rows that do not fit are refused, altered files are noticed, pandas reads them well."""

import io
import random
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from same_results import result_columns

from results_schema import layout, tables
from results_schema.errors import CorruptData, SpecError
from results_schema.tables import MEMBERS, METRICS, TRIALS, from_parquet, to_parquet

NOON = datetime(2020, 4, 26, 12, tzinfo=UTC)
Row = dict[str, Any]
every_schema = pytest.mark.parametrize("schema", [*tables.OPENED.values(), tables.CELLS])


def row(schema: pa.Schema, number: int = 1, **given: Any) -> Row:
    """A row whose columns hold values of their types."""
    kinds = {tables.REAL: number / 8, tables.INT: number, tables.LONG: number, tables.TIME: NOON}
    kinds |= {tables.FLAG: bool(number % 2), tables.TEXT: f"text {number} ½"}
    return {field.name: kinds[field.type] for field in schema} | given


def older(schema: pa.Schema, *lacking: str) -> pa.Schema:
    """The schema as a release had it that did not know some columns yet."""
    return pa.schema([f for f in schema if f.name not in lacking], metadata=schema.metadata)


def read(rows: list[Row], schema: pa.Schema) -> pa.Table:
    return from_parquet(to_parquet(rows, schema), schema, "here")


@every_schema
def test_rows_come_back(schema: pa.Schema):
    rows = [row(schema, 1), row(schema, 2)]
    assert read(rows, schema).to_pylist() == rows
    empty = read([], schema)
    assert (empty.num_rows, empty.column_names) == (0, schema.names)
    unknown = {field.name: None for field in schema if field.nullable}
    assert read([row(schema) | unknown], schema).to_pylist() == [row(schema) | unknown]


@every_schema
def test_a_file_contains_its_own_schema_alone_and_each_column_its_meaning(schema: pa.Schema):
    written = to_parquet([row(schema)], schema)
    assert tables.embedded_schema(schema) in written
    assert tables.embedded_schema(older(schema, schema.names[-1])) not in written
    for field in pq.read_schema(io.BytesIO(written)):
        assert field.metadata[b"doc"]
        assert field.metadata[b"kind"] in (b"result", b"provenance")


def test_floats_and_times_are_kept_whatever_they_are():
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    odd = row(METRICS, train_loss=float("nan"), test_loss=float("inf"), finished_at=tokyo)
    back = read([odd], METRICS).to_pandas()
    assert np.isnan(back["train_loss"][0])
    assert np.isposinf(back["test_loss"][0])
    assert back["finished_at"].tolist() == [pd.Timestamp(NOON)]


@every_schema
def test_a_row_lacking_or_adding_a_column_is_refused(schema: pa.Schema):
    short, first = row(schema), schema.names[0]
    del short[first]
    for name, odd in ((first, short), ("colour", row(schema, colour="red"))):
        with pytest.raises(SpecError, match=rf"lacks or adds \['{name}'\]"):
            to_parquet([row(schema), odd], schema)


@pytest.mark.parametrize(
    ("schema", "column", "value"),
    [
        (METRICS, "trial_id", None),
        (METRICS, "test_accuracy", None),
        (MEMBERS, "base", None),
        (METRICS, "test_accuracy", 1),
        (METRICS, "test_accuracy", True),
        (METRICS, "test_accuracy", np.float32(0.5)),
        (METRICS, "test_accuracy", "0.5"),
        (METRICS, "epoch", 1.0),
        (METRICS, "epoch", True),
        (METRICS, "epoch", np.int64(1)),
        (METRICS, "epoch", 2**31),
        (METRICS, "peak_memory", 2**63),
        (METRICS, "trial_id", b"digits"),
        (METRICS, "finished_at", "2020-04-26"),
        (METRICS, "finished_at", NOON.replace(tzinfo=None)),
        (TRIALS, "dirty", 1),
        (TRIALS, "cuda", 13.0),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(
    schema: pa.Schema, column: str, value: Any
):
    with pytest.raises(SpecError) as caught:
        to_parquet([row(schema), row(schema, **{column: value})], schema)
    table = schema.metadata[b"table"].decode()
    # Of one that is too large, Arrow names the value alone.
    named = f"{table}.{column} is {value!r}", f"a row does not fit {table}"
    assert caught.value.what.startswith(named)


def test_a_flipped_bit_anywhere_is_noticed():
    sound = to_parquet([row(METRICS, number) for number in (1, 2, 3)], METRICS)
    footer = len(sound) - int.from_bytes(sound[-8:-4], "little") - 8
    draw = random.Random(0)
    bits = [draw.randrange(8 * footer) for _ in range(100)]
    bits += [draw.randrange(8 * footer, 8 * len(sound)) for _ in range(100)]
    # Those of the seal must not make the file pass for one without.
    start = sound.index(tables.SEAL_KEY.encode())
    end = sound.index(f"{tables.SEAL_KEY}:".encode()) + len(tables.SEAL_BLANK)
    bits += [8 * place + draw.randrange(8) for place in range(start, end)]
    for bit in bits:
        altered = bytearray(sound)
        altered[bit // 8] ^= 1 << bit % 8
        assert not tables.is_sealed(bytes(altered))
        with pytest.raises(CorruptData):
            from_parquet(bytes(altered), METRICS, "here")
    assert tables.is_sealed(sound)


def test_what_is_no_whole_file_is_noticed():
    sound = to_parquet([row(METRICS)], METRICS)
    cut = [sound[:kept] for kept in (0, 1, 8, 500, -8, -1)]
    longer = [sound + b"\0", b"\0" + sound, sound + sound]
    blank = tables.SEAL_BLANK.encode()
    for data in (*cut, *longer, b"PAR1PAR1", b"{}", bytes(10_000), blank, tables.seal(blank)):
        with pytest.raises(CorruptData, match="metrics/x: not a sound metrics table") as caught:
            from_parquet(data, METRICS, "metrics/x")
        assert "launch again" in caught.value.fix
    with pytest.raises(ValueError, match="nothing to seal"):
        tables.seal(b"PAR1")


def test_a_text_that_looks_like_a_seal_does_no_harm():
    rows = [
        row(TRIALS, spec=tables.SEAL_BLANK, host=tables.seal(tables.SEAL_BLANK.encode()).decode())
    ]
    assert read(rows, TRIALS).to_pylist() == rows


def test_a_file_holds_the_rows_of_the_item_that_it_is_named_after():
    one, other = "digits-a-0123456789", "digits-b-0123456789"
    data = to_parquet([row(METRICS, trial_id=one), row(METRICS, 2, trial_id=one)], METRICS)
    assert len(from_parquet(data, METRICS, layout.metrics(one))) == 2
    with pytest.raises(CorruptData, match=f"it has rows of '{one}'"):
        from_parquet(data, METRICS, layout.metrics(other))
    file = tables.open_parquet(data)
    assert tables.holds_only(file, one)
    assert not tables.holds_only(file, other)
    both = to_parquet([row(METRICS, trial_id=one), row(METRICS, trial_id=other)], METRICS)
    assert not tables.holds_only(tables.open_parquet(both), one)


def test_an_older_file_reads_as_its_columns_are_now():
    schema = older(METRICS, "grad_norm", "finished_at")
    place = schema.get_field_index("peak_memory")
    schema = schema.set(place, pa.field("peak_memory", pa.int32(), nullable=False))
    table = from_parquet(to_parquet([row(schema_now(schema))], schema), METRICS, "here")
    assert table.schema.names == METRICS.names
    assert table["grad_norm"].to_pylist() == table["finished_at"].to_pylist() == [None]
    assert table["test_loss"].to_pylist() == [row(METRICS)["test_loss"]]
    assert (table["peak_memory"].type, table["peak_memory"].to_pylist()) == (pa.int64(), [1])
    odd = METRICS.set(1, pa.field("epoch", pa.string(), nullable=False))
    with pytest.raises(CorruptData):
        from_parquet(to_parquet([row(odd, epoch="first")], odd), METRICS, "here")


def schema_now(schema: pa.Schema) -> pa.Schema:
    """The columns of a schema, with the types that they have now."""
    return pa.schema([METRICS.field(name) for name in schema.names])


def results(schema: pa.Schema, *rows: Row) -> pd.DataFrame:
    return result_columns(read(list(rows), schema), schema).to_pandas()


def test_results_are_equal_wherever_and_in_whatever_order_they_were_made():
    here = [row(METRICS, epoch, train_loss=float("nan")) for epoch in (1, 2, 3)]
    moved = {"seconds": 9.0, "peak_memory": 1, "finished_at": NOON + timedelta(days=1)}
    there = [r | moved for r in reversed(here)]
    assert results(METRICS, *here).equals(results(METRICS, *there))
    members = [row(MEMBERS, base=base, variant=base) for base in ("darts", "enas", "nasnet")]
    assert results(MEMBERS, *members).equals(results(MEMBERS, *reversed(members)))
    for column in ("test_loss", "epoch", "trial_id"):
        other = row(METRICS) | {column: row(METRICS, 7)[column]}
        assert not results(METRICS, row(METRICS)).equals(results(METRICS, other))


def test_pandas_reads_the_folder_of_a_live_run(tmp_path: Path):
    past = older(METRICS, "grad_norm")
    for key, data in (
        (layout.schema(layout.METRICS), to_parquet([], METRICS)),
        (layout.metrics("digits-a"), to_parquet([row(METRICS, n) for n in (1, 2)], METRICS)),
        (layout.metrics("digits-b"), to_parquet([row(past, 3)], past)),
    ):
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(data)
    frame = pd.read_parquet(tmp_path / "metrics")
    assert list(frame.columns) == METRICS.names
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["epoch"].dtype == np.int32
    assert frame["test_loss"].tolist() == [0.125, 0.25, 0.375]
    assert frame["grad_norm"].isna().tolist() == [False, False, True]
    assert frame["finished_at"].tolist() == [pd.Timestamp(NOON)] * 3


# Files of other writers, which have no seal


def unsealed(table: pa.Table, write_page_checksum: bool = False) -> bytes:
    """The table as somebody else would write it."""
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=write_page_checksum)
    return sink.getvalue()


def test_a_file_without_a_seal_is_read_and_its_page_checksums_are_checked_if_it_has_them():
    sealed = to_parquet([row(MEMBERS)], MEMBERS)
    copied = unsealed(pq.read_table(io.BytesIO(sealed)))
    assert tables.SEAL_KEY.encode() not in copied
    assert from_parquet(copied, MEMBERS, "here").equals(from_parquet(sealed, MEMBERS, "here"))
    table = pa.table({"experiment": ["x"], "learning_rate": [1234.5]})
    for checksum in (False, True):
        data = bytearray(unsealed(table, write_page_checksum=checksum))
        data[data.index(struct.pack("<d", 1234.5))] ^= 1
        if checksum:
            with pytest.raises(CorruptData, match=r"CRC|checksum"):
                from_parquet(bytes(data), MEMBERS, "here")
        else:
            altered = from_parquet(bytes(data), MEMBERS, "here")
            assert altered["learning_rate"][0].as_py() != 1234.5


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (pa.table({"epoch": [1], "loss": [0.5]}), "it has no column 'experiment'"),
        (pa.table({"experiment": ["figure-9"], "index": ["first"]}), "first"),
        (pa.table({"experiment": ["figure-9"], "index": [2**31]}), "2147483648"),
        (pa.table([["figure-9"], [1], [2]], ["experiment", "index", "index"]), "index"),
    ],
)
def test_a_file_without_a_seal_has_to_fit(table: pa.Table, complaint: str):
    with pytest.raises(CorruptData, match=complaint):
        from_parquet(unsealed(table), MEMBERS, "here")
