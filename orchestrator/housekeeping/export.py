"""Write an experiment's results as files elsewhere, for readers who have no store."""

from __future__ import annotations

import contextlib
import io
import struct
import uuid
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.housekeeping import lookup
from orchestrator.output.tables import escape_formula
from results_schema import tables
from results_schema.errors import ConfigError, StoreError
from results_schema.results import Results
from results_schema.store import LocalStore

_ARRAYS = (
    "loss",
    "accuracy",
    "variance",
    "standard_error",
    "weights_variance",
    "weights_standard_error",
    "gradient_norm",
)
"""Columns of points that become arrays."""

EVENTS = "events.out.tfevents.0.nas-sweep"
"""Name of a run's file, by which TensorBoard knows it."""


def export(
    results: Results, experiment: str, folder: Path, *, file_format: str, force: bool
) -> dict[Path, int]:
    """Write `<experiment>-metrics`, `-trials` and `-members`, each joined as `Results` does.

    For an experiment that wants surfaces, `-surfaces` and `-points` too. The format is "parquet",
    "csv", "numpy" for the surfaces alone in one `.npz` (see `surface_arrays`), or "tensorboard" for
    a folder `<experiment>` of one run a trial (see `event_file`). Existing files are replaced only
    by force.

    Returns:
        The number of rows, or epochs, in each file.

    Raises:
        ConfigError: The experiment is unknown, a file exists already, the folder is in the store,
            or arrays are wanted and the experiment wants no surfaces.
        StoreError: The store can't be read, or the folder can't be written.
    """
    store = results.store
    name = lookup.find_experiment(store, experiment)
    if isinstance(store, LocalStore) and folder.resolve().is_relative_to(store.root.resolve()):
        raise ConfigError(
            "this folder is in the store, whose tables must hold nothing else",
            where=str(folder),
            fix="name another folder after --to",
        )
    has_surfaces = bool(lookup.wanted(store, name))
    if file_format == "numpy" and not has_surfaces:
        raise ConfigError(f"{name} wants no surfaces", fix="use --format parquet or csv")
    if file_format == "numpy":
        frames = {folder / f"{name}-surfaces.npz": results.points(name)}
    elif file_format == "tensorboard":
        rows: Any = results.metrics(name).drop_duplicates(["trial_id", "epoch"])
        groups = rows.groupby("trial_id", sort=False)
        frames = {folder / name / str(trial_id) / EVENTS: part for trial_id, part in groups}
    else:
        parts = ("metrics", "trials", "members") + ("surfaces", "points") * has_surfaces
        paths = {part: folder / f"{name}-{part}.{file_format}" for part in parts}
        frames = {path: getattr(results, part)(name) for part, path in paths.items()}
    existing = [str(path) for path in frames if path.exists()]
    if existing and not force:
        shown = ", ".join(existing[:5]) + f" and {len(existing) - 5} more" * (len(existing) > 5)
        raise ConfigError(f"there already: {shown}", fix="add --force to replace them")
    encoders: dict[str, Callable[[pd.DataFrame], bytes]] = {
        "parquet": _to_parquet, "csv": _to_csv, "numpy": _to_npz,
        "tensorboard": partial(event_file, hyperparameters=_named_columns(results, name)),
    }  # fmt: skip
    encode = encoders[file_format]
    _write({path: encode(frame) for path, frame in frames.items()})
    return {path: len(frame) for path, frame in frames.items()}


