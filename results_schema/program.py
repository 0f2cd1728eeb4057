"""What a trial of a program is: one run of any function, named by its content.

It stands beside `TrialSpec`, and everything that neither trains a cell nor reads one takes both
(`Trial`). Its metrics are columns that a launch adds to a store's tables (`widen`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from results_schema import layout
from results_schema.canonical import Spec, parse_json, whole
from results_schema.errors import ConfigError, MissingKey, SpecError
from results_schema.store import Store
from results_schema.trial import TrialSpec

PROGRAM = re.compile(r"(?P<place>[A-Za-z0-9_./-]{1,120}):(?P<function>[A-Za-z_][A-Za-z0-9_]{0,39})")
"""How a program is named: `my_lab/train.py:train`, or `my_lab.train:train` on Python's path."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Names of metrics."""
MOST_EPOCHS = 100_000
"""Most epochs of a program."""
_ID = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+-v[0-9]+-s[0-9]+-[0-9a-f]{10}(@.*)?")
_DEEPEST = 8


def program_name(name: str, value: Any) -> str:
    """Return the name of a program, or raise `SpecError` if it can't be one."""
    if isinstance(value, str) and PROGRAM.fullmatch(value):
        return value
    fix = "write FILE.py:FUNCTION or MODULE:FUNCTION, such as my_lab/train.py:train"
    raise SpecError(f"{name} is {value!r}", fix=fix)


def plain_values(name: str, value: Any) -> dict[str, Any]:
    """Return a copy of a program's parameters, or raise `SpecError` if one is not plain."""
    if not isinstance(value, Mapping):
        raise SpecError(f"{name} is {value!r}", fix="write names and values")
    return _plain(name, value, 0)


