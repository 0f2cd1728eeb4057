"""Columns of the store's tables: an Arrow field that carries its unit, meaning and kind."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "1"

TEXT, INT, LONG, REAL, FLAG = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")


def result(name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False):
    """A column that the spec decides."""
    return _column(name, kind, doc, unit, null, "result")


def noted(name: str, kind: pa.DataType, doc: str, *, unit: str = "", null: bool = False):
    """A column that the machine and the moment decide: provenance."""
    return _column(name, kind, doc, unit, null, "provenance")


def table(name: str, *columns: pa.Field) -> pa.Schema:
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
"""Where and with what something was computed (`workers.training.provenance.gather`)."""
