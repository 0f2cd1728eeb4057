"""The store's tables: Arrow schemas whose fields carry their unit and meaning, and row checks.

A column's metadata has `doc`, `unit` where it has one, and `kind`: `result` for what the spec
decides, `provenance` for what the machine and the moment decide. Two stores hold the same
results when their `result` columns are equal (`canonical`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results_schema import layout
from results_schema.errors import CorruptData, SpecError

SCHEMA_VERSION = "1"

TEXT, INT, LONG, REAL, FLAG = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")


def result(name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False):
    """A column that the spec decides."""
    return _column(name, kind, doc, unit, null, "result")


def noted(name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False):
    """A column that the machine and the moment decide: provenance."""
    return _column(name, kind, doc, unit, null, "provenance")


def _table(name: str, *columns: pa.Field) -> pa.Schema:
    """A table's columns."""
    return pa.schema(columns, metadata={"table": name, "schema_version": SCHEMA_VERSION})


def _column(name: str, kind: pa.DataType, doc: str, unit: str, null: bool, of: str) -> pa.Field:
    metadata = {"doc": doc, "kind": of} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=null, metadata=metadata)


GPU_SHARE = noted(
    "gpu_share",
    REAL,
    "GPUs that its last worker had to itself, below 1 a share of one; null on a CPU and in rows of "
    "older releases",
    null=True,
)
WHERE = (
    noted("host", TEXT, "of the last attempt"),
    noted("device", TEXT, "the GPU's or processor's name"),
    noted("gpu", FLAG, "whether that is a GPU; null in rows of older releases", null=True),
    noted("deterministic", FLAG, "whether a GPU had to give the same bits again"),
    noted("threads", INT, "CPU threads of the arithmetic"),
    noted("python", TEXT, "version"),
    noted("torch", TEXT, "version"),
    noted("cuda", TEXT, "version that torch was built with", null=True),
    noted("cudnn", TEXT, "version", null=True),
    noted("ray", TEXT, "version, null without Ray", null=True),
    noted("release", TEXT, "version of nas-sweep"),
    noted("commit", TEXT, "of the code, null outside a checkout", null=True),
    noted("dirty", FLAG, "whether the checkout had changes", null=True),
)
"""Where and with what something was computed (`workers.training.device.provenance`)."""


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

