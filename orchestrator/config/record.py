"""What a launch records of an experiment, so that everything else can be read from the store alone.

Tables list its trials, surfaces and cells; a file, read as `Declared`, has what they do not hold.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, PlainValidator

from orchestrator.config.claims import Stated, read_stated
from orchestrator.config.documents import STRICT, FileName
from orchestrator.config.experiment import Experiment, Member
from orchestrator.config.registry import Choice, read_recorded_choice
from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import ConfigError, CorruptData, MissingKey, NasSweepError
from results_schema.program import ProgramSpec, Trial, widen
from results_schema.store import Store
from results_schema.trial import TrialSpec
from workers.data.custom import publishing

LARGEST = 10_000_000
"""Size in bytes beyond which an experiment's file in a store is refused unread."""


def _having(*keys: str) -> AfterValidator:
    """Return a validator of a mapping that has whole numbers under these keys."""

    def check(data: dict[str, Any]) -> dict[str, Any]:
        for key in keys:
            if type(data.get(key)) is not int:
                raise ValueError(f"it has no number of {key}")
        return data

    return AfterValidator(check)


class Declared(BaseModel, **STRICT):
    """An experiment as it was last launched, after profile and overrides, but for its tables.

    Anyone may have written the file in a store, hence every type that readers rely on is checked.

    Attributes:
        name: Name of the experiment.
        title: What is measured, in one line.
        claim: The statement that this tests; empty if a program has none.
        profile: Name of the profile, or None.
        datasets: Each dataset that the experiment names, with the one trained on.
        network: Numbers of cells and channels.
        recipes: Fields of the recipe, by the dataset that the experiment names.
        precision: Precision of the arithmetic.
        figures: Kind and options of each figure, by its name.
        tables: Kind of each table, by its name.
        claims: Claims that the experiment states, by their names.
        target: Final accuracy that stands in for a base's, of imported results without one.
        former: Ids of trials that launches of this name had, and its members no longer are.
        settings: Keys of settings in which members differ, as launches differed in them.
        program: The program that its trials run, or None.
        version: Version of the program.
        params: Parameters that every trial has.
        stop: The rule of early stopping, as JSON, or None.
    """

    name: str
    title: str
    claim: str
    profile: str | None
    datasets: dict[str, str]
    network: Annotated[dict[str, int], _having("cells", "channels")]
    recipes: dict[str, Annotated[dict[str, Any], _having("epochs")]]
    precision: str
    figures: dict[FileName, Annotated[Choice, PlainValidator(read_recorded_choice)]]
    tables: dict[FileName, str]
    claims: dict[FileName, Annotated[Stated, PlainValidator(read_stated)]] = {}
    target: float | None = None
    former: list[str] = []
    settings: list[str] = []
    program: str | None = None
    version: int = 1
    params: dict[str, Any] = {}
    stop: dict[str, Any] | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> Declared:
        """Return the declaration of an experiment."""
        datasets = experiment.grid.dataset
        shared = cls.model_fields.keys() & Experiment.model_fields.keys()
        content = {name: getattr(experiment, name) for name in shared}
        rules = {cohort.rule for cohort in experiment.cohorts()}
        content["stop"] = next((parse_json(rule.to_json()) for rule in rules), None)
        content["network"] = asdict(experiment.network)
        content["datasets"] = {name: experiment.trained_dataset(name) for name in datasets}
        content["recipes"] = {name: asdict(experiment.recipe.of(name)) for name in datasets}
        return cls(**content)

    def to_json(self) -> bytes:
        """Return the content of `layout.experiment(name)`."""
        figures = {name: choice.to_json() for name, choice in self.figures.items()}
        claims = {name: claim.to_json() for name, claim in self.claims.items()}
        content = {**dict(self), "figures": figures, "claims": claims}
        for name in ("target", "former", "settings", "program", "params", "stop", "claims"):
            if not content[name]:
                del content[name]
        if self.program is None:
            del content["version"]
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


class Stored(NamedTuple):
    """Members that the store's experiment has and a launch of its name does not.

    Attributes:
        kept: Rows of those of other settings (network, recipe, precision, params), which stay.
        dropped: Trials of the others, such as those that a narrower grid leaves out.
        settings: Keys in which members differ: axes of all of them, if any is kept.
    """

    kept: Sequence[dict[str, Any]]
    dropped: Sequence[str]
    settings: Sequence[str] = ()