def surface_arrays(points: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the points of surfaces, as `Results.points` has them, as arrays by name.

    Returns:
        For each surface `<surface id>/alpha` [n], `/beta` [m], and for each number that its kind
        has, such as `/loss`, an array [n, m]; NaN where no point was measured yet.
    """
    found: dict[str, np.ndarray] = {}
    distinct = points.drop_duplicates(["surface_id", "row", "column"])
    for name, surface in distinct.groupby("surface_id", sort=False):
        rows, columns = surface["row"].to_numpy(), surface["column"].to_numpy()
        shape = int(rows.max()) + 1, int(columns.max()) + 1
        for axis, index, size in (("alpha", rows, shape[0]), ("beta", columns, shape[1])):
            line = np.full(size, np.nan)
            line[index] = surface[axis]
            found[f"{name}/{axis}"] = line
        for column in _ARRAYS:
            grid = np.full(shape, np.nan)
            grid[rows, columns] = surface[column]
            if not np.isnan(grid).all():
                found[f"{name}/{column}"] = grid
    return found


def _named_columns(results: Results, experiment: str) -> list[str]:
    given = {"experiment", "profile", "trial_id", "axes"}
    return [name for name in results.members(experiment).columns if name not in given]


def event_file(epochs: pd.DataFrame, hyperparameters: Collection[str]) -> bytes:
    """Return the events of one trial for TensorBoard: hyperparameters, then numbers by epoch.

    Args:
        epochs: The trial's rows, as `Results.metrics` has them.
        hyperparameters: Columns of its member; each other column with a number is a tag.
    """
    # Ray Tune brings this package, which has TensorBoard's messages without TensorBoard itself.
    from tensorboardX.proto import event_pb2, summary_pb2
    from tensorboardX.summary import hparams

    # Type checkers do not see these classes, which are made on import.
    event, summary = cast("Any", event_pb2).Event, cast("Any", summary_pb2).Summary
    times = [time.timestamp() for time in epochs["finished_at"]]
    others = epochs.drop(columns=[*hyperparameters, "epoch"], errors="ignore")
    numbers = others.select_dtypes("number").dropna(axis="columns", how="all").astype(float)
    first = epochs[[name for name in hyperparameters if name in epochs]].iloc[0].dropna()
    # NumPy's numbers as Python's, which alone are taken for numbers.
    parameters = {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in first.items()
    }
    experiment, start, end = hparams(parameters, dict.fromkeys(numbers.columns))
    events = [event(wall_time=times[0], file_version="brain.Event:2")]
    events += [event(wall_time=times[0], summary=one) for one in (experiment, start)]
    for time, epoch, row in zip(times, epochs["epoch"], numbers.to_numpy(), strict=True):
        pairs = zip(numbers.columns, row, strict=True)
        known = [summary.Value(tag=tag, simple_value=v) for tag, v in pairs if not np.isnan(v)]
        events.append(event(wall_time=time, step=int(epoch), summary=summary(value=known)))
    events.append(event(wall_time=times[-1], summary=end))
    return b"".join(_record(one.SerializeToString()) for one in events)


def _record(data: bytes) -> bytes:
    """Return a TFRecord: length and content, each followed by its masked CRC-32C."""
    from tensorboardX.record_writer import masked_crc32c

    head = struct.pack("<Q", len(data))
    return b"".join(
        [head, struct.pack("<I", masked_crc32c(head)), data, struct.pack("<I", masked_crc32c(data))]
    )


def _to_npz(points: pd.DataFrame) -> bytes:
    sink, named = io.BytesIO(), dict[str, Any](surface_arrays(points))
    np.savez_compressed(sink, **named)
    return sink.getvalue()


def _to_parquet(frame: pd.DataFrame) -> bytes:
    """Return a file whose columns have their unit and meaning, as in the store's own tables."""
    schemas = (tables.POINTS, tables.SURFACES, tables.TRIALS, tables.METRICS, tables.MEMBERS)
    known = {field.name: field.metadata for schema in schemas for field in schema}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [field.with_metadata(known.get(field.name)) for field in table.schema]
    sink = io.BytesIO()
    schema = pa.schema(fields, metadata=table.schema.metadata)
    pq.write_table(table.cast(schema), sink, compression="zstd")
    return sink.getvalue()


def _to_csv(frame: pd.DataFrame) -> bytes:
    texts = frame.select_dtypes(["object", "string"])
    safe = frame.assign(**{name: texts[name].map(escape_formula) for name in texts})
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _write(files: dict[Path, bytes]) -> None:
    """Write all files aside before the first one takes its name."""
    aside = {path: path.with_name(f".{uuid.uuid4().hex}.new") for path in files}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside[path].write_bytes(data)
        for path, staged in aside.items():
            staged.replace(path)
    except OSError as error:
        raise StoreError(
            f"can't be written: {error.strerror or error}",
            where=str(error.filename2 or error.filename or ""),
            fix="make room or name another folder after --to",
        ) from error
    finally:
        for staged in aside.values():
            with contextlib.suppress(OSError):
                staged.unlink()
