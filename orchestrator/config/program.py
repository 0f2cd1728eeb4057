"""What an experiment says of a program: its source, parameters, metrics, and the axes it may have.

The rest is as for cells; `ProgramDeclaration` is validated where the file names a program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, model_validator
from pydantic_core import InitErrorDetails, PydanticKnownError

from orchestrator.config.axes import Axes
from orchestrator.config.documents import (
    Axis,
    DatasetName,
    Document,
    Problem,
    at_key,
    refuse,
    show,
    unknown_keys,
)
from orchestrator.config.grid import Bases, Grid
from results_schema.errors import ConfigError, SpecError, suggest
from results_schema.program import NAME, Metric, Trial, plain_values, program_name
from results_schema.stopping import CELL_METRICS, StopRule
from results_schema.trial import TrialSpec
from workers.program.source import FOUND, Source, find

NEEDLESS = ("network", "recipe", "precision", "landscape", "tables")
"""Keys of experiments with cells that a program has no use for."""


class ProgramGrid(Grid, extra="allow"):
    """The axes of a program besides those of its parameters."""

    genotype: Bases = ()
    dataset: tuple[DatasetName, ...] = ()
    seed: Axis[Annotated[int, Field(ge=0)]] = (0,)

    @model_validator(mode="after")
    def _check_keys(self) -> ProgramGrid:
        given = dict.fromkeys(self.model_fields_set)
        if problems := unknown_keys(given, ["seed", "params.NAME", "zip", "exclude"]):
            raise refuse(problems)
        return self


def _read_metrics(value: Any) -> tuple[Metric, ...]:
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    if not value:
        raise SpecError("metrics names none", fix="write what the program reports: {loss: min}")
    return tuple(_read_metric(name, given) for name, given in value.items())


def _read_metric(name: str, given: Any) -> Metric:
    with at_key(name, given):
        if not NAME.fullmatch(name):
            fix = "use lower-case letters, digits and _, a letter first, 40 in all"
            raise SpecError(f"{show(name)} is no name of a metric", fix=fix)
        if name.startswith("best_"):
            raise SpecError(f"{name} begins with best_", fix="name it without: the best is kept")
        if name in _built_in():
            fix = f"give it a name of its own, such as my_{name}"
            raise SpecError(f"every store has a column {name}", fix=fix)
        if given is None or isinstance(given, str):
            given = {"goal": given or ""}
        if not isinstance(given, dict):
            fix = "write min, max, or {unit: s, goal: min}"
            raise SpecError(f"{name} is {show(given)}", fix=fix)
        if unknown := sorted(given.keys() - {"type", "unit", "goal"}):
            raise SpecError(f"{name} has no {unknown[0]}", fix="use type, unit and goal")
        for key, allowed in (("goal", ("min", "max", "")), ("type", ("real", "whole"))):
            if key in given and given[key] not in allowed:
                fix = f"use {' or '.join(filter(None, allowed))}"
                raise SpecError(f"the {key} of {name} is {show(given[key])}", fix=fix)
        unit = given.get("unit", "")
        if not isinstance(unit, str) or not re.fullmatch(r"[^\s\x00-\x1f]{0,20}", unit):
            raise SpecError(f"the unit of {name} is {show(unit)}", fix="write a short word")
        return Metric(name, **given)


def _built_in() -> set[str]:
    from results_schema import tables  # pyarrow, which planning does without

    shown = (tables.METRICS, tables.TRIALS, tables.MEMBERS)
    return {name for schema in shown for name in schema.names}


Program = Annotated[str, AfterValidator(lambda name: program_name("program", name))]
Params = Annotated[dict[str, Any], PlainValidator(lambda value: plain_values("params", value))]
Metrics = Annotated[tuple[Metric, ...], PlainValidator(_read_metrics)]


def check_keys(declaration: Any) -> Any:
    """Return a declaration, a program's or not; refuse keys of the other kind."""
    if declaration.program is not None:
        wrong, what, fix = NEEDLESS, "of a program", "drop it: the program's params decide"
    else:
        wrong = ("params", "metrics", "version")
        what, fix = "without a program", "add program: FILE.py:FUNCTION"
    problems = [
        InitErrorDetails(
            type="value_error",
            loc=(key,),
            input=None,
            ctx={"error": SpecError(f"{key} {what}", fix=fix)},
        )
        for key in wrong
        if key in declaration.model_fields_set
    ]
    if problems:
        raise refuse(problems)
    return declaration


