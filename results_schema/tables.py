"""The store's tables: Arrow schemas whose fields carry their unit and meaning, and row checks.

A column's metadata has `doc`, `unit` where it has one, and `kind`: `result` for what the spec
decides, `provenance` for what the machine and the moment decide. Two stores hold the same
results when their `result` columns are equal (`canonical`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results_schema import layout, seal
from results_schema.columns import (
    GPU_SHARE,
    INT,
    LONG,
    REAL,
    TEXT,
    TIME,
    WHERE,
    noted,
    result,
    table,
)
from results_schema.errors import CorruptData, SpecError

_NAME = (
    result("base", TEXT, "the published genotype"),
    result("variant", TEXT, "name of the cell: the base's own, or how it was drawn from it"),
    result("index", INT, "place on a figure's axis; 0 is the base"),
)
_SHAPE = (
    result("width", REAL, "of the normal cell's live nodes (Section 3.2)", unit="c"),
    result("depth", INT, "of the normal cell's paths from an input to the output", unit="edges"),
)
_ALL_NODES = (
    result(
        "width_all_nodes",
        REAL,
        "width with dead nodes; null in files of older releases, whose width is this one",
        unit="c",
        null=True,
    ),
    result(
        "depth_all_nodes",
        INT,
        "depth with paths from nodes without edges; null in files of older releases",
        unit="edges",
        null=True,
    ),
)

METRICS = table(
    "metrics",
    result("trial_id", TEXT, "the trial"),
    result("epoch", INT, "1 to E; the row says how things stood after this epoch"),
    result("rate", REAL, "the learning rate during this epoch"),
    result("train_loss", REAL, "mean cross-entropy over the epoch's training images", unit="nat"),
    result("train_accuracy", REAL, "share of training images classified rightly", unit="1"),
    result("test_loss", REAL, "mean cross-entropy over the test set", unit="nat"),
    result("test_accuracy", REAL, "share of test images classified rightly", unit="1"),
    result("grad_norm", REAL, "mean over the steps of the global gradient norm before clipping"),
    result("clip_rate", REAL, "share of steps whose gradient was clipped", unit="1"),
    noted("seconds", REAL, "wall time of the epoch, training and evaluation", unit="s"),
    noted("images_per_second", REAL, "training images a second, without evaluation", unit="1/s"),
    noted("peak_memory", LONG, "most memory in use so far, of the device or process", unit="B"),
    noted("finished_at", TIME, "when the epoch ended"),
)

TRIALS = table(
    "trials",
    result("trial_id", TEXT, "the trial"),
    result("status", TEXT, "done, or diverged: the loss or a weight became NaN or infinite"),
    result("dataset", TEXT, "name of the data set"),
    result("learning_rate", REAL, "at the first epoch"),
    result("seed", LONG, "of every draw"),
    result("precision", TEXT, "of the arithmetic"),
    result("recipe_version", INT, "of the training algorithm"),
    *_SHAPE,
    result("parameters", LONG, "trainable numbers of the network"),
    result("epochs", INT, "epochs trained; fewer than the recipe's if the trial diverged"),
    result("train_loss", REAL, "after the last epoch", unit="nat"),
    result("test_loss", REAL, "after the last epoch", unit="nat"),
    result("test_accuracy", REAL, "after the last epoch, the paper's 'at convergence'", unit="1"),
    result("best_test_accuracy", REAL, "largest of all epochs", unit="1"),
    result("late_test_accuracy", REAL, "mean of the last ten epochs", unit="1"),
    result("spec", TEXT, "the trial's canonical JSON"),
    noted("exit_reason", TEXT, "why the trial ended"),
    noted("started_at", TIME, "when the first attempt began"),
    noted("ended_at", TIME, "when the trial ended"),
    noted("train_seconds", REAL, "sum of the epochs' wall times", unit="s"),
    noted("attempts", INT, "how many workers trained it"),
    noted(
        "form",
        TEXT,
        "of the training steps: eager, or graphed in a CUDA graph; null in rows of older releases",
        null=True,
    ),
    noted("pack_size", INT, "trials of its last worker's pack; null in older rows", null=True),
    GPU_SHARE,
    *WHERE,
)

MEMBERS = table(
    "members",
    result("experiment", TEXT, "name of the experiment"),
    result("profile", TEXT, "the profile it was launched with, or null", null=True),
    *_NAME,
    result("named_dataset", TEXT, "the data set that the experiment names"),
    result("dataset", TEXT, "the one trained on; a profile may put a stand-in"),
    result("learning_rate", REAL, "at the first epoch"),
    result("seed", LONG, "of every draw"),
    *_SHAPE,
    *_ALL_NODES,
    result("trial_id", TEXT, "the trial"),
)

CELLS = table(
    "cells",
    result("experiment", TEXT, "name of the experiment"),
    *_NAME,
    *_SHAPE,
    *_ALL_NODES,
    result("genotype", TEXT, "both cells, as JSON"),
)
"""The cells that an experiment names: those of its members, and those that it only draws."""


def to_parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """One Parquet file with page checksums and a seal over all of it.

    Raises:
        SpecError: A row's keys are not the schema's, a value has another type than its column or
            is too large for it, a time lacks its zone, or a column that must be filled is null.
    """
    rows, kinds = list(rows), _kinds(schema)
    for row in rows:
        _check_row(row, kinds, schema)
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise SpecError(f"a row does not fit {_name(schema)}: {error}") from error
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, write_page_checksum=True, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({seal.KEY: seal.BLANK})
    return seal.seal(sink.getvalue())


def mark(schema: pa.Schema) -> bytes:
    """Bytes that are in a file of `to_parquet` if its columns, with all said of them, are these."""
    return base64.b64encode(schema.serialize().to_pybytes())


def open_parquet(data: bytes) -> pq.ParquetFile:
    """Open the bytes of a file, each page of which is checked when it is read.

    Arrow's threads never see a Python object: one that drops such a file while the interpreter
    exits ends the process with "terminate called without an active exception".

    Raises:
        ArrowException: It is no Parquet file, or its footer is damaged.
    """
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)


def from_parquet(data: bytes, schema: pa.Schema, where: str) -> pa.Table:
    """The table of one file, its bytes checked against their seal before they are parsed.

    Args:
        data: The file's bytes; those of another writer, such as pandas, lack the seal.
        schema: What the table must have; columns that an older release lacked come out as nulls.
        where: The file's key, after whose item every row must be named in its first column.

    Raises:
        CorruptData: A byte was altered or lost since `to_parquet`, columns do not fit, or the rows
            are those of another item than the file is named after.
    """
    try:
        if seal.is_sealed(data) and not seal.is_sound(data):
            raise ValueError("its bytes do not match their SHA-256")
        table = open_parquet(data).read(use_threads=False)
        if schema.names[0] not in table.column_names:
            raise ValueError(f"it has no column {schema.names[0]!r}")
        _check_owner(table[schema.names[0]], where)
        columns = [
            table[name].cast(schema.field(name).type)
            if name in table.column_names
            else pa.nulls(len(table), schema.field(name).type)
            for name in schema.names
        ]
        return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise CorruptData(
            f"not a sound {_name(schema)} table: {error}",
            where=where,
            fix="delete it and launch again: what it held is rebuilt from the checkpoint",
        ) from error


def is_of(file: pq.ParquetFile, item: str) -> bool:
    """Return whether every row of a file is an item's by its first column; no column is decoded.

    The footer's statistics say so; False where they are lacking.
    """
    groups = (file.metadata.row_group(n).column(0) for n in range(file.metadata.num_row_groups))
    found = [one.statistics for one in groups if one.num_values]
    return all(one is not None and one.has_min_max and one.min == one.max == item for one in found)


def _check_owner(column: pa.ChunkedArray, where: str) -> None:
    """Return if all values are the item that a file is named after, or its name is no item's.

    Raises:
        ValueError: A value is another.
    """
    owner = layout.owner(where)
    others = [value for value in column.unique().to_pylist() if value != owner]
    if owner is not None and others:
        raise ValueError(f"it has rows of {others[0]!r}")


def canonical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The `result` columns alone, ordered: the same for the same results, wherever made.

    A diverged trial's rows hold NaN, which Arrow takes for unequal to itself: compare two tables
    by `canonical(a, schema).to_pandas().equals(canonical(b, schema).to_pandas())`.
    """
    names = [f.name for f in schema if f.metadata[b"kind"] == b"result"]
    keys = [name for name in ("experiment", "trial_id", "epoch", "index") if name in names]
    # Sorting is not stable, so rows alike in their keys need the other columns to settle it.
    order = [*keys, *(name for name in names if name not in keys)]
    return table.select(names).sort_by([(name, "ascending") for name in order])


