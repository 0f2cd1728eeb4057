"""Axes of the grid: the keys that it varies, the values they take, and the cells it leaves out.

`read_axes` takes a document's axes apart and leaves a `grid` whose axes are plain lists;
`Axes.resolve` checks the values of other keys than the grid's own, as if they were written there.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from pydantic import BaseModel

from orchestrator.config.documents import (
    Document,
    KeyPath,
    Place,
    Problem,
    check_model,
    combine,
    dotted,
    show,
)
from results_schema.errors import SpecError, suggest

OWN = ("dataset", "learning_rate", "seed", "genotype")
"""Axes that are keys of the grid itself, in the members' order; others come before the last."""
MOST_VALUES = 100_000
"""Most values of an axis."""
INDEX = "index"
"""In `exclude`, the place of a cell on a figure's axis, 0 for the base."""

Value = Any
Positions = Mapping[str, int]
"""A cell of the grid: the position of its value on each axis."""


@dataclass(frozen=True)
class Group:
    """Axes that vary together: a single one, or those of an entry of `zip`."""

    keys: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]  # positions of values, one a key


@dataclass(frozen=True)
class Axes:
    """The axes of an experiment.

    Attributes:
        values: Distinct values of every axis, as they were written, by key.
        groups: Axes by what varies together; the product of the groups is the grid.
        excluded: Cells that are left out: those at any of the positions, on each of the axes.
        parts: By the first key of axes that are not the grid's own, what the experiment has there,
            by the positions of these axes.
    """

    values: Mapping[str, Sequence[Value]]
    groups: tuple[Group, ...]
    excluded: tuple[Mapping[str, frozenset[int]], ...] = ()
    parts: Mapping[str, Mapping[tuple[int, ...], Any]] = field(default_factory=dict)

    @cached_property
    def others(self) -> dict[str, list[str]]:
        """Keys of the axes that are not the grid's own, by their first key; outer keys first."""
        found: dict[str, list[str]] = {}
        for key in sorted(self.values.keys() - {*OWN}, key=lambda key: (key.count("."), key)):
            found.setdefault(key.partition(".")[0], []).append(key)
        return found

    def __iter__(self) -> Iterator[dict[str, int]]:
        """Yield the positions of each combination of values."""
        keys = [key for group in self.groups for key in group.keys]
        for rows in product(*(group.rows for group in self.groups)):
            yield dict(zip(keys, (place for row in rows for place in row), strict=True))

    def size(self, cells: Sequence[int]) -> int:
        """Return the number of trials before any is left out, given the cells of each genotype."""
        total = 1
        for group in self.groups:
            if "genotype" in group.keys:
                place = group.keys.index("genotype")
                total *= sum(cells[row[place]] for row in group.rows)
            else:
                total *= len(group.rows)
        return total

    def varied(self, at: Positions) -> dict[str, Value]:
        """Return the values of the axes that are not the grid's own, in their order."""
        return {key: self.values[key][at[key]] for key in self.values if key not in OWN}

    def settings(self, at: Positions) -> dict[str, Any]:
        """Return what these axes decide, by field of the experiment."""
        return {
            name: self.parts[name][tuple(at[key] for key in keys)]
            for name, keys in self.others.items()
        }

    def excludes(self, at: Positions, index: int) -> bool:
        """Return whether a cell is left out; `index` is its place on a figure's axis."""
        return any(
            all((index if key == INDEX else at[key]) in positions for key, positions in one.items())
            for one in self.excluded
        )

    def resolve(self, document: Document, model: type[BaseModel], **context: Any) -> Axes:
        """Return the axes with their `parts`, each validated as a field of the model.

        Args:
            document: What `read_axes` returned.
            model: Model of the keys that axes can vary.
            context: What its validators need.

        Raises:
            ConfigError: A value does not fit where it is meant for.
        """

        def make(name: str, given: Iterable[tuple[str, int]]) -> tuple[Any, list[Problem]]:
            data = {name: document.data[name]} if name in document.data else {}
            below = {p: at for p, at in document.places.items() if p[:1] in ((), (name,))}
            plain = Document(data, below)
            for key, place in given:
                written = document.part(("grid", key, place), self.values[key][place])
                plain = plain.override(tuple(key.split(".")), written)
            made, problems = check_model(model, plain, **context)
            return getattr(made, name, None), problems

        # Each value alone first, so that all bad ones are reported, and each once.
        problems = [
            problem
            for name, keys in self.others.items()
            for key in keys
            for place in range(len(self.values[key]))
            for problem in make(name, [(key, place)])[1]
        ]
        if problems:
            raise combine(problems)
        parts: dict[str, dict[tuple[int, ...], Any]] = {name: {} for name in self.others}
        for at in self if parts else ():
            for name, keys in self.others.items():
                row = tuple(at[key] for key in keys)
                if row not in parts[name]:
                    parts[name][row], problems = make(name, zip(keys, row, strict=True))
                    if problems:
                        raise combine(problems)
        return replace(self, parts=parts)

    def exclude(self, document: Document, names: Mapping[str, Sequence[Any]]) -> Axes:
        """Return the axes with what `grid.exclude` leaves out.

        Args:
            document: What `read_axes` was given.
            names: Values of axes as they may be written besides, by key: names of genotypes and
                data sets, and the indices of cells.

        Raises:
            ConfigError: An entry names no axis of this grid, or no value of it.
        """
        written, path = document.data["grid"].get("exclude", []), ("grid", "exclude")
        entries, problems = [], []

        def report(path: KeyPath, what: str, fix: str) -> None:
            problems.append(Problem(document.place(path), what, fix))

        usage = "write [{AXIS: VALUE}, …]; what has all the values of an entry is left out"
        if not isinstance(written, list):
            report(path, f"{dotted(path)} is {show(written)}, not a list", usage)
            written = []
        for number, entry in enumerate(written):
            place = (*path, number)
            if not isinstance(entry, dict) or not entry:
                report(place, f"{dotted(place)} is {show(entry)}, not values of axes", usage)
                continue
            found: dict[str, frozenset[int]] = {}
            for key, value in entry.items():
                known, values = list(names.get(key, ())), self.values.get(key, ())
                if key not in self.values and key != INDEX:
                    what = f"no axis {dotted((*place, key))}"
                    report((*place, key), what, suggest(key, [*self.values, INDEX]))
                    continue
                places = set()
                for wanted in value if isinstance(value, list) else [value]:
                    position = _position(wanted, values, known)
                    if position is None:
                        what = f"{dotted((*place, key))}: the grid has no {show(wanted)}"
                        report((*place, key), what, suggest(str(wanted), map(str, known or values)))
                    else:
                        places.add(known[position] if key == INDEX else position)
                found[key] = frozenset(places)
            entries.append(found)
        if problems:
            raise combine(problems)
        return replace(self, excluded=tuple(entries))


