"""The store's tables: Arrow schemas whose fields carry their unit and meaning, and Parquet files.

A column's metadata has `doc`, `unit` where it has one, and `kind`: `result` for what the spec
decides, `provenance` for what the machine and the moment decide. Two stores hold the same results
when their `result` columns are equal. A new column is a field here and a value where the rows are
built: `workers.training.trial` (trials, metrics), `workers.program.training` (those of programs,
null in each column that it does not fill), `workers.landscape.survey` (surfaces, points) or
`orchestrator.config.record` (what an experiment names). Files without it read as null there.

Each file carries its own SHA-256. Parquet's page checksums omit the footer, where one flipped bit
renames a column or drops rows. So a seal is in the footer's metadata, taken with zeros in its own
place. A file that another program wrote has none, and is read as it is.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, SpecError

SEAL_KEY = "nas-sweep-sha256"
SEAL_BLANK = f"{SEAL_KEY}:{'0' * 64}"
"""What a writer puts into the metadata, under `SEAL_KEY`, for `seal` to fill in."""

TEXT, INT, LONG, REAL, FLAG = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
_PYTHON = {TEXT: str, INT: int, LONG: int, REAL: float, FLAG: bool, TIME: datetime}

_SEAL = re.compile(rb"%b:[0-9a-f]{64}" % SEAL_KEY.encode())


def _column(
    name: str, type_: pa.DataType, doc: str, *, unit: str = "", null: bool = False, kind: str
) -> pa.Field:
    metadata = {"doc": doc, "kind": kind} | ({"unit": unit} if unit else {})
    return pa.field(name, type_, nullable=null, metadata=metadata)


_result, _provenance = partial(_column, kind="result"), partial(_column, kind="provenance")


def _table(name: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"table": name, "schema_version": "1"})


GPU_SHARE = _provenance(
    "gpu_share", REAL, "GPUs that its last worker had, below 1 a share; null on a CPU", null=True
)
WHERE = (
    _provenance("host", TEXT, "of the last attempt"),
    _provenance("device", TEXT, "the GPU's or processor's name"),
    _provenance("gpu", FLAG, "whether that is a GPU"),
    _provenance("deterministic", FLAG, "whether a GPU had to give the same bits again"),
    _provenance("threads", INT, "CPU threads of the arithmetic"),
    _provenance("python", TEXT, "version"),
    _provenance("torch", TEXT, "version"),
    _provenance("cuda", TEXT, "version that torch was built with", null=True),
    _provenance("cudnn", TEXT, "version", null=True),
    _provenance("ray", TEXT, "version, null without Ray", null=True),
    _provenance("release", TEXT, "version of nas-sweep"),
    _provenance("commit", TEXT, "of the code, null outside a checkout", null=True),
    _provenance("dirty", FLAG, "whether the checkout had changes", null=True),
)
"""Where and with what something was computed (`workers.training.device`)."""

_NAME = (
    _result("base", TEXT, "the published genotype"),
    _result("variant", TEXT, "name of the cell: the base's own, or how it was drawn from it"),
    _result("index", INT, "place on a figure's axis; 0 is the base"),
)
_SHAPE = (
    _result("width", REAL, "of the normal cell's live nodes (Section 3.2)", unit="c"),
    _result("depth", INT, "of the normal cell's paths from an input to the output", unit="edges"),
)
_ALL_NODES = (
    _result("width_all_nodes", REAL, "width with dead nodes", unit="c"),
    _result("depth_all_nodes", INT, "depth with paths from nodes without edges", unit="edges"),
)

METRICS = _table(
    "metrics",
    _result("trial_id", TEXT, "the trial"),
    _result("epoch", INT, "1 to E; the row is the state after this epoch"),
    _result("rate", REAL, "the learning rate during this epoch"),
    _result("train_loss", REAL, "mean cross-entropy over the epoch's training images", unit="nat"),
    _result("train_accuracy", REAL, "share of training images classified correctly", unit="1"),
    _result("test_loss", REAL, "mean cross-entropy over the test set", unit="nat"),
    _result("test_accuracy", REAL, "share of test images classified correctly", unit="1"),
    _result("val_loss", REAL, "the same over held-out images; null without", unit="nat", null=True),
    _result("val_accuracy", REAL, "share of them that is correct", unit="1", null=True),
    _result("grad_norm", REAL, "mean over the steps of the global gradient norm before clipping"),
    _result("clip_rate", REAL, "share of steps whose gradient was clipped", unit="1"),
    _provenance("seconds", REAL, "wall time of the epoch, training and evaluation", unit="s"),
    _provenance("images_per_second", REAL, "training images a second, no evaluation", unit="1/s"),
    _provenance("peak_memory", LONG, "most memory used so far, of device or process", unit="B"),
    _provenance("finished_at", TIME, "when the epoch ended"),
)

TRIALS = _table(
    "trials",
    _result("trial_id", TEXT, "the trial"),
    _result("status", TEXT, "done, or diverged: the loss or a weight became NaN or infinite"),
    _result("dataset", TEXT, "name of the data set"),
    _result("learning_rate", REAL, "at the first epoch"),
    _result("seed", LONG, "of every draw"),
    _result("precision", TEXT, "of the arithmetic"),
    _result("recipe_version", INT, "of the training algorithm"),
    *_SHAPE,
    _result("parameters", LONG, "trainable numbers of the network"),
    _result("epochs", INT, "epochs trained; fewer than the recipe's if the trial diverged"),
    _result("train_loss", REAL, "after the last epoch", unit="nat"),
    _result("test_loss", REAL, "after the last epoch", unit="nat"),
    _result("test_accuracy", REAL, "after the last epoch, the paper's 'at convergence'", unit="1"),
    _result("best_test_accuracy", REAL, "largest of all epochs, which selects on it", unit="1"),
    _result("late_test_accuracy", REAL, "mean of the last ten epochs", unit="1"),
    _result("val_loss", REAL, "after the last epoch; null without", unit="nat", null=True),
    _result("val_accuracy", REAL, "after the last epoch; null without", unit="1", null=True),
    _result("best_epoch", INT, "first of the largest validation accuracy", null=True),
    _result("selected_test_accuracy", REAL, "after best_epoch", unit="1", null=True),
    _result("spec", TEXT, "the trial's canonical JSON"),
    _provenance("exit_reason", TEXT, "why the trial ended"),
    _provenance("started_at", TIME, "when the first attempt began"),
    _provenance("ended_at", TIME, "when the trial ended"),
    _provenance("train_seconds", REAL, "sum of the epochs' wall times", unit="s"),
    _provenance("attempts", INT, "how many workers trained it"),
    _provenance("form", TEXT, "of the training steps: eager, or graphed in a CUDA graph"),
    _provenance("pack_size", INT, "trials of its last worker's pack"),
    _provenance("origin", TEXT, "imported, for other people's results; else null", null=True),
    GPU_SHARE,
    *WHERE,
)

MEMBERS = _table(
    "members",
    _result("experiment", TEXT, "name of the experiment"),
    _result("profile", TEXT, "the profile it was launched with, or null", null=True),
    *_NAME,
    _result("named_dataset", TEXT, "the data set that the experiment names"),
    _result("dataset", TEXT, "the one trained on; a profile may substitute it"),
    _result("learning_rate", REAL, "at the first epoch"),
    _result("seed", LONG, "of every draw"),
    *_SHAPE,
    *_ALL_NODES,
    _result("trial_id", TEXT, "the trial"),
    _result("axes", TEXT, "values of further axes by key, as JSON; null without any", null=True),
)
"""Readers get a further column for each axis; see `expand_axes`."""

CELLS = _table(
    "cells",
    _result("experiment", TEXT, "name of the experiment"),
    *_NAME,
    *_SHAPE,
    *_ALL_NODES,
    _result("genotype", TEXT, "both cells, as JSON"),
)
"""The cells that an experiment names: those of its members, and those that it only draws."""

_SURFACE = (
    _result("surface_id", TEXT, "the surface"),
    _result("trial_id", TEXT, "the trial whose network it is"),
    _result("kind", TEXT, "contour, gradient_variance or curvature"),
)
_CHECKPOINT = _provenance(
    "checkpoint", TEXT, "SHA-256 of the tensors measured; null for the untrained network", null=True
)

WANTED = _table(
    "wanted",
    _result("experiment", TEXT, "name of the experiment"),
    *_SURFACE,
    _result("points", INT, "of its grid, or most products of a curvature"),
)

POINTS = _table(
    "points",
    *_SURFACE,
    _result("row", INT, "index of alpha, from 0"),
    _result("column", INT, "index of beta, from 0"),
    _result("alpha", REAL, "along the first direction"),
    _result("beta", REAL, "along the second direction"),
    _result("loss", REAL, "mean cross-entropy; infinite or NaN where it overflows", unit="nat"),
    _result("accuracy", REAL, "share of images classified correctly", unit="1"),
    _result("variance", REAL, "E‖g_i − E g‖² over instances; null in a contour", null=True),
    _result("standard_error", REAL, "of the variance, over instances; at the centre", null=True),
    _result("weights_variance", REAL, "the same without one-dimensional parameters", null=True),
    _result("weights_standard_error", REAL, "of that", null=True),
    _result("gradient_norm", REAL, "norm of the mean gradient", null=True),
    _result("by_parameter", TEXT, "JSON: each parameter's variance, where asked for", null=True),
    _result("probe", TEXT, "what a Hessian product is for: eigenvalues or trace", null=True),
    _result("step", INT, "number of that product, from 0", null=True),
    _result("product", REAL, "vᵀHv of its vector v", null=True),
    _result("rest", REAL, "of eigenvalues: norm of what Lanczos's step left of Hv", null=True),
    _CHECKPOINT,
    _provenance("seconds", REAL, "wall time of the point", unit="s"),
    _provenance("finished_at", TIME, "when it was measured"),
)

SURFACES = _table(
    "surfaces",
    *_SURFACE,
    _result("status", TEXT, "done, or diverged: a weight of the network is NaN or infinite"),
    _result("epoch", INT, "of the checkpoint that was measured; 0 is the untrained network"),
    _result("rows", INT, "number of alphas"),
    _result("columns", INT, "number of betas"),
    _result("extent", REAL, "alpha and beta reach from minus this to this"),
    _result("seed", LONG, "of the directions, or of curvature's random vectors"),
    _result("pair", INT, "which of the seed's pairs of directions"),
    _result("normalisation", TEXT, "of the directions: filter, layer or none"),
    _result("split", TEXT, "test or train"),
    _result("instances", LONG, "how many images it was measured on"),
    _result("precision", TEXT, "of the arithmetic"),
    _result("cosine", REAL, "of the angle between the directions", null=True),
    _result("loss", REAL, "at the centre", unit="nat", null=True),
    _result("smallest_loss", REAL, "of the finite ones", unit="nat", null=True),
    _result("largest_loss", REAL, "of the finite ones", unit="nat", null=True),
    _result("nonfinite", REAL, "share of points of infinite or NaN loss", unit="1", null=True),
    _result("radius", REAL, "from the centre to the nearest twofold loss", null=True),
    _result("bounded", FLAG, "whether that is reached; else radius is that searched", null=True),
    _result("rise_radius", REAL, "to the nearest loss 1 nat above the centre's", null=True),
    _result("rise_bounded", FLAG, "whether that is reached, like bounded", null=True),
    _result("convex", REAL, "share of points in the near-convex region", unit="1", null=True),
    _result("roughness", REAL, "mean |second derivative| of log₁₀ loss", null=True),
    _result("variance", REAL, "of the gradient over instances, at the centre", null=True),
    _result("standard_error", REAL, "of the variance", null=True),
    _result("weights_variance", REAL, "without one-dimensional parameters", null=True),
    _result("batch_variance", REAL, "of the gradient over batches of the recipe's size", null=True),
    _result("parameters", LONG, "entries of the gradient", null=True),
    _result("top_eigenvalue", REAL, "the Hessian's largest, at the centre", null=True),
    _result("top_residual", REAL, "of its eigenvector: bounds the eigenvalue's error", null=True),
    _result("bottom_eigenvalue", REAL, "the Hessian's smallest", null=True),
    _result("bottom_residual", REAL, "of its eigenvector", null=True),
    _result("bottom_converged", FLAG, "whether that residual came within tolerance", null=True),
    _result("eigen_iterations", INT, "products with the Hessian", null=True),
    _result("eigen_converged", FLAG, "whether the top residual came within tolerance", null=True),
    _result("trace", REAL, "of the Hessian (Hutchinson)", null=True),
    _result("trace_standard_error", REAL, "of the trace over probes", null=True),
    _result("trace_probes", INT, "random vectors drawn", null=True),
    _result("trace_converged", FLAG, "whether that error came within tolerance", null=True),
    _result("notes", TEXT, "JSON: why a number could not be had, by its name"),
    _result("spec", TEXT, "the surface's canonical JSON"),
    _CHECKPOINT,
    _provenance("exit_reason", TEXT, "why it ended"),
    _provenance("started_at", TIME, "when the last attempt began"),
    _provenance("ended_at", TIME, "when it was finished"),
    _provenance("measure_seconds", REAL, "sum of the points' wall times", unit="s"),
    GPU_SHARE,
    *WHERE,
)

OPENED = {
    layout.METRICS: METRICS,
    layout.TRIALS: TRIALS,
    layout.MEMBERS: MEMBERS,
    layout.SURFACES: SURFACES,
    layout.POINTS: POINTS,
    layout.WANTED: WANTED,
}
"""The tables that a store has from its start, by folder."""


def to_parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Return one Parquet file with page checksums and a seal over all of it.

    Raises:
        SpecError: A row's keys are not the schema's, a value has another type than its column or
            is too large for it, a time lacks its zone, or a column that must be filled is null.
    """
    rows, types = list(rows), _types(schema)
    for row in rows:
        _check_row(row, types, schema)
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise SpecError(f"a row does not fit {_name(schema)}: {error}") from error
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, write_page_checksum=True, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL_KEY: SEAL_BLANK})
    return seal(sink.getvalue())