METRICS = _table(
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

TRIALS = _table(
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

MEMBERS = _table(
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

CELLS = _table(
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
        writer.add_key_value_metadata({SEAL_KEY: SEAL_BLANK})
    return seal(sink.getvalue())


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
        if is_sealed(data) and not is_sound(data):
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


WANTED = _table(
    "wanted",
    result("experiment", TEXT, "name of the experiment"),
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is of"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("points", INT, "of its grid, or most products of a curvature"),
)

POINTS = _table(
    "points",
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("row", INT, "index of alpha, from 0"),
    result("column", INT, "index of beta, from 0"),
    result("alpha", REAL, "along the first direction"),
    result("beta", REAL, "along the second direction"),
    result("loss", REAL, "mean cross-entropy; infinite or NaN where it overflows", unit="nat"),
    result("accuracy", REAL, "share of images classified rightly", unit="1"),
    result("variance", REAL, "E‖g_i − E g‖² over instances; null in a contour", null=True),
    result("standard_error", REAL, "of the variance, over instances; at the centre", null=True),
    result("weights_variance", REAL, "the same without one-dimensional parameters", null=True),
    result("weights_standard_error", REAL, "of that", null=True),
    result("gradient_norm", REAL, "norm of the mean gradient", null=True),
    result("by_parameter", TEXT, "JSON: each parameter's variance, where asked for", null=True),
    result(
        "probe",
        TEXT,
        "what a curvature's product with the Hessian is for, eigenvalues or trace; else null",
        null=True,
    ),
    result("step", INT, "number of that product, from 0", null=True),
    result("product", REAL, "vᵀHv of its vector v", null=True),
    result("rest", REAL, "of eigenvalues: norm of what Lanczos's step left of Hv", null=True),
    noted(
        "checkpoint",
        TEXT,
        "SHA-256 of the tensors that were measured; null of the untrained network, in older rows",
        null=True,
    ),
    noted("seconds", REAL, "wall time of the point", unit="s"),
    noted("finished_at", TIME, "when it was measured"),
)

SURFACES = _table(
    "surfaces",
    result("surface_id", TEXT, "the surface"),
    result("trial_id", TEXT, "the trial whose network it is"),
    result("kind", TEXT, "contour, gradient_variance or curvature"),
    result("status", TEXT, "done, or diverged: a weight of the network is NaN or infinite"),
    result("epoch", INT, "of the checkpoint that was measured; 0 is the untrained network"),
    result("rows", INT, "number of alphas"),
    result("columns", INT, "number of betas"),
    result("extent", REAL, "alpha and beta reach from minus this to this"),
    result("seed", LONG, "of the directions, or of curvature's random vectors"),
    result("pair", INT, "which of the seed's pairs of directions"),
    result("normalisation", TEXT, "of the directions: filter, layer or none"),
    result("split", TEXT, "test or train"),
    result("instances", LONG, "how many images it was measured on"),
    result("precision", TEXT, "of the arithmetic"),
    result("cosine", REAL, "of the angle between the directions", null=True),
    result("loss", REAL, "at the centre", unit="nat", null=True),
    result("smallest_loss", REAL, "of the finite ones", unit="nat", null=True),
    result("largest_loss", REAL, "of the finite ones", unit="nat", null=True),
    result("nonfinite", REAL, "share of points whose loss is infinite or NaN", unit="1", null=True),
    result("radius", REAL, "from the centre to the nearest twofold loss", null=True),
    result(
        "bounded",
        FLAG,
        "whether twofold loss is reached; else radius is the circle's searched",
        null=True,
    ),
    result(
        "rise_radius",
        REAL,
        "from the centre to the nearest loss 1 nat above the centre's; null in older rows",
        null=True,
    ),
    result("rise_bounded", FLAG, "whether that is reached, like bounded", null=True),
    result("convex", REAL, "share of points in the near-convex region", unit="1", null=True),
    result("roughness", REAL, "mean |second derivative| of log₁₀ loss", null=True),
    result("variance", REAL, "of the gradient over instances, at the centre", null=True),
    result("standard_error", REAL, "of the variance", null=True),
    result("weights_variance", REAL, "without one-dimensional parameters", null=True),
    result(
        "batch_variance",
        REAL,
        "of the mean gradient of a batch of the recipe's size, drawn from all training images",
        null=True,
    ),
    result("parameters", LONG, "entries of the gradient", null=True),
    result("top_eigenvalue", REAL, "the Hessian's largest, at the centre", null=True),
    result(
        "top_residual", REAL, "of its eigenvector: bounds the distance to an eigenvalue", null=True
    ),
    result("bottom_eigenvalue", REAL, "the Hessian's smallest", null=True),
    result("bottom_residual", REAL, "of its eigenvector", null=True),
    result(
        "bottom_converged",
        FLAG,
        "whether the bottom residual came within tolerance; null in older rows",
        null=True,
    ),
    result("eigen_iterations", INT, "products with the Hessian", null=True),
    result("eigen_converged", FLAG, "whether the top residual came within tolerance", null=True),
    result("trace", REAL, "of the Hessian (Hutchinson)", null=True),
    result("trace_standard_error", REAL, "of the trace over probes", null=True),
    result("trace_probes", INT, "random vectors drawn", null=True),
    result("trace_converged", FLAG, "whether that error came within tolerance", null=True),
    result("notes", TEXT, "JSON: why a number could not be had, by its name"),
    result("spec", TEXT, "the surface's canonical JSON"),
    noted(
        "checkpoint",
        TEXT,
        "SHA-256 of the tensors that were measured; null of the untrained network, in older rows",
        null=True,
    ),
    noted("exit_reason", TEXT, "why it ended"),
    noted("started_at", TIME, "when the last attempt began"),
    noted("ended_at", TIME, "when it was finished"),
    noted("measure_seconds", REAL, "sum of the points' wall times", unit="s"),
    GPU_SHARE,
    *WHERE,
)


SEAL_KEY = "nas-sweep-sha256"
SEAL_BLANK = f"{SEAL_KEY}:{'0' * 64}"
"""What a writer puts into the metadata, under `SEAL_KEY`, for `seal` to fill in."""

_SEAL = re.compile(rb"%b:[0-9a-f]{64}" % SEAL_KEY.encode())


def seal(data: bytes) -> bytes:
    """The file with its last `SEAL_BLANK` replaced by its digest.

    Raises:
        ValueError: There is no `SEAL_BLANK`.
    """
    head, blank, tail = data.rpartition(SEAL_BLANK.encode())
    if not blank:
        raise ValueError(f"nothing to seal: the file lacks {SEAL_BLANK!r}")
    return head + f"{SEAL_KEY}:{hashlib.sha256(data).hexdigest()}".encode() + tail


def is_sealed(data: bytes) -> bool:
    """Whether the file has, or had, a seal.

    `SEAL_KEY` is there twice, as the metadata's key and before the digest, so that a file does not
    pass for unsealed because a bit of its seal was flipped.
    """
    return SEAL_KEY.encode() in data


def is_sound(data: bytes) -> bool:
    """Whether a sealed file is as it was when it was sealed."""
    seals = list(_SEAL.finditer(data))
    if not seals:
        return False
    start, end = seals[-1].span()
    return seal(data[:start] + SEAL_BLANK.encode() + data[end:]) == data