@dataclass(frozen=True)
class _Kind:
    """What a column takes, as Python's types: rows are checked each time they are published."""

    types: type | tuple[type, ...]
    nullable: bool
    truth: bool


@cache
def _kinds(schema: pa.Schema) -> dict[str, _Kind]:
    """By column."""
    return {
        field.name: _Kind(_python_type(field.type), field.nullable, pa.types.is_boolean(field.type))
        for field in schema
    }


def _check_row(row: Mapping[str, Any], kinds: Mapping[str, _Kind], schema: pa.Schema) -> None:
    if row.keys() != kinds.keys():
        raise SpecError(f"a row of {_name(schema)} lacks or adds {sorted({*row} ^ {*kinds})}")
    for name, kind in kinds.items():
        value = row[name]
        if value is None and kind.nullable:
            continue
        if not isinstance(value, kind.types) or (isinstance(value, bool) and not kind.truth):
            raise SpecError(
                f"{_name(schema)}.{name} is {value!r}, not of type {schema.field(name).type}"
            )
        if isinstance(value, datetime) and value.tzinfo is None:
            raise SpecError(
                f"{_name(schema)}.{name} is {value!r}, without a time zone",
                fix="use datetime.now(UTC)",
            )


def _name(schema: pa.Schema) -> str:
    return schema.metadata[b"table"].decode()


def _python_type(kind: pa.DataType) -> type | tuple[type, ...]:
    if pa.types.is_floating(kind):
        return float
    if pa.types.is_integer(kind):
        return int
    if pa.types.is_boolean(kind):
        return bool
    return datetime if pa.types.is_timestamp(kind) else str
