"""Writes an experiment's tables as single files elsewhere, for those who have no store."""

from __future__ import annotations

import contextlib
import io
import uuid
from pathlib import Path

import click
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.arrays import to_npz
from orchestrator.output.tables import escape_formula
from results_schema import tables
from results_schema.errors import ConfigError, StoreError
from results_schema.results import Results
from results_schema.store import LocalStore
from results_schema.tables import POINTS, SURFACES

FORMATS = ("parquet", "csv", "numpy")


def export(experiment: str, location: str, to: str, *, form: str, force: bool) -> None:
    """Writes `<experiment>-metrics`, `-trials` and `-members`, each joined as `Results` does.

    Of an experiment that wants surfaces, `-surfaces` and `-points` too. As NumPy, the surfaces
    alone are written, into one `.npz` of arrays: see `orchestrator.housekeeping.arrays`.

    Args:
        experiment: Its name, or its file.
        location: The store's folder.
        to: The folder to write to, made if it is not there.
        form: Of `FORMATS`.
        force: Whether to replace files that are there.

    Raises:
        ConfigError: The experiment is unknown, a file is there already, or the folder lies in the
            store.
        StoreError: The store can't be read, or the folder can't be written.
    """
    store = lookup.existing_store(location)
    [name] = lookup.find_experiments(store, [experiment])
    folder = Path(to)
    inside = isinstance(store, LocalStore) and folder.resolve().is_relative_to(store.root.resolve())
    if inside:
        raise ConfigError(
            "this folder lies in the store, whose tables must hold nothing else",
            where=str(folder),
            fix="name another folder after --to",
        )
    frames = _frames(Results(store), name, wanted=bool(lookup.wanted(store, name)), form=form)
    suffix = "npz" if form == "numpy" else form
    targets = {part: folder / f"{name}-{part}.{suffix}" for part in frames}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not force:
        raise ConfigError(f"there already: {', '.join(there)}", fix="add --force to replace them")
    encode = {"parquet": _to_parquet, "csv": _to_csv, "numpy": to_npz}[form]
    _write({targets[part]: encode(frame) for part, frame in frames.items()})
    for part, path in targets.items():
        click.echo(f"{path}: {len(frames[part])} rows")


def _frames(results: Results, name: str, *, wanted: bool, form: str) -> dict[str, pd.DataFrame]:
    if form == "numpy":
        if not wanted:
            raise ConfigError(f"{name} wants no surfaces", fix="use --format parquet or csv")
        return {"surfaces": results.points(name)}
    parts = ("metrics", "trials", "members") + ("surfaces", "points") * wanted
    return {part: getattr(results, part)(name) for part in parts}


def _to_parquet(frame: pd.DataFrame) -> bytes:
    """With each column's unit and meaning, as the store's own tables have them."""
    schemas = (POINTS, SURFACES, tables.TRIALS, tables.METRICS, tables.MEMBERS)
    known = {field.name: field.metadata for schema in schemas for field in schema}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    told = [field.with_metadata(known.get(field.name)) for field in table.schema]
    sink = io.BytesIO()
    schema = pa.schema(told, metadata=table.schema.metadata)
    pq.write_table(table.cast(schema), sink, compression="zstd")
    return sink.getvalue()


def _to_csv(frame: pd.DataFrame) -> bytes:
    texts = frame.select_dtypes(["object", "string"])
    safe = frame.assign(**{name: texts[name].map(escape_formula) for name in texts})
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _write(files: dict[Path, bytes]) -> None:
    """All files are written aside before the first one takes its name."""
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
