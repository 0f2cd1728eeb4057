"""Two stores hold the same results when the `result` columns of their tables are equal."""

from __future__ import annotations

import pyarrow as pa


def result_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the `result` columns, ordered: the same for the same results, wherever made.

    A diverged trial's rows hold NaN, which Arrow takes for unequal to itself: compare the tables'
    pandas frames.
    """
    names = [f.name for f in schema if f.metadata[b"kind"] == b"result"]
    keys = [name for name in ("experiment", "trial_id", "epoch", "index") if name in names]
    # Sorting is not stable, so rows alike in their keys need the other columns to settle it.
    order = [*keys, *(name for name in names if name not in keys)]
    return table.select(names).sort_by([(name, "ascending") for name in order])
