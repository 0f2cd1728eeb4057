"""A copy of a table of a store as it is at one moment.

A live sweep replaces files at any time, and whoever reads a file in several goes may read parts of
two. So each one is read once, whole, checked against its seal and copied to a private folder.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results_schema import layout, tables
from results_schema.errors import MachineError
from results_schema.store import Store


def snapshot(store: Store, folder: str, schema: pa.Schema, to: Path) -> int:
    """Copies the sound files of a table, each with all of the schema's columns in their order.

    Args:
        store: Whose.
        folder: Of `layout`.
        schema: The table's.
        to: An empty folder of one's own.

    Returns:
        How many files there are.

    Raises:
        CorruptData: A file is damaged; the error names it.
        MachineError: The copy can't be written.
    """
    number, ours = 0, tables.mark(schema)
    keys = [key for key in store.list(folder) if key.endswith(".parquet")]
    for key, data in store.several(keys):
        _write(to / f"{number:08d}.parquet", _checked(data, key, schema, ours))
        number += 1
    return number


def _checked(data: bytes, key: str, schema: pa.Schema, ours: bytes) -> bytes:
    """A file's bytes, sound and of the schema."""
    # With all files of one schema DuckDB need not open each of them before it reads the first.
    owner = layout.owner(key)
    whole = ours in data and tables.is_sealed(data) and tables.is_sound(data)
    if whole and (owner is None or tables.is_of(tables.open_parquet(data), owner)):
        return data
    # Damaged, which is told now; or an older release's, or another writer's, of other columns.
    sink = pa.BufferOutputStream()
    pq.write_table(tables.from_parquet(data, schema, key), sink)
    return sink.getvalue().to_pybytes()


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise MachineError(
            f"no copy of the table can be made: {error.strerror}",
            where=str(path.parent),
            fix="make room there, or name another folder in TMPDIR",
        ) from error
