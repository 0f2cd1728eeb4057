"""The store's tables: Arrow schemas whose fields carry their unit and meaning, and row checks.

A column's metadata has `doc`, `unit` where it has one, and `kind`: `result` for what the spec
decides, `provenance` for what the machine and the moment decide. Two stores hold the same
results when their `result` columns are equal (`canonical`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results_schema import seal
from results_schema.errors import CorruptData, SpecError

SCHEMA_VERSION = "1"


def _field(
    name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False, of: str = ""
) -> pa.Field:
    metadata = {"doc": doc, "kind": of or "result"} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=null, metadata=metadata)


def _noted(name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False):
    return _field(name, kind, doc, unit=unit, null=null, of="provenance")


def _schema(name: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"table": name, "schema_version": SCHEMA_VERSION})


_TEXT, _INT, _LONG, _REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()
_TIME = pa.timestamp("us", tz="UTC")

METRICS = _schema(
    "metrics",
    _field("trial_id", _TEXT, "the trial"),
    _field("epoch", _INT, "1 to E; the row says how things stood after this epoch"),
    _field("rate", _REAL, "the learning rate during this epoch"),
    _field("train_loss", _REAL, "mean cross-entropy over the epoch's training images", unit="nat"),
    _field("train_accuracy", _REAL, "share of training images classified rightly", unit="1"),
    _field("test_loss", _REAL, "mean cross-entropy over the test set", unit="nat"),
    _field("test_accuracy", _REAL, "share of test images classified rightly", unit="1"),
    _field("grad_norm", _REAL, "mean over the steps of the global gradient norm before clipping"),
    _field("clip_rate", _REAL, "share of steps whose gradient was clipped", unit="1"),
    _noted("seconds", _REAL, "wall time of the epoch, training and evaluation", unit="s"),
    _noted("images_per_second", _REAL, "training images a second, without evaluation", unit="1/s"),
    _noted("peak_memory", _LONG, "most memory in use so far, of the device or process", unit="B"),
    _noted("finished_at", _TIME, "when the epoch ended"),
)

TRIALS = _schema(
    "trials",
    _field("trial_id", _TEXT, "the trial"),
    _field("status", _TEXT, "done, or diverged: the loss or a weight became NaN or infinite"),
    _field("dataset", _TEXT, "name of the data set"),
    _field("learning_rate", _REAL, "at the first epoch"),
    _field("seed", _LONG, "of every draw"),
    _field("precision", _TEXT, "of the arithmetic"),
    _field("width", _REAL, "of the normal cell (Section 3.2)", unit="c"),
    _field("depth", _INT, "of the normal cell (Section 3.2)", unit="edges"),
    _field("parameters", _LONG, "trainable numbers of the network"),
    _field("epochs", _INT, "epochs trained; fewer than the recipe's if the trial diverged"),
    _field("train_loss", _REAL, "after the last epoch", unit="nat"),
    _field("test_loss", _REAL, "after the last epoch", unit="nat"),
    _field("test_accuracy", _REAL, "after the last epoch, the paper's 'at convergence'", unit="1"),
    _field("best_test_accuracy", _REAL, "largest of all epochs", unit="1"),
    _field("late_test_accuracy", _REAL, "mean of the last ten epochs", unit="1"),
    _field("spec", _TEXT, "the trial's canonical JSON"),
    _noted("exit_reason", _TEXT, "why the trial ended"),
    _noted("started_at", _TIME, "when the first attempt began"),
    _noted("ended_at", _TIME, "when the trial ended"),
    _noted("train_seconds", _REAL, "sum of the epochs' wall times", unit="s"),
    _noted("attempts", _INT, "how many workers trained it"),
    _noted("host", _TEXT, "of the last attempt"),
    _noted("device", _TEXT, "the GPU's or processor's name"),
    _noted("threads", _INT, "CPU threads of the arithmetic"),
    _noted("python", _TEXT, "version"),
    _noted("torch", _TEXT, "version"),
    _noted("cuda", _TEXT, "version that torch was built with", null=True),
    _noted("cudnn", _TEXT, "version", null=True),
    _noted("ray", _TEXT, "version, null without Ray", null=True),
    _noted("release", _TEXT, "version of nas-sweep"),
    _noted("commit", _TEXT, "of the code, null outside a checkout", null=True),
    _noted("dirty", pa.bool_(), "whether the checkout had changes", null=True),
)

MEMBERS = _schema(
    "members",
    _field("experiment", _TEXT, "name of the experiment"),
    _field("profile", _TEXT, "the profile it was launched with, or null", null=True),
    _field("base", _TEXT, "the published genotype"),
    _field("variant", _TEXT, "name of the cell: the base's own, or how it was drawn from it"),
    _field("index", _INT, "place on a figure's axis; 0 is the base"),
    _field("named_dataset", _TEXT, "the data set that the experiment names"),
    _field("dataset", _TEXT, "the one trained on; a profile may put a stand-in"),
    _field("learning_rate", _REAL, "at the first epoch"),
    _field("seed", _LONG, "of every draw"),
    _field("width", _REAL, "of the normal cell (Section 3.2)", unit="c"),
    _field("depth", _INT, "of the normal cell (Section 3.2)", unit="edges"),
    _field("trial_id", _TEXT, "the trial"),
)


def to_parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """One Parquet file with page checksums and a seal over all of it.

    Raises:
        SpecError: A row's keys are not the schema's, a value has another type than its column or
            is too large for it, a time lacks its zone, or a column that must be filled is null.
    """
    rows = list(rows)
    for row in rows:
        _check_row(row, schema)
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise SpecError(f"a row does not fit {_name(schema)}: {error}") from error
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, write_page_checksum=True, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({seal.KEY: seal.BLANK})
    return seal.seal(sink.getvalue())


def from_parquet(data: bytes, schema: pa.Schema, where: str) -> pa.Table:
    """The table of one file, its bytes checked against their seal before they are parsed.

    Args:
        data: The file's bytes; those of another writer, such as pandas, lack the seal.
        schema: What the table must have; columns that an older release lacked come out as nulls.
        where: The file's name, for the error.

    Raises:
        CorruptData: A byte was altered or lost since `to_parquet`, or columns do not fit.
    """
    try:
        if seal.is_sealed(data) and not seal.is_sound(data):
            raise ValueError("its bytes do not match their SHA-256")
        table = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
        if schema.names[0] not in table.column_names:
            raise ValueError(f"it has no column {schema.names[0]!r}")
        columns = [
            table[name].cast(schema.field(name).type)
            if name in table.column_names
            else pa.nulls(len(table), schema.field(name).type)
            for name in schema.names
        ]
        return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptData(
            f"not a sound {_name(schema)} table: {error}",
            where=where,
            fix="delete it and launch again: what it held is rebuilt from the checkpoint",
        ) from error


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


def _check_row(row: Mapping[str, Any], schema: pa.Schema) -> None:
    table = _name(schema)
    if set(row) != set(schema.names):
        odd = sorted(set(row) ^ set(schema.names))
        raise SpecError(f"a row of {table} lacks or adds {odd}")
    for field in schema:
        value = row[field.name]
        if value is None and field.nullable:
            continue
        if not isinstance(value, _python_type(field.type)) or (
            isinstance(value, bool) and not pa.types.is_boolean(field.type)
        ):
            raise SpecError(f"{table}.{field.name} is {value!r}, not of type {field.type}")
        if isinstance(value, datetime) and value.tzinfo is None:
            raise SpecError(
                f"{table}.{field.name} is {value!r}, without a time zone",
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
