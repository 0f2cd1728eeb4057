"""Other people's results: read their cells and curves, check them, write them as an experiment.

Nothing is guessed that changes a number: what the files do not say comes from `Answers`, and what
cannot be is refused. Imported trials have ids and an `origin` of their own, so that no plan takes
them for its own.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from orchestrator.config.documents import check_file_name
from orchestrator.config.record import Declared
from orchestrator.config.registry import Choice, ConvergenceOptions
from orchestrator.output.tables import TextTable
from results_schema import layout, tables
from results_schema.canonical import dataset_name
from results_schema.errors import ConfigError, NasSweepError
from results_schema.genotype import Genotype
from results_schema.store import Store
from workers.cells.notation import FIELDS, parse_genotype, parse_text

Frame = Any
"""A pandas frame or series; by pandas' own types, parts of either may be of any type."""
ORIGIN = "imported"
ACCURACIES = ("train_accuracy", "test_accuracy")
MEASURES = (*ACCURACIES, "train_loss", "test_loss", "grad_norm")
"""Columns of curves that are imported."""

SETTING = ["dataset", "learning_rate", "seed"]
_CURVE = ["cell", *SETTING]
_KEY = [*_CURVE, "epoch"]
_NAMES = ("cell", "name", "variant")
"""Heads of the column that names cells."""
_CELL = ["base", "index", "genotype", "width", "depth", "parameters"]
_SHAPE = ("width", "depth", "width_all_nodes", "depth_all_nodes")
_EPOCH = re.compile(r"(?:epoch|e)?[ _-]?([0-9]+)", re.IGNORECASE)
"""Head of an epoch's column."""
_LATE = 10
"""Epochs of the mean `late_test_accuracy`."""


@dataclass(frozen=True)
class Answers:
    """What files of results do not say of themselves; None where they must.

    Attributes:
        experiment: Name under which the store shows the results.
        unit: Unit of the accuracies.
        first_epoch: Number that the files give to the first epoch of training.
        dataset: Name of the dataset.
        learning_rate: At the first epoch.
        base: Name of the cell that the others are variants of; each cell may name its own instead.
        no_base: Whether the cells are not variants of one that is among them.
        target: Final accuracy, as a share, in place of the base's.
    """

    experiment: str
    unit: Literal["share", "percent"] | None = None
    first_epoch: int | None = None
    dataset: str | None = None
    learning_rate: float | None = None
    base: str | None = None
    no_base: bool = False
    target: float | None = None


@dataclass(frozen=True)
class Foreign:
    """Checked results.

    Attributes:
        answers: What was asked.
        cells: By base and index: cell, base, index, genotype or None, `Genotype.shape`, parameters.
        curves: A row for each epoch: cell, `SETTING`, epoch (from 1) and those of `MEASURES` that
            there are; accuracies are shares. A curve whose last row is not finite diverged.
        files: Names of the files that were read.
    """

    answers: Answers
    cells: Frame
    curves: Frame
    files: Sequence[str]