def _position(wanted: Value, *lists: Sequence[Value]) -> int | None:
    for values in lists:
        for place, value in enumerate(values):
            if _identity(value) == _identity(wanted):
                return place
    return None


def _identity(value: Value) -> Any:
    """Return what equal values share: 1 and 1.0 are equal, true is neither."""
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return isinstance(value, bool), value


def read_axes(document: Document, others: Iterable[str]) -> tuple[Document, Axes]:
    """Return the document with plain lists for the grid's own axes, and all of its axes.

    Under `grid` the document lacks other axes, `zip` and `exclude`, but has their places. Keys of
    the grid that are no axes stay, and so do those of its own that are no lists.

    Args:
        document: An experiment's, of which nothing has been checked.
        others: Keys of the experiment at or below which an axis may be, such as `recipe`.

    Raises:
        ConfigError: An axis, `zip` or `exclude` is not written as it should be.
    """
    grid = document.data.get("grid")
    if not isinstance(grid, dict):
        return document, Axes({}, ())
    reader = _Reader(document, tuple(others))
    axes = reader.read(grid)
    if reader.problems:
        raise combine(reader.problems)
    return reader.document, axes


class _Reader:
    """Reads the axes of a grid, replaces them by lists in a document, and collects problems."""

    def __init__(self, document: Document, others: Sequence[str]) -> None:
        self.document, self.others = document, others
        self.problems: list[Problem] = []
        self.values: dict[str, list[Value]] = {}
        self.groups: list[Group] = []

    def read(self, grid: Mapping[str, Any]) -> Axes:
        for key in grid:
            if key in OWN or self._is_axis(key):
                self._add_group({key: ("grid", key)}, zipped=False)
        zips = grid.get("zip", [])
        for number, entry in enumerate(zips if isinstance(zips, list) else [zips]):
            path = ("grid", "zip", number) if isinstance(zips, list) else ("grid", "zip")
            if not isinstance(entry, dict) or len(entry) < 2:
                fix = "write {AXIS: [VALUE, …], AXIS: [VALUE, …]}, or a list of such"
                self._report(path, f"is {show(entry)}, not axes that vary together", fix)
                continue
            for key in entry:
                if key in self.values or (key in grid and key != "zip"):
                    self._report((*path, key), "is an axis already", "keep one of them")
                elif key not in OWN and not self._is_axis(key):
                    fix = suggest(key, [*OWN, *self.others])
                    self._report((*path, key), "is no axis", fix)
            self._add_group({key: (*path, key) for key in entry}, zipped=True)
        for key, default in (("learning_rate", [0.025]), ("seed", [0])):
            if key not in self.values and key not in grid:
                self.values[key] = default
                self.groups.append(Group((key,), ((0,),)))
        kept = {
            key: value
            for key, value in self.document.data["grid"].items()
            if key not in ("zip", "exclude") and not self._is_axis(key)
        }
        self.document = Document(self.document.data | {"grid": kept}, self.document.places)
        return Axes(self.values, tuple(sorted(self.groups, key=_rank)))

    def _is_axis(self, key: str) -> bool:
        return key.partition(".")[0] in self.others

    def _report(self, path: KeyPath, what: str, fix: str = "") -> None:
        self.problems.append(Problem(self.document.place(path), f"{dotted(path)} {what}", fix))

    def _add_group(self, axes: Mapping[str, KeyPath], *, zipped: bool) -> None:
        """Add the axes at some paths of the document, which vary together."""
        columns: dict[str, list[int]] = {}
        for key, path in axes.items():
            written = self.document.data
            for part in path:
                written = written[part]
            if key in OWN and not zipped and not isinstance(written, dict | list):
                return  # refused with the rest of the grid
            if isinstance(written, dict) and written.keys() & GENERATED.keys():
                values = self._generate(key, path, written)
            elif isinstance(written, list) and (written or key in OWN):
                values = written
            elif isinstance(written, dict) and key == "dataset":
                values = [written]  # one of the user's own
            else:
                alone = isinstance(written, str | int | float)
                fix = f"write it in brackets: [{written}]" if alone else "name at least one value"
                self._report(path, f"is {show(written)}, not a list of values", fix)
                continue
            distinct: dict[Any, int] = {}
            columns[key], firsts = [], []
            for number, value in enumerate(values):
                columns[key].append(distinct.setdefault(_identity(value), len(distinct)))
                if len(distinct) > len(firsts):
                    firsts.append(number)
            self.values[key] = [values[first] for first in firsts]
            if len(distinct) < len(values) and not zipped:
                if values is not written:
                    columns[key] = list(range(len(distinct)))
                elif key not in OWN:
                    again = next(i for i in range(len(values)) if i not in firsts)
                    what = f"is {show(values[again])}, which is given more than once"
                    self._report((*path, again), what, "name every value once")
            if zipped or values is not written:
                # Errors of a value name the place where it was written.
                at, written = self.document.place, values is written
                places: dict[KeyPath, Place] = {(): at(path)}
                places |= {(i,): at((*path, n)) for i, n in enumerate(firsts) if written}
                plain = Document(self.values[key], places)
                self.document = self.document.override(("grid", key), plain)
        if len(columns) < len(axes):
            return
        counts = {key: len(column) for key, column in columns.items()}
        if len(set(counts.values())) > 1:
            path = next(iter(axes.values()))[:-1]
            every = ", ".join(f"{key} has {count}" for key, count in counts.items())
            self._report(path, f"has unequal axes: {every}", "give each as many values")
            return
        rows = tuple(zip(*columns.values(), strict=True))
        if zipped and len(set(rows)) < len(rows):
            path = next(iter(axes.values()))[:-1]
            self._report(path, "has a combination twice", "name every combination once")
        self.groups.append(Group(tuple(axes), rows))

    def _generate(self, key: str, path: KeyPath, written: Mapping[str, Any]) -> list[Value]:
        try:
            return generate(key, written)
        except SpecError as error:
            self._report(path, f"is {show(dict(written))}: {error.what}", error.fix)
            return [None]