def from_parquet(data: bytes, schema: pa.Schema, where: str) -> pa.Table:
    """Return the table of one file, whose bytes are checked against their seal before parsing.

    Args:
        data: The file's bytes; those of another writer, such as pandas, have no seal.
        schema: What the table must have; columns that the file lacks come out as nulls.
        where: The file's key, after whose item every row must be named in its first column.

    Raises:
        CorruptData: A byte was altered or lost since `to_parquet`, columns do not fit, or the rows
            are those of another item than the file is named after.
    """
    try:
        table = _open_checked(data).read(use_threads=False)
        first = schema.names[0]
        if first not in table.column_names:
            raise ValueError(f"it has no column {first!r}")
        owner = layout.owner(where)
        others = [value for value in table[first].unique().to_pylist() if value != owner]
        if owner is not None and others:
            raise ValueError(f"it has rows of {others[0]!r}")
        columns = [
            table[name].cast(schema.field(name).type)
            if name in table.column_names
            else pa.nulls(len(table), schema.field(name).type)
            for name in schema.names
        ]
        return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        of_experiment = where.startswith((layout.MEMBERS, layout.CELLS))
        source = "experiment's file" if of_experiment else "checkpoint"
        raise CorruptData(
            f"not a sound {_name(schema)} table: {error}",
            where=where,
            fix=f"delete it and launch again: what it held is rebuilt from the {source}",
        ) from error


