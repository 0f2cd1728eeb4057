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
from results_schema.tables import (
    MEMBERS,
    METRICS,
    TRIALS,
    embedded_schema,
    from_parquet,
    to_parquet,
)

NOON = datetime(2020, 4, 26, 12, tzinfo=UTC)


Row = dict[str, Any]


def sample(kind: pa.DataType, number: int) -> Any:
    """A value of an Arrow type."""
    if pa.types.is_floating(kind):
        return number / 8
    if pa.types.is_integer(kind):
        return number
    if pa.types.is_boolean(kind):
        return bool(number % 2)
    return NOON if pa.types.is_timestamp(kind) else f"text {number} ½"


def row(schema: pa.Schema, number: int = 1, **given: Any) -> Row:
    """A row whose columns hold values of their types."""
    return {field.name: sample(field.type, number) for field in schema} | given


@pytest.mark.parametrize("schema", [METRICS, TRIALS, MEMBERS])
def test_rows_come_back(schema: pa.Schema):
    rows = [row(schema, 1), row(schema, 2)]
    assert from_parquet(to_parquet(rows, schema), schema, "here").to_pylist() == rows


@pytest.mark.parametrize("schema", [METRICS, TRIALS, MEMBERS])
def test_no_rows_make_a_file_with_all_columns(schema: pa.Schema):
    empty = from_parquet(to_parquet([], schema), schema, "here")
    assert (empty.num_rows, empty.column_names) == (0, schema.names)


@pytest.mark.parametrize("schema", [METRICS, TRIALS, MEMBERS])
def test_a_file_contains_its_own_schema_alone(schema: pa.Schema):
    written = to_parquet([row(schema)], schema)
    assert embedded_schema(schema) in written
    assert embedded_schema(older(schema, schema.names[-1])) not in written


@pytest.mark.parametrize("schema", [METRICS, TRIALS, MEMBERS])
def test_every_column_has_its_meaning(schema: pa.Schema):
    for field in schema:
        assert field.metadata[b"doc"]
        assert field.metadata[b"kind"] in (b"result", b"provenance")


def test_nan_and_infinity_are_results():
    rows = [row(METRICS, train_loss=float("nan"), test_loss=float("inf"))]
    back = from_parquet(to_parquet(rows, METRICS), METRICS, "here").to_pandas()
    assert np.isnan(back["train_loss"][0])
    assert np.isposinf(back["test_loss"][0])


def test_times_are_kept_as_moments_whatever_their_zone():
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    table = from_parquet(to_parquet([row(METRICS, finished_at=tokyo)], METRICS), METRICS, "here")
    assert table["finished_at"].to_pylist() == [NOON]


@pytest.mark.parametrize("schema", [METRICS, TRIALS, MEMBERS])
def test_a_row_lacking_or_adding_a_column_is_refused(schema: pa.Schema):
    short = row(schema)
    del short["trial_id"]
    with pytest.raises(SpecError, match="trial_id"):
        to_parquet([row(schema), short], schema)
    with pytest.raises(SpecError, match="colour"):
        to_parquet([row(schema, colour="red")], schema)