def read(cells: Path, curves: Sequence[tuple[str | None, Path]], answers: Answers) -> Foreign:
    """Read and check results.

    Args:
        cells: A file of genotypes (.json, .txt or .py), or a table (.csv or .parquet) of cells with
            a genotype, or with width and depth.
        curves: Files (.npy, .csv, .parquet), each with the measure that it holds; None for a table
            with a column for each measure.
        answers: See `Answers`.

    Raises:
        ConfigError: A question is open, or the results cannot be; the error names the file, the
            cell and the value.
    """
    check_file_name(answers.experiment)
    if answers.target is not None and not (answers.no_base and 0 < answers.target <= 1):
        fix = "give --target an accuracy above 0 and up to 1, with --no-base"
        raise ConfigError(f"a target of {answers.target:g}", fix=fix)
    with _naming(cells):
        known = _check_cells(_place(pd.DataFrame(_read_cells(cells)), answers))
        smallest = known.groupby("base")["index"].transform("min")
        lacking = (smallest > 0) & (not answers.no_base)
        _refuse(known, lacking, "{base} has no cell of index 0", "give its base the index 0")
    found: Frame = pd.DataFrame(columns=_KEY)
    for measure, path in curves:
        with _naming(path):
            part = _fill(_read_curves(path, measure, known["cell"].tolist()), answers)
            _check_keys(part, known["cell"].tolist())
            if repeated := {*part} & {*found} - {*_KEY}:
                raise ConfigError(f"{min(repeated)} is in two files", fix="import it once")
            found = found.merge(part, how="outer", on=_KEY) if len(found) else part
    if "test_accuracy" not in found:
        raise ConfigError(
            "the curves have no test_accuracy, on which claims and figures rest",
            fix="name the column so, or write --curves test_accuracy=FILE",
        )
    found = found.sort_values(_KEY, kind="stable").reset_index(drop=True)
    files = [cells.name, *(path.name for _, path in curves)]
    return Foreign(answers, known, _check_curves(found, answers), files)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in an error, and turn errors of pandas, NumPy and Python into ours."""
    try:
        yield
    except NasSweepError as error:
        where = ", ".join(filter(None, [str(path), error.where]))
        raise ConfigError(error.what, where=where, fix=error.fix) from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        fix = "save it in UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        what = f"cannot read it: {reason.splitlines()[0]}"
        raise ConfigError(what, where=str(path), fix=fix) from error


def _refuse(rows: Frame, bad: Any, what: str, fix: str = "") -> None:
    """Raise `ConfigError` for the first row that is bad; `what` may name columns in braces."""
    if bad.any():
        row = rows[bad].iloc[0].to_dict()
        about = [f"{name.replace('_', ' ')} {row[name]}" for name in _KEY if name in row]
        raise ConfigError(what.format(**row), where=", ".join(about), fix=fix)


def _read_table(path: Path) -> Frame:
    """Return a table, the column that names cells as `cell`, known heads in lower case."""
    if path.suffix.lower() == ".csv":
        heads = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].tolist()
        if len(heads) == 1 and (between := re.search("[;\t]", str(heads[0]))):
            what = f"its columns are separated by {between[0]!r}"
            raise ConfigError(what, fix="separate them by commas, with a point in numbers")
        frame = pd.read_csv(path, skipinitialspace=True)
    else:
        frame = pd.read_parquet(path)
        heads = list(frame)
    known = {*_NAMES, *_CELL, *_KEY, *MEASURES}
    heads = [str(head).strip() for head in heads]
    heads = [head.lower() if head.lower() in known else head for head in heads]
    frame.columns = ["cell" if head in _NAMES else head for head in heads]
    if twice := frame.columns[frame.columns.duplicated()].tolist():
        raise ConfigError(f"the column {twice[0]!r} stands twice", fix="keep one")
    return frame


def _read_cells(path: Path) -> list[dict[str, Any]]:
    """Return a record for each cell: its name as `cell`, and those of `_CELL` that there are."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".parquet"):
        frame = _read_table(path)
        if "cell" not in frame:
            raise ConfigError("no column names the cells", fix="call it cell")
        rows = frame[[c for c in ("cell", *_CELL) if c in frame]].to_dict("records")
        return [{str(k): v for k, v in row.items() if not pd.isna(v)} for row in rows]
    text = path.read_text("utf-8-sig")
    if suffix in (".txt", ".py"):
        return [{"cell": name, "genotype": call} for name, call in _assignments(text, path.stem)]
    if suffix != ".json":
        raise ConfigError("no known kind of file", fix="use .json, .txt, .py, .csv or .parquet")
    data = json.loads(text, object_pairs_hook=_distinct)
    if isinstance(data, dict):
        whole = {"normal", "reduce"} <= data.keys()
        named = {path.stem: data} if whole else data
        return [{"cell": name, "genotype": value} for name, value in named.items()]
    records = []
    for one in data if isinstance(data, list) else [None]:
        if not isinstance(one, dict):
            fix = 'write [{"name": …, "genotype": …}, …]'
            raise ConfigError("neither a genotype nor a list of cells", fix=fix)
        written = {key: one.pop(key) for key in FIELDS if key in one}
        one = {"cell" if key in _NAMES else key: value for key, value in one.items()}
        records.append(one | ({"genotype": written} if written else {}))
    return records


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"{twice[0]} stands twice", fix="give each cell a name of its own")
    return dict(pairs)