def check_axes(metrics: Iterable[Metric], axes: Axes, document: Document) -> Iterator[Problem]:
    """Yield a problem for each metric whose column an axis has."""
    columns = {key.rpartition(".")[2] for key in axes.values}
    for metric in metrics:
        if metric.name in columns:
            place = document.place(("metrics", metric.name))
            what = f"metrics.{metric.name}: {metric.name} is an axis too"
            yield Problem(place, what, "rename one: each is a column of the results")


def read_stop(value: Any) -> StopRule:
    """Validate `stop`: a rule of early stopping, with its options."""
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    known = [item.name for item in fields(StopRule)]
    if problems := unknown_keys(value, known):
        raise refuse(problems)
    if "rule" not in value:
        raise SpecError("no rule is named", fix="write {rule: median, after: 10}")
    return StopRule(**value)


def resolve_rule(rule: StopRule, metrics: Sequence[Metric], trials: Iterable[Trial]) -> StopRule:
    """Return a rule of early stopping with its metric and the metric's goal.

    Raises:
        SpecError: Not all trials have the metric, or it has no goal.
    """
    goals: dict[str, str] = {metric.name: metric.goal for metric in metrics if metric.goal}
    if not metrics:
        cells = [spec for spec in trials if isinstance(spec, TrialSpec)]
        validated = all(spec.recipe.validation for spec in cells)
        goals = {
            name: goal
            for name, goal in CELL_METRICS.items()
            if validated or not name.startswith("val_")
        }
    if not goals:
        raise SpecError("no metric has a goal", fix="declare one as NAME: min or NAME: max")
    name = rule.metric or next(iter(goals))
    if name not in goals:
        fix = suggest(name, goals)
        if name in CELL_METRICS and not metrics:
            fix = "add recipe: {validation: 0.1}, or compare by test_loss"
        raise SpecError(f"the metric {name} has no goal here", fix=fix)
    if rule.goal not in ("", goals[name]):
        raise SpecError(f"the goal of {name} is {goals[name]}", fix="omit goal")
    return replace(rule, metric=name, goal=goals[name])


def find_source(document: Document, program: str, folder: Path) -> Source:
    """Return the source of the program that a document names.

    Raises:
        ConfigError: It can't be found, or is not Python; the error names the place of its name,
            or its own file and line.
    """
    place = document.place(("program",))
    try:
        # From the file that names it, which another may extend.
        FOUND[program] = find(program, place.folder(folder))
        return FOUND[program]
    except ConfigError as error:
        if ".py" in error.where:
            raise
        raise ConfigError(f"program: {error.what}", where=str(place), fix=error.fix) from error


def check_shared(experiments: Sequence[Any]) -> None:
    """Raise `ConfigError` if two experiments differ in a metric, or in a program of one name."""
    known: dict[str, tuple[Metric, str]] = {}
    for experiment in experiments:
        source = experiment.source
        if source and FOUND[source.program].digest != source.digest:
            what = f"{source.program} is another program in another experiment"
            fix = "launch them apart, or give one of them another file name"
            raise ConfigError(what, where=str(source.path), fix=fix)
        for metric in experiment.metrics:
            there, name = known.setdefault(metric.name, (metric, experiment.name))
            if there != metric:
                what = f"metric {metric.name} is declared differently in {name}"
                raise ConfigError(
                    what, where=experiment.name, fix="declare it alike, or rename one"
                )


def variant_name(axes: Mapping[str, Any]) -> str:
    """Return a name for the parameters of a trial: the values of the axes."""
    return ", ".join(f"{key.removeprefix('params.')}={value}" for key, value in axes.items())