@pytest.mark.parametrize(
    ("schema", "column", "value"),
    [
        (METRICS, "trial_id", None),
        (METRICS, "test_accuracy", None),
        (METRICS, "finished_at", None),
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
        (METRICS, "finished_at", 1.6e9),
        (METRICS, "finished_at", "2020-04-26"),
        (METRICS, "finished_at", NOON.replace(tzinfo=None)),
        (TRIALS, "dirty", 1),
        (TRIALS, "cuda", 13.0),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(
    schema: pa.Schema, column: str, value: Any
):
    with pytest.raises(SpecError):
        to_parquet([row(schema), row(schema, **{column: value})], schema)


def test_a_refused_value_is_named_with_its_table_and_column():
    with pytest.raises(SpecError, match=r"metrics\.test_accuracy is 1, not of type double"):
        to_parquet([row(METRICS, test_accuracy=1)], METRICS)


def test_columns_that_may_be_null_may_be_null():
    unknown = {field.name: None for field in TRIALS if field.nullable}
    assert unknown
    table = from_parquet(to_parquet([row(TRIALS) | unknown], TRIALS), TRIALS, "here")
    assert all(table[name].null_count == 1 for name in unknown)


def test_a_flipped_bit_anywhere_is_noticed():
    sound = to_parquet([row(METRICS, number) for number in (1, 2, 3)], METRICS)
    footer = len(sound) - int.from_bytes(sound[-8:-4], "little") - 8
    draw = random.Random(0)
    bits = [draw.randrange(8 * footer) for _ in range(300)]
    bits += [draw.randrange(8 * footer, 8 * len(sound)) for _ in range(300)]
    for bit in bits:
        altered = bytearray(sound)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptData):
            from_parquet(bytes(altered), METRICS, "here")


@pytest.mark.parametrize("kept", [0, 1, 8, 500, -8, -1])
def test_a_cut_file_is_noticed(kept: int):
    with pytest.raises(CorruptData, match=r"metrics/x\.parquet: not a sound metrics table"):
        from_parquet(to_parquet([row(METRICS)], METRICS)[:kept], METRICS, "metrics/x.parquet")


@pytest.mark.parametrize("data", [b"PAR1PAR1", b"{}", bytes(10_000), tables.SEAL_BLANK.encode()])
def test_bytes_that_are_no_table_are_noticed(data: bytes):
    with pytest.raises(CorruptData):
        from_parquet(data, METRICS, "here")


def test_sealed_bytes_that_are_no_parquet_are_noticed():
    with pytest.raises(CorruptData):
        from_parquet(tables.seal(tables.SEAL_BLANK.encode()), METRICS, "here")


def test_a_text_that_looks_like_a_seal_does_no_harm():
    rows = [
        row(TRIALS, spec=tables.SEAL_BLANK, host=tables.seal(tables.SEAL_BLANK.encode()).decode())
    ]
    assert from_parquet(to_parquet(rows, TRIALS), TRIALS, "here").to_pylist() == rows


def test_what_cannot_be_sealed_is_refused():
    with pytest.raises(ValueError, match="nothing to seal"):
        tables.seal(b"PAR1")


def older(schema: pa.Schema, *lacking: str) -> pa.Schema:
    """The schema as a release had it that did not know some columns yet."""
    return pa.schema([f for f in schema if f.name not in lacking], metadata=schema.metadata)


def test_a_column_that_an_older_file_lacks_reads_as_null():
    schema = older(METRICS, "grad_norm", "finished_at")
    table = from_parquet(to_parquet([row(schema)], schema), METRICS, "here")
    assert table.schema.names == METRICS.names
    assert table["grad_norm"].to_pylist() == table["finished_at"].to_pylist() == [None]
    assert table["test_loss"].to_pylist() == [row(schema)["test_loss"]]


def test_a_column_that_has_been_widened_reads_older_files():
    place = METRICS.get_field_index("peak_memory")
    narrow = METRICS.set(place, pa.field("peak_memory", pa.int32(), nullable=False))
    table = from_parquet(to_parquet([row(narrow)], narrow), METRICS, "here")
    assert (table["peak_memory"].type, table["peak_memory"].to_pylist()) == (pa.int64(), [1])


def test_a_column_of_another_type_is_corrupt():
    odd = METRICS.set(1, pa.field("epoch", pa.string(), nullable=False))
    with pytest.raises(CorruptData):
        from_parquet(to_parquet([row(odd, epoch="first")], odd), METRICS, "here")


def results(schema: pa.Schema, *rows: Row) -> pd.DataFrame:
    table = from_parquet(to_parquet(rows, schema), schema, "here")
    return result_columns(table, schema).to_pandas()


def test_results_are_equal_wherever_and_in_whatever_order_they_were_made():
    here = [row(METRICS, epoch, train_loss=float("nan")) for epoch in (1, 2, 3)]
    moved = {"seconds": 9.0, "peak_memory": 1, "finished_at": NOON + timedelta(days=1)}
    there = [r | moved for r in reversed(here)]
    assert results(METRICS, *here).equals(results(METRICS, *there))


def test_members_that_share_a_trial_have_one_order():
    rows = [row(MEMBERS, base=base, variant=base) for base in ("darts", "enas", "nasnet")]
    assert results(MEMBERS, *rows).equals(results(MEMBERS, *reversed(rows)))


@pytest.mark.parametrize("column", ["test_loss", "epoch", "trial_id"])
def test_results_differ_where_results_differ(column: str):
    other = row(METRICS) | {column: row(METRICS, 7)[column]}
    assert not results(METRICS, row(METRICS)).equals(results(METRICS, other))


def test_pandas_reads_the_folder_of_a_live_run(tmp_path: Path):
    def put(key: str, data: bytes) -> None:
        path = tmp_path / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    put(layout.schema(layout.METRICS), to_parquet([], METRICS))
    assert list(pd.read_parquet(tmp_path / "metrics").columns) == METRICS.names

    put(layout.metrics("digits-a"), to_parquet([row(METRICS, n) for n in (1, 2)], METRICS))
    past = older(METRICS, "grad_norm")
    put(layout.metrics("digits-b"), to_parquet([row(past, 3)], past))
    frame = pd.read_parquet(tmp_path / "metrics")
    assert list(frame.columns) == METRICS.names
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["epoch"].dtype == np.int32
    assert frame["test_loss"].tolist() == [0.125, 0.25, 0.375]
    assert frame["grad_norm"].isna().tolist() == [False, False, True]
    assert frame["finished_at"].tolist() == [pd.Timestamp(NOON)] * 3


ROW = {f.name: 0.5 if pa.types.is_floating(f.type) else 3 for f in MEMBERS} | {
    f.name: "x" for f in MEMBERS if pa.types.is_string(f.type)
}


@pytest.fixture
def sealed() -> bytes:
    return to_parquet([ROW], MEMBERS)


def unsealed(table: pa.Table, write_page_checksum: bool = False) -> bytes:
    """The table as somebody else would write it."""
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=write_page_checksum)
    return sink.getvalue()