def axis_columns(keys: Iterable[str]) -> dict[str, str]:
    """Return the column of each axis: its last key, or the whole where that is another column."""
    keys = list(keys)
    taken = Counter(key.rpartition(".")[2] for key in keys)
    taken.update(name for schema in (*OPENED.values(), CELLS) for name in schema.names)
    last = {key: key.rpartition(".")[2] for key in keys}
    return {key: name if taken[name] == 1 else key for key, name in last.items()}


def expand_axes(members: pa.Table) -> pa.Table:
    """Return a table of members with a further column for each axis.

    Columns are named by `axis_columns`; a member of an experiment without the axis has null there.
    Lists and mappings are JSON, and so are values of different types.
    """
    rows = [{} if text is None else _axes(text) for text in members["axes"].to_pylist()]
    columns = axis_columns(dict.fromkeys(key for row in rows for key in row))
    for key, name in columns.items():
        values = [row.get(key) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if kinds == {int, float}:
            values = [value if value is None else float(value) for value in values]
        elif len(kinds) > 1 or kinds & {list, dict}:
            values = [value if value is None else json.dumps(value) for value in values]
        members = members.append_column(name, pa.array(values))
    return members


def _axes(text: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CorruptData(f"axes of a member are {text[:60]!r}, not a JSON object")
    return found


def open_parquet(data: bytes) -> pq.ParquetFile:
    """Open the bytes of a file, each page of which is checked when it is read.

    Raises:
        ArrowException: It is not a Parquet file, or its footer is damaged.
    """
    # Arrow's threads must not hold a Python object: one that drops such a file while the
    # interpreter exits ends the process with "terminate called without an active exception".
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)


def _open_checked(data: bytes) -> pq.ParquetFile:
    """Open a file, or raise `ValueError` if it has a seal that does not hold."""
    if SEAL_KEY.encode() in data and not is_sealed(data):
        raise ValueError("its bytes do not match their SHA-256")
    return open_parquet(data)


def holds_only(file: pq.ParquetFile, item: str) -> bool:
    """Return whether the first column of every row names one item; no column is decoded.

    The footer's statistics decide; False where they are missing.
    """
    groups = (file.metadata.row_group(n).column(0) for n in range(file.metadata.num_row_groups))
    found = [one.statistics for one in groups if one.num_values]
    return all(one is not None and one.has_min_max and one.min == one.max == item for one in found)


def widened(schema: pa.Schema, data: bytes) -> pa.Schema:
    """Return a schema with the further columns that a store's empty file of the table has.

    A file that can't be read adds none: it is written again when the store is opened.
    """
    # Most stores have no such columns, and parsing takes longer than looking for the schema.
    if embedded_schema(schema) in data:
        return schema
    try:
        found = open_parquet(data).schema_arrow
    except (pa.ArrowException, OSError):
        return schema
    added = [f.with_nullable(True) for f in found if f.name not in schema.names]
    known = [field for field in added if field.type in _PYTHON]
    return pa.schema([*schema, *known], metadata=schema.metadata)


def for_programs(schema: pa.Schema) -> pa.Schema:
    """Return the schema of a program's rows, which have no number in most columns of cells."""
    return pa.schema([field.with_nullable(True) for field in schema], metadata=schema.metadata)


def is_sound(data: bytes, item: str | None) -> bool:
    """Return whether a file can be read, is as it was sealed, and has the rows of one item.

    `item` is `layout.owner` of its key: None if it may have the rows of many.
    """
    try:
        file = _open_checked(data)
        return item is None or holds_only(file, item)
    except (pa.ArrowException, OSError, ValueError):
        return False


def embedded_schema(schema: pa.Schema) -> bytes:
    """Return bytes that a file of `to_parquet` contains if its columns are exactly these."""
    return base64.b64encode(schema.serialize().to_pybytes())


def seal(data: bytes) -> bytes:
    """Return the file with its last `SEAL_BLANK` replaced by its digest.

    Raises:
        ValueError: There is no `SEAL_BLANK`.
    """
    head, blank, tail = data.rpartition(SEAL_BLANK.encode())
    if not blank:
        raise ValueError(f"nothing to seal: the file lacks {SEAL_BLANK!r}")
    return head + f"{SEAL_KEY}:{hashlib.sha256(data).hexdigest()}".encode() + tail


def is_sealed(data: bytes) -> bool:
    """Return whether a file has a seal and is as it was when it was sealed.

    `SEAL_KEY` is in a sealed file twice, as the metadata's key and before the digest, so that a
    file is not taken for one without a seal because a bit of its seal was flipped.
    """
    seals = list(_SEAL.finditer(data))
    if not seals:
        return False
    start, end = seals[-1].span()
    return seal(data[:start] + SEAL_BLANK.encode() + data[end:]) == data


@cache
def _types(schema: pa.Schema) -> dict[str, tuple[type, bool]]:
    """Return the Python type of each column, and whether it may be null."""
    return {field.name: (_PYTHON[field.type], field.nullable) for field in schema}


def _check_row(
    row: Mapping[str, Any], types: Mapping[str, tuple[type, bool]], schema: pa.Schema
) -> None:
    if row.keys() != types.keys():
        raise SpecError(f"a row of {_name(schema)} lacks or adds {sorted({*row} ^ {*types})}")
    for name, (kind, nullable) in types.items():
        value = row[name]
        if value is None and nullable:
            continue
        # True is an int to Python, and Arrow would store it as 1.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            what = f"{_name(schema)}.{name} is {value!r}, not of type {schema.field(name).type}"
            raise SpecError(what)
        if isinstance(value, datetime) and value.tzinfo is None:
            what = f"{_name(schema)}.{name} is {value!r}, without a time zone"
            raise SpecError(what, fix="use datetime.now(UTC)")


def _name(schema: pa.Schema) -> str:
    return schema.metadata[b"table"].decode()