def _plain(name: str, value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise SpecError(f"{name} is nested too deep", fix=f"use {_DEEPEST} levels at most")
    if isinstance(value, Mapping):
        for key in value:
            word = isinstance(key, str) and key.isprintable() and 0 < len(key) <= 60
            if not word or "." in key:
                raise SpecError(f"{name} has the key {key!r}", fix="use a word without a dot")
        return {key: _plain(f"{name}.{key}", one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(name, one, depth + 1) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{name} is {value!r}", fix="use a finite number")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise SpecError(
        f"{name} is {value!r}", fix="use numbers, text, true, false, lists and mappings"
    )


@dataclass(frozen=True)
class ProgramSpec(Spec):
    """Everything that decides the numbers of a program's trial by choice.

    Attributes:
        program: Its file and function, as the experiment names them (`PROGRAM`).
        version: Counts changes of the program that change numbers; the user raises it.
        params: What the function gets, by name: plain values. `epochs`, if there is one, is taken
            for the number of epochs that it will report.
        seed: Seed of every draw.
    """

    program: Annotated[str, program_name]
    version: Annotated[int, whole(1)]
    params: Annotated[Mapping[str, Any], plain_values]
    seed: Annotated[int, whole(0, 2**63 - 1)]

    def __hash__(self) -> int:
        return hash(self.trial_id)

    @cached_property
    def trial_id(self) -> str:
        """`<file>.<function>-v<version>-s<seed>-<10 hex digits of the content's SHA-256>`."""
        place, _, function = self.program.partition(":")
        stem = place.removesuffix(".py").replace("/", ".").rpartition(".")[2][:40]
        return f"{stem.replace('-', '_')}.{function}-v{self.version}-s{self.seed}-{self.digest}"

    @property
    def epochs(self) -> int:
        """Number of epochs that it will report as far as its parameters tell, otherwise 0."""
        given = self.params.get("epochs")
        return given if type(given) is int and 0 < given <= MOST_EPOCHS else 0

    @property
    def extensions(self) -> tuple[str, ...]:
        """Entries of plug-ins that its numbers depend on: none, as its source is its own."""
        return ()


Trial = TrialSpec | ProgramSpec


def read_trial(text: str | bytes) -> Trial:
    """Return the trial of either kind that `to_json` wrote; raise as `Spec.from_json` does."""
    try:
        data = parse_json(text)
    except ValueError as error:
        raise SpecError(f"the trial is not JSON: {error}") from error
    kind = ProgramSpec if isinstance(data, Mapping) and "program" in data else TrialSpec
    return kind.from_parts(data)


def is_program(trial_id: str) -> bool:
    """Return whether an id is that of a program's trial."""
    return _ID.fullmatch(trial_id) is not None


@dataclass(frozen=True)
class Metric:
    """A number that programs report once an epoch: a column of the store's tables.

    Attributes:
        name: The column's name.
        type: "real" or "whole".
        unit: Unit, or empty.
        goal: Which values are better: "min" the smaller, "max" the larger; empty for neither.
    """

    name: str
    type: Literal["real", "whole"] = "real"
    unit: str = ""
    goal: Literal["min", "max", ""] = ""

    def fields(self, folder: str) -> list[Any]:
        """Return the columns of metrics, or of trials: its last value and its best."""
        import pyarrow as pa  # which planning does without

        from results_schema import tables

        kind = tables.REAL if self.type == "real" else tables.LONG
        about = {"kind": "result", "goal": self.goal} | ({"unit": self.unit} if self.unit else {})
        docs = {self.name: "reported by a program"}
        if folder == layout.TRIALS:
            docs = {self.name: "reported by a program for the last epoch"}
            if self.goal:
                extreme = "smallest" if self.goal == "min" else "largest"
                docs[f"best_{self.name}"] = f"{extreme} of all epochs"
        return [pa.field(name, kind, metadata={"doc": doc} | about) for name, doc in docs.items()]


def added_metrics(store: Store) -> dict[str, Metric]:
    """Return the metrics that programs have added to a store, by name."""
    return metrics_of(store_schema(store, layout.METRICS))


def metrics_of(schema: Any) -> dict[str, Metric]:
    """Return the metrics in an Arrow schema of the table of metrics, by name."""
    from results_schema import tables

    found = {}
    for field in [schema.field(n) for n in schema.names if n not in tables.METRICS.names]:
        about = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        kind = "real" if field.type == tables.REAL else "whole"
        goal: Any = about.get("goal", "")
        found[field.name] = Metric(field.name, kind, about.get("unit", ""), goal)
    return found


def store_schema(store: Store, folder: str) -> Any:
    """Return the Arrow schema of a table of a store, with the columns that programs added."""
    from results_schema import tables

    try:
        data = store.get(layout.schema(folder))
    except MissingKey:
        return tables.OPENED[folder]
    return tables.widened(tables.OPENED[folder], data)


def check_metrics(store: Store, metrics: Iterable[Metric]) -> None:
    """Raise `ConfigError` if a store has a metric of the same name and another type or unit."""
    known = added_metrics(store)
    for metric in metrics:
        there = known.get(metric.name, metric)
        if (there.type, there.unit, there.goal) != (metric.type, metric.unit, metric.goal):
            shown = [
                ", ".join(filter(None, (one.type, one.unit, one.goal))) for one in (metric, there)
            ]
            raise ConfigError(
                f"metric {metric.name} is {shown[0]}, and in the store it is {shown[1]}",
                where=store.location,
                fix="give it another name, or declare it as the store has it",
            )


def widen(store: Store, metrics: Iterable[Metric]) -> None:
    """Add metrics to a store's tables, so that readers of a folder see their columns.

    Raises:
        ConfigError: The store has one of them with another type or unit.
        StoreError: The store can't be written, or another process is adding some and hangs.
    """
    metrics = [*metrics]
    check_metrics(store, metrics)
    if {metric.name for metric in metrics} <= added_metrics(store).keys():
        return
    from results_schema import tables

    with store.leases.wait(layout.SCHEMA_LEASE) as lease:
        # Again, under the lease: another launch may just have added the same or others.
        check_metrics(store, metrics)
        for folder in (layout.TRIALS, layout.METRICS):
            schema = store_schema(store, folder)
            for field in (field for metric in metrics for field in metric.fields(folder)):
                if field.name not in schema.names:
                    schema = schema.append(field)
            data = tables.to_parquet([], schema)
            store.put(layout.schema(folder), data, lease=lease, durable=True, final=True)