def compare_stored(experiment: Experiment, store: Store) -> Stored:
    """Return the members of the store's experiment that a launch of its name does not have."""
    own = {member.spec.trial_id for member in experiment.members()}
    rows = _stored_rows(store, layout.members(experiment.name), tables.MEMBERS)
    rows = [row for row in rows if row["trial_id"] not in own]
    every, now = list(dict.fromkeys(row["trial_id"] for row in rows)), Declared.of(experiment)
    try:
        before = read_declared(store, experiment.name)
    except (ConfigError, CorruptData):
        return Stored([], every)
    alike = (before.program, before.version) == (now.program, now.version)
    # Early stopping compares all trials of an experiment; imported ones have no settings.
    if not alike or before.stop or now.stop or not before.network["cells"]:
        return Stored([], every)
    named = dict.fromkeys([*before.params, *now.params])
    before, now = (one.model_copy(update={"params": named | one.params}) for one in (before, now))
    settings = {}
    for dataset in {row["named_dataset"] for row in rows}:
        with contextlib.suppress(NasSweepError):  # the user's own, which this launch does not name
            now.recipes.setdefault(dataset, asdict(experiment.recipe.of(dataset)))
        settings[dataset] = _settings(before, dataset), _settings(now, dataset)
    keys = set(before.settings)
    for old, new in settings.values():
        keys |= {key for key in old if key in new and new[key] != old[key]}
    axes = tuple(f"{axis}." for axis in experiment.axes.values)
    keys = sorted(key for key in keys if not f"{key}.".startswith(axes))
    kept, dropped = [], []
    for row in rows:
        old, new = settings[row["named_dataset"]]
        values = {key: old.get(key) for key in keys} | _axes(row)
        if any(values[key] != new.get(key) for key in keys):
            kept.append(row | {"axes": json.dumps(values)})
        else:
            dropped.append(row["trial_id"])
    return Stored(kept, list(dict.fromkeys(dropped)), keys if kept else ())


def _settings(declared: Declared, dataset: str) -> dict[str, Any]:
    """Return what decides the trials of a data set besides the grid, by key."""
    parts = {"network": declared.network, "recipe": declared.recipes.get(dataset, {})}
    parts["params"] = declared.params
    found = {f"{part}.{key}": one for part, values in parts.items() for key, one in values.items()}
    found["precision"] = declared.precision
    found.pop("recipe.version", None)
    return parse_json(json.dumps(found))