def _assignments(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each `NAME = Genotype(…)`, or the name given of a bare one."""
    for statement in ast.parse(text).body:
        source = ast.get_source_segment(text, statement) or ""
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call()):
                yield target, source
            case ast.Expr(value=ast.Call()):
                yield name, source
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                continue  # as at the top of published files of genotypes
            case _:
                fix = "write NAME = Genotype(normal=…, normal_concat=…, reduce=…, reduce_concat=…)"
                where = f"line {statement.lineno}"
                raise ConfigError("neither a genotype nor an import", where=where, fix=fix)


def _place(cells: Frame, answers: Answers) -> Frame:
    """Return the cells with base and index: their own, or by the answers."""
    if "cell" not in cells or cells["cell"].isna().any():
        raise ConfigError("a cell without a name", fix="give each cell a name of its own")
    names = cells["cell"] = cells["cell"].astype(str).str.strip()
    own = [column for column in ("base", "index") if column in cells]
    if own and (answers.base or answers.no_base):
        raise ConfigError("the cells name their own bases", fix="drop --base and --no-base")
    if own and (len(own) < 2 or cells[own].isna().to_numpy().any()):
        fix = "give each cell base and index (0 for the base), or give --base NAME instead"
        raise ConfigError("some cells name no base or no index", fix=fix)
    if own:
        return cells
    if answers.base is None and not answers.no_base:
        fix = "give --base NAME, or --no-base, with --target ACCURACY for claims that need one"
        raise ConfigError("which cell are the others variants of?", fix=fix)
    if answers.base is not None and answers.base not in set(names):
        raise ConfigError(f"no cell is called {answers.base!r}", fix=f"use one of {_some(names)}")
    is_base = names == answers.base
    return cells.assign(
        base=answers.base or answers.experiment, index=(~is_base).cumsum().where(~is_base, 0)
    )


def _check_cells(cells: Frame) -> Frame:
    """Return the cells by base and index, with genotypes, shapes and parameters."""
    if unknown := sorted({*cells} - {"cell", *_CELL}):
        raise ConfigError(f"unknown key {unknown[0]!r}", fix=f"use name, {', '.join(_CELL)}")
    cells = cells.reindex(columns=["cell", *_CELL])
    cells["base"] = cells["base"].astype(str)
    cells["parameters"] = cells["parameters"].fillna(0)
    for column in ("cell", "base"):
        plain = cells[column].map(lambda name: 0 < len(name) <= 100 and name.isprintable())
        _refuse(cells, ~plain, f"{column} has none, over 100 or unprintable characters")
    _refuse(cells, cells["cell"].duplicated(), "the cell stands twice", "give each its own name")
    for column in ("index", "parameters"):
        cells[column] = _whole_numbers(cells, column)
    genotypes = []
    for name, value in zip(cells["cell"], cells["genotype"], strict=True):
        try:
            genotypes.append(_genotype(value))
        except NasSweepError as error:
            where = ", ".join(filter(None, [f"cell {name}", error.where]))
            raise ConfigError(error.what, where=where, fix=error.fix) from error
    cells["genotype"] = genotypes = pd.Series(genotypes, cells.index, dtype=object)
    known = genotypes.notna()
    fix = "add columns width, in units of c, and depth, in edges"
    lacking = ~known & (cells["width"].isna() | cells["depth"].isna())
    _refuse(cells, lacking, "neither a genotype nor width and depth", fix)
    shapes = [one.shape if one else dict.fromkeys(_SHAPE) for one in genotypes]
    counted = pd.DataFrame(shapes, index=cells.index, dtype=float)
    for column in ("width", "depth"):  # dead nodes are known of genotypes alone
        cells[column] = counted[column].fillna(_numbers(cells[column]))
        cells[f"{column}_all_nodes"] = counted[f"{column}_all_nodes"].fillna(cells[column])
    _refuse(cells, ~cells["width"].between(0, 1e6), "a width of {width:g}", "use units of c")
    for column in ("depth", "depth_all_nodes"):
        cells[column] = _whole_numbers(cells, column)
    _refuse(cells, cells.duplicated(["base", "index"]), "index {index} of {base} stands twice")
    again = known & genotypes.duplicated()
    _refuse(cells, again, "this genotype has another name too", "import each cell once")
    cells["place"] = cells.groupby("base", sort=False).ngroup()
    return cells.sort_values(["place", "index"]).reset_index(drop=True)


def _genotype(value: Any) -> Genotype | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        is_json = value.lstrip().startswith("{")
        return parse_genotype(json.loads(value)) if is_json else parse_text(value)
    return parse_genotype(value)


def _numbers(values: Frame) -> Frame:
    """Return numbers, NaN for what is not a number."""
    return pd.to_numeric(values, errors="coerce")


def _whole_numbers(rows: Frame, column: str) -> Frame:
    """Return a column as whole numbers from 0 on, or raise `ConfigError`."""
    numbers = _numbers(rows[column])
    bad = ~((numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 2**31))
    _refuse(rows, bad, f"{column} is {{{column}}}", "use a whole number from 0 on")
    return numbers.astype(int)


def _some(names: Frame) -> str:
    return ", ".join(map(str, list(names)[:8]))


def _read_curves(path: Path, measure: str | None, cells: Sequence[str]) -> Frame:
    """Return a long table: cell, those of `SETTING` that the file has, epoch, and measures."""
    if measure is not None and measure not in MEASURES:
        raise ConfigError(f"unknown measure {measure!r}", fix=f"use {', '.join(MEASURES)}")
    if path.suffix.lower() == ".npy":
        return _read_array(path, measure, cells)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError("no known kind of file", fix="use .npy, .csv or .parquet")
    frame = _read_table(path)
    about = [column for column in _KEY if column in frame]
    others = [str(column) for column in frame if column not in about]
    if {"cell", "epoch"} <= {*about}:
        if not (measures := [column for column in others if column in MEASURES]):
            raise ConfigError("no column is a measure", fix=f"use {', '.join(MEASURES)}")
        return frame[[*about, *measures]]
    if measure is None:
        fix = f"write --curves test_accuracy={path}"
        raise ConfigError("not a row for each cell and epoch: of which measure?", fix=fix)
    if "epoch" in about:  # a column for each cell
        return _without_padding(frame.melt(about, others, "cell", measure), measure)
    if "cell" not in about:
        raise ConfigError("no column is called cell or epoch", fix="call the cells' column cell")
    numbers = {head: _EPOCH.fullmatch(head) for head in others}
    if odd := [head for head, number in numbers.items() if number is None]:
        raise ConfigError(f"the column {odd[0]!r} is no epoch", fix="head epochs with numbers")
    long = frame.melt(about, others, "epoch", measure)
    long["epoch"] = long["epoch"].map({h: int(n[1]) for h, n in numbers.items() if n})
    return _without_padding(long, measure)


def _read_array(path: Path, measure: str | None, cells: Sequence[str]) -> Frame:
    """Read an array [cell, epoch] or [cell, seed, epoch]; the cells are in the order of theirs."""
    if measure is None:
        raise ConfigError("of which measure?", fix=f"write --curves test_accuracy={path}")
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "fiu" or array.ndim not in (2, 3) or len(array) != len(cells):
        raise ConfigError(
            f"an array of {array.dtype} of shape {list(array.shape)} for {len(cells)} cells",
            fix="use numbers [cell, epoch] or [cell, seed, epoch], cells in their file's order",
        )
    array = array.astype(float).reshape(len(cells), -1, array.shape[-1])
    axes = [cells, range(array.shape[1]), range(1, array.shape[2] + 1)]
    index = pd.MultiIndex.from_product(axes, names=["cell", "seed", "epoch"])
    return _without_padding(pd.Series(array.ravel(), index, name=measure).reset_index(), measure)


def _without_padding(long: Frame, measure: str) -> Frame:
    """Drop what pads a shorter curve, but for one row without a number, by which it diverged."""
    keys = [long[column] for column in _CURVE if column in long]
    finite = np.isfinite(_numbers(long[measure]))
    last = long["epoch"].where(finite).groupby(keys).transform("max")
    last = last.fillna(long["epoch"].min() - 1)
    return long[long["epoch"] <= last + 1]


def _fill(frame: Frame, answers: Answers) -> Frame:
    """Return the table with every column of the key, from the file or from the answers."""
    frame = frame.copy()
    for column, given in (("dataset", answers.dataset), ("learning_rate", answers.learning_rate)):
        option = f"--{column.replace('_', '-')}"
        if column in frame and given is not None:
            raise ConfigError(f"the file has a {column} of its own", fix=f"drop {option}")
        if column not in frame and given is None:
            fix = f"give {option}, or a column {column}"
            raise ConfigError(f"of which {column.replace('_', ' ')}?", fix=fix)
        if given is not None:
            frame[column] = given
    if "seed" not in frame:
        frame["seed"] = 0
    frame["cell"] = frame["cell"].astype(str).str.strip()
    for column in ("seed", "epoch"):
        frame[column] = _whole_numbers(frame, column)
    for column in ("learning_rate", *(c for c in MEASURES if c in frame)):
        numbers = _numbers(frame[column])
        bad = numbers.isna() & frame[column].notna()
        _refuse(frame, bad, f"{column} is {{{column}}}", "write numbers, without a % sign")
        frame[column] = numbers.astype(float)
    return frame


def _check_keys(frame: Frame, cells: Sequence[str]) -> None:
    if frame.empty:
        raise ConfigError("there are no rows", fix="export the curves again")
    names = frame["cell"]
    _refuse(frame, ~names.isin(cells), "no such cell", f"the cells are {_some(cells)}")
    for name in frame["dataset"].unique():
        dataset_name("dataset", name)
    rates = frame["learning_rate"]
    _refuse(frame, ~((rates > 0) & np.isfinite(rates)), "no learning rate", "use one above 0")
    fix = "keep one row for each epoch, or add a column seed"
    _refuse(frame, frame.duplicated(_KEY), "this epoch stands twice", fix)


def _check_curves(frame: Frame, answers: Answers) -> Frame:
    """Return the curves with epochs from 1 and accuracies as shares, or raise `ConfigError`."""
    measures = [column for column in MEASURES if column in frame]
    accuracies = [column for column in ACCURACIES if column in frame]
    smallest = int(frame["epoch"].min())
    if smallest == 0 and answers.first_epoch is None:
        fix = "give --first-epoch 0 if it is the first epoch, 1 if it is the untrained network"
        raise ConfigError("epochs are counted from 0", fix=fix)
    first = 1 if answers.first_epoch is None else answers.first_epoch
    frame = frame[frame["epoch"] >= first].reset_index(drop=True)  # not the untrained network
    place = frame.groupby(_CURVE, sort=False).cumcount()
    _refuse(frame, frame["epoch"] != place + first, "the epoch before is missing", "give all")
    for column in measures:
        _refuse(frame, frame[column] < 0, f"{column} is {{{column}:g}}", "use numbers from 0 on")

    if answers.unit is None:
        raise ConfigError("are accuracies shares or percent?", fix="give --unit share or percent")
    for column in accuracies:
        top = float(frame[column].max())
        if answers.unit == "share" and top > 1:
            raise ConfigError(f"a {column} of {top:g} is no share", fix="is it --unit percent?")
        if answers.unit == "percent" and not 1.5 < top <= 100:
            what = f"the largest {column} is {top:g} percent"
            fix = "use numbers from 0 to 100" if top > 100 else "is it --unit share?"
            raise ConfigError(what, fix=fix)
    finite = np.isfinite(frame[measures]).all(axis=1)
    last = frame.groupby(_CURVE, sort=False)["epoch"].transform("max")
    at_end = frame["epoch"] == last
    fix = "only the last row of a diverged trial may lack numbers"
    _refuse(frame, ~finite & ~at_end, "a measure has no number", fix)
    fix = f"others go on to epoch {frame['epoch'].max()}; one that diverged ends without a number"
    short = at_end & finite & (last < frame["epoch"].max())
    _refuse(frame, short, "the curve ends here", fix)

    if answers.unit == "percent":
        frame[accuracies] /= 100
    frame["epoch"] = place + 1
    curves = frame.groupby(_CURVE, sort=False)["test_accuracy"].agg(tuple).reset_index()
    varied = curves["test_accuracy"].map(lambda curve: len(set(curve)) > 2)
    again = varied & curves["test_accuracy"].duplicated()
    _refuse(curves, again, "another cell or seed has the same curve", "import each trial once")
    return frame


def describe(foreign: Foreign) -> list[TextTable]:
    """Return what was read, to be confirmed: the cells, then the curves by setting."""
    curves, cells = foreign.curves, foreign.cells
    ends = curves.groupby(_CURVE, sort=False).tail(1).copy()
    measures = [column for column in MEASURES if column in curves]
    ends["diverged"] = ~np.isfinite(ends[measures]).all(axis=1)
    trials = ends["cell"].value_counts()
    rows = [
        [
            cell["cell"], cell["base"], str(cell["index"]), f"{cell['width']:g}c,{cell['depth']}",
            "genotype" if cell["genotype"] else "given", str(trials.get(cell["cell"], 0)),
        ]
        for cell in cells.to_dict("records")
    ]  # fmt: skip
    settings = []
    for (dataset, rate), part in ends.groupby(["dataset", "learning_rate"]):
        reached = 100 * part.loc[~part["diverged"], "test_accuracy"]
        span = f"{reached.min():.2f} to {reached.max():.2f} %" if len(reached) else "–"
        counts = (len(part), part["seed"].nunique(), part["epoch"].max(), part["diverged"].sum())
        settings.append([str(dataset), f"{rate:g}", *map(str, counts), span, ", ".join(measures)])
    heads = ("cell", "base", "index", "width,\ndepth", "from", "trials")
    curve_heads = ("dataset", "learning rate", "trials", "seeds", "epochs", "diverged",
                   "last test accuracy", "measures")  # fmt: skip
    return [
        TextTable(f"Cells for {foreign.answers.experiment}", heads, rows, left=(1, 4)),
        TextTable("Curves", curve_heads, settings, left=(7,)),
    ]


def write(foreign: Foreign, store: Store) -> int:
    """Write results as an experiment of the store; return the number of trials.

    Raises:
        ConfigError: The store has an experiment of this name.
    """
    name, now = foreign.answers.experiment, datetime.now(UTC)
    if store.has(layout.members(name)):
        fix = "give --experiment another name"
        raise ConfigError(f"the store has an experiment {name!r}", fix=fix)
    members, epochs = [], int(foreign.curves["epoch"].max())
    cells = foreign.cells.to_dict("records")
    places = {cell["cell"]: place for place, cell in enumerate(cells)}
    groups: Any = dict(list(foreign.curves.groupby(_CURVE, sort=False)))
    for key in sorted(groups, key=lambda key: (*key[1:], places[key[0]])):
        cell = cells[places[key[0]]]
        setting = {"dataset": str(key[1]), "learning_rate": float(key[2]), "seed": int(key[3])}
        metrics, row = _rows(cell, setting, groups[key], now, foreign.files)
        trial_id = row["trial_id"]
        store.put(layout.metrics(trial_id), tables.to_parquet(metrics, tables.METRICS))
        store.put(layout.trial(trial_id), tables.to_parquet([row], tables.TRIALS))
        common = setting | _member(cell, name)
        common |= {"profile": None, "named_dataset": setting["dataset"], "trial_id": trial_id}
        common["axes"] = None
        members.append({field.name: common[field.name] for field in tables.MEMBERS})
    drawn = [
        _member(cell, name) | {"genotype": json.dumps(cell["genotype"].to_json())}
        for cell in cells
        if cell["genotype"]
    ]
    figures = {"accuracy": Choice("accuracy_by_index")}
    shown = tuple(c for c in ("test_loss", "test_accuracy") if c in foreign.curves)
    if epochs > 1:
        figures["convergence"] = Choice("convergence", ConvergenceOptions(show=shown))
    datasets = foreign.curves["dataset"].unique().tolist()
    declared = Declared(
        name=name, title=f"Imported from {', '.join(foreign.files)}", claim="", profile=None,
        datasets={dataset: dataset for dataset in datasets}, network={"cells": 0, "channels": 0},
        recipes={dataset: {"epochs": epochs} for dataset in datasets}, precision="unknown",
        figures=figures, tables={}, target=foreign.answers.target,
    )  # fmt: skip
    store.put(layout.cells(name), tables.to_parquet(drawn, tables.CELLS))
    store.put(layout.wanted(name), tables.to_parquet([], tables.WANTED))
    store.put(layout.experiment(name), declared.to_json())
    # The last one, by which readers know the experiment.
    store.put(layout.members(name), tables.to_parquet(members, tables.MEMBERS))
    return len(members)


def _member(cell: Mapping[Any, Any], experiment: str) -> dict[str, Any]:
    named = {"experiment": experiment, "variant": cell["cell"]}
    return named | {column: cell[column] for column in ("base", "index", *_SHAPE)}


def _rows(
    cell: Mapping[Any, Any], setting: Mapping[str, Any], curve: Frame, now: datetime,
    files: Sequence[str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
    """Return a trial's metrics and its row; zeros, blanks and NaN stand for what is not known."""
    measures = [column for column in MEASURES if column in curve]
    genotype = cell["genotype"].to_json() if cell["genotype"] else [cell["width"], cell["depth"]]
    content = json.dumps([cell["base"], cell["cell"], genotype, setting, measures], sort_keys=True)
    numbers = curve[measures].to_numpy(dtype=float)
    digest = hashlib.sha256(content.encode() + numbers.tobytes()).hexdigest()[:10]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", cell["cell"])[:40].strip("-")
    trial_id = f"{layout.IMPORTED}{slug}-{digest}"
    empty: dict[Any, Any] = {
        tables.TEXT: "", tables.INT: 0, tables.LONG: 0, tables.REAL: math.nan, tables.FLAG: False,
        tables.TIME: now,
    }  # fmt: skip
    metric, trial = (
        {field.name: None if field.nullable else empty[field.type] for field in schema}
        for schema in (tables.METRICS, tables.TRIALS)
    )
    metrics = [
        metric | {"trial_id": trial_id, "epoch": epoch} | dict(zip(measures, row, strict=True))
        for epoch, row in enumerate(numbers.tolist(), start=1)
    ]
    accuracies = curve["test_accuracy"].to_numpy(dtype=float)
    last = {column: metrics[-1][column] for column in ("train_loss", "test_loss", "test_accuracy")}
    shape = {column: cell[column] for column in ("width", "depth", "parameters")}
    return metrics, {
        **trial, **setting, **shape, **last, "trial_id": trial_id, "epochs": len(metrics),
        "status": "done" if np.isfinite(numbers[-1]).all() else "diverged",
        "best_test_accuracy": float(np.nanmax(accuracies, initial=0.0)),
        "late_test_accuracy": float(accuracies[-_LATE:].mean()),
        "exit_reason": f"imported from {', '.join(files)}", "origin": ORIGIN,
    }  # fmt: skip