def _rank(group: Group) -> float:
    return min(OWN.index(key) if key in OWN else len(OWN) - 1.5 for key in group.keys)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _spaced(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _log_spaced(low: float, high: float, share: float) -> float:
    return math.exp(_spaced(math.log(low), math.log(high), share))


GENERATED: dict[str, tuple[Callable[[float, float, float], float], bool, str]] = {
    "range": (_spaced, False, "[FIRST, END] or [FIRST, END, STEP], whole numbers; without the end"),
    "linspace": (_spaced, False, "[FIRST, LAST, HOW MANY]"),
    "logspace": (_log_spaced, False, "[FIRST, LAST, HOW MANY], above 0"),
    "uniform": (_spaced, True, "[LOW, HIGH] beside n and, if wanted, seed"),
    "loguniform": (_log_spaced, True, "[LOW, HIGH], above 0, beside n and, if wanted, seed"),
}
"""How an axis' values can be generated: the value between two ends, whether it is drawn, and how
it is written."""


def generate(key: str, written: Mapping[str, Any]) -> list[Value]:
    """Return the values of an axis that is written as a range, equal steps or a random sample.

    Other values than those of `range` are rounded to six significant digits, so that they, and
    the ids of trials, are the same on every machine; with `whole: true` to whole numbers.

    Args:
        key: The axis. Random samples of two axes with one seed are independent.
        written: One key of `GENERATED`, and its options.

    Raises:
        SpecError: It is not written as `GENERATED` has it.
    """
    [form, *more] = [name for name in GENERATED if name in written]
    between, drawn, usage = GENERATED[form]
    options = () if form == "range" else ("n", "seed", "whole") if drawn else ("whole",)
    wrong = SpecError("it cannot be read", fix=f"write {form}: {usage}")
    if more or written.keys() - {form, *options}:
        extra = sorted(written.keys() - {form, *options})
        raise SpecError(f"{form} has no {extra[0]}", fix=suggest(extra[0], (form, *options)))
    ends = written[form]
    count = {"range": (2, 3), "uniform": (2,), "loguniform": (2,)}.get(form, (3,))
    if not isinstance(ends, list) or len(ends) not in count or not all(map(_number, ends)):
        raise wrong
    if form == "range":
        if not all(type(end) is int for end in ends) or ends[2:] == [0]:
            raise wrong
        steps = range(*ends)
        if not 0 < len(steps) <= MOST_VALUES:
            raise SpecError(f"it has {len(steps):,} values", fix=f"name 1 to {MOST_VALUES:,}")
        return list(steps)
    low, high = map(float, ends[:2])
    n, seed = written.get("n") if drawn else ends[2], written.get("seed", 0)
    whole = written.get("whole", False)
    if type(n) is not int or type(seed) is not int or type(whole) is not bool:
        raise wrong
    if not 1 <= n <= MOST_VALUES:
        raise SpecError(f"it has {n:,} values", fix=f"name 1 to {MOST_VALUES:,}")
    if (between is _log_spaced and min(low, high) <= 0) or low == high:
        raise wrong
    draw = random.Random(f"{seed} {key}")
    shares = [draw.random() if drawn else place / max(n - 1, 1) for place in range(n)]
    found = [float(f"{between(low, high, share):.6g}") for share in shares]
    return [round(value) for value in found] if whole else found