def _axes(row: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(row["axes"]) if row["axes"] else {}


def _stored_rows(store: Store, key: str, schema: pa.Schema) -> list[dict[str, Any]]:
    try:
        return tables.from_parquet(store.get(key), schema, key).to_pylist()
    except (MissingKey, CorruptData):  # a damaged table is about to be replaced
        return []


def former_members(store: Store) -> dict[str, str]:
    """Return the experiment that had each trial which no launch of it has any more, by its id."""
    names = layout.names(store.list(layout.EXPERIMENTS))
    found: dict[str, str] = {}
    for name in sorted(names):
        with contextlib.suppress(ConfigError, CorruptData):
            found |= dict.fromkeys(read_declared(store, name).former, name)
    return found


def record(experiment: Experiment, store: Store, *, replace: bool = False) -> None:
    """Write the experiment's tables and its declaration, and the user's own data sets.

    Members of other settings that the store's experiment has stay (`compare_stored`), unless it is
    to be replaced.

    Raises:
        StoreError: The store can't be written, or another launch keeps recording the experiment.
    """
    widen(store, experiment.metrics)
    # Two launches of unlike settings, begun at once, would each miss what the other adds.
    with store.leases.wait(layout.experiment_lease(experiment.name)):
        _record(experiment, store, replace=replace)


def _record(experiment: Experiment, store: Store, *, replace: bool) -> None:
    name = experiment.name
    stored, former = compare_stored(experiment, store), set[str]()
    with contextlib.suppress(ConfigError, CorruptData):
        former.update(read_declared(store, name).former)
    former.update(stored.dropped, (row["trial_id"] for row in stored.kept))
    if replace:
        stored = Stored([], [])
    declared = Declared.of(experiment)
    rows = member_rows(experiment)
    for row in rows if stored.settings else ():
        values = _settings(declared, row["named_dataset"])
        own = {key: values.get(key) for key in stored.settings}
        row["axes"] = json.dumps(own | _axes(row))
    rows += stored.kept
    trials, cells = {row["trial_id"] for row in stored.kept}, cell_rows(experiment)
    wanted = _stored_rows(store, layout.wanted(name), tables.WANTED)
    places = {_place(row) for row in stored.kept} - {_place(row) for row in cells}
    cells += [
        row
        for row in _stored_rows(store, layout.cells(name), tables.CELLS)
        if _place(row) in places
    ]
    specs = [member.spec for member in experiment.members()]
    members = tables.for_programs(tables.MEMBERS) if experiment.program else tables.MEMBERS
    wanted = wanted_rows(experiment) + [row for row in wanted if row["trial_id"] in trials]
    of_cells = [spec for spec in specs if isinstance(spec, TrialSpec)]
    datasets = {one for spec in of_cells for one in (spec.dataset, spec.recipe.statistics)}
    former -= {row["trial_id"] for row in rows}
    changes = {"former": sorted(former), "settings": list(stored.settings)}
    with publishing(datasets, store):
        for key, content, schema in (
            (layout.members(name), rows, members),
            (layout.wanted(name), wanted, tables.WANTED),
            (layout.cells(name), cells, tables.CELLS),
        ):
            store.put(key, tables.to_parquet(content, schema))
        store.put(layout.experiment(name), declared.model_copy(update=changes).to_json())


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["base"], row["variant"], row["index"]


def read_declared(store: Store, experiment: str) -> Declared:
    """Return an experiment of a store as it was last launched.

    Raises:
        ConfigError: The store has no such file.
        CorruptData: The file is not what a launch writes.
    """
    key = layout.experiment(experiment)
    again = "launch the experiment again: what has ended is not trained again"
    try:
        declared = Declared.model_validate(parse_json(store.get(key, most=LARGEST)))
        if declared.name != experiment:
            raise ValueError(f"it is of {declared.name!r}")
    except MissingKey:
        raise ConfigError(
            f"the store has no declaration of {experiment!r}", where=key, fix=again
        ) from None
    except ValueError as error:
        raise CorruptData(f"not what a launch wrote: {error}", where=key, fix=again) from error
    return declared


def stated_target(store: Store, experiment: str) -> float | None:
    """Return the target of an imported experiment; None if it has none, or others wrote it."""
    try:
        return read_declared(store, experiment).target
    except (ConfigError, CorruptData):
        return None


def member_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of `tables.MEMBERS`."""
    whole = {"experiment": experiment.name, "profile": experiment.profile}
    return [whole | member_row(member) for member in experiment.members()]


def member_row(member: Member) -> dict[str, Any]:
    """Return a row of `tables.MEMBERS` without the columns of the experiment."""
    return {
        "base": member.base,
        "variant": member.variant,
        "index": member.index,
        "named_dataset": member.named_dataset,
        "seed": member.spec.seed,
        **_cell_columns(member.spec),
        "trial_id": member.spec.trial_id,
        "axes": json.dumps(member.axes) if member.axes else None,
    }


def name_members(experiment: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of an experiment's members.

    A name has the experiment, the base, the index, and what else differs between the members:
    `fig9/DARTS/C3/s1`, or `fig9/DARTS/base/s1` for the base itself.

    Args:
        experiment: Its name.
        rows: All of its rows of `tables.MEMBERS`, in order.
    """
    rows = list(rows)
    every = [_axes(row) for row in rows]
    columns = tables.axis_columns(dict.fromkeys(key for axes in every for key in axes))
    parts = []
    for row, axes in zip(rows, every, strict=True):
        rate = row["learning_rate"]
        part = {"dataset": row["named_dataset"], "lr": "" if rate is None else f"lr{rate:g}"}
        part |= {"seed": f"s{row['seed']}"}
        parts.append(part | {name: f"{name}={axes.get(key)}" for key, name in columns.items()})
    differ = [name for name in (parts or [{}])[0] if len({own[name] for own in parts}) > 1]
    return [
        "/".join(
            [experiment, row["base"], f"C{row['index']}" if row["index"] else "base"]
            + [own[name] for name in differ]
        )
        for row, own in zip(rows, parts, strict=True)
    ]


def _cell_columns(spec: Trial) -> dict[str, Any]:
    if isinstance(spec, ProgramSpec):
        shape = ("width", "depth", "width_all_nodes", "depth_all_nodes")
        return dict.fromkeys(("dataset", "learning_rate", *shape))
    about = {"dataset": spec.dataset, "learning_rate": spec.learning_rate}
    return about | spec.genotype.shape


def wanted_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of `tables.WANTED`."""
    return [
        {
            "experiment": experiment.name,
            "surface_id": surface.surface_id,
            "trial_id": surface.trial.trial_id,
            "kind": surface.kind,
            "points": surface.points,
        }
        for surface in experiment.surfaces()
    ]


def cell_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of `tables.CELLS`."""
    return [
        {
            "experiment": experiment.name,
            "base": base.name,
            "variant": cell.name,
            "index": cell.index,
            **cell.genotype.shape,
            "genotype": json.dumps(cell.genotype.to_json()),
        }
        for base in experiment.grid.genotype
        for cell in experiment.grid.cells(base)
    ]