def test_a_flipped_bit_of_the_seal_does_not_make_a_file_pass_for_unsealed(sealed: bytes):
    start = sealed.index(tables.SEAL_KEY.encode())
    end = sealed.index(f"{tables.SEAL_KEY}:".encode()) + len(tables.SEAL_BLANK)
    for place in range(start, end):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[place] ^= 1 << bit
            with pytest.raises(CorruptData, match="do not match their SHA-256"):
                from_parquet(bytes(altered), MEMBERS, "here")


def test_the_seal_depends_on_every_byte(sealed: bytes):
    assert tables.is_sealed(sealed)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        assert not tables.is_sealed(bytes(altered))


def test_a_sealed_file_that_got_longer_is_noticed(sealed: bytes):
    for altered in (sealed + b"\0", b"\0" + sealed, sealed + sealed):
        with pytest.raises(CorruptData):
            from_parquet(altered, MEMBERS, "here")


def test_a_file_without_a_seal_is_read(sealed: bytes):
    table = from_parquet(sealed, MEMBERS, "here")
    copied = unsealed(pq.read_table(io.BytesIO(sealed)))
    assert tables.SEAL_KEY.encode() not in copied
    assert from_parquet(copied, MEMBERS, "here").equals(table)


def test_page_checksums_are_checked_where_a_file_without_a_seal_has_them(sealed: bytes):
    table = pa.table({"experiment": ["x"], "learning_rate": [1234.5]})
    for checksum in (False, True):
        data = bytearray(unsealed(table, write_page_checksum=checksum))
        place = data.index(struct.pack("<d", 1234.5))
        data[place] ^= 1
        if checksum:
            with pytest.raises(CorruptData, match=r"CRC|checksum"):
                from_parquet(bytes(data), MEMBERS, "here")
        else:
            altered = from_parquet(bytes(data), MEMBERS, "here")
            assert altered["learning_rate"][0].as_py() != 1234.5


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"epoch": [1], "loss": [0.5]}, "it has no column 'experiment'"),
        ({"experiment": ["figure-9"], "index": ["first"]}, "first"),
        ({"experiment": ["figure-9"], "index": [2**31]}, "2147483648"),
    ],
)
def test_a_file_without_a_seal_has_to_fit(columns: dict[str, list], complaint: str):
    with pytest.raises(CorruptData, match=complaint):
        from_parquet(unsealed(pa.table(columns)), MEMBERS, "here")


def test_a_column_that_is_there_twice_does_not_fit():
    table = pa.table(
        [pa.array(["figure-9"]), pa.array([1]), pa.array([2])], ["experiment", "index", "index"]
    )
    with pytest.raises(CorruptData):
        from_parquet(unsealed(table), MEMBERS, "here")
