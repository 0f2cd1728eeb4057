"""The seal: any damage to a sealed file is noticed, and a file without one is read as it is."""

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results_schema import tables
from results_schema.errors import CorruptData
from results_schema.tables import MEMBERS, from_parquet, to_parquet

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
    assert tables.is_sound(sealed)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        assert not tables.is_sound(bytes(altered))


def test_a_sealed_file_that_got_longer_is_noticed(sealed: bytes):
    for altered in (sealed + b"\0", b"\0" + sealed, sealed + sealed):
        with pytest.raises(CorruptData):
            from_parquet(altered, MEMBERS, "here")


def test_a_file_without_a_seal_is_read(sealed: bytes):
    table = from_parquet(sealed, MEMBERS, "here")
    copied = unsealed(pq.read_table(io.BytesIO(sealed)))
    assert not tables.is_sealed(copied)
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
