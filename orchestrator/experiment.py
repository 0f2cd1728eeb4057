"""An experiment: a YAML file that names a grid of trials and the figures drawn from it.

A profile and then `--set` options override values of the file before all is checked together;
every error names the file and line, or the option, that the offending value came from.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrator.documents import (
    MAX_DEPTH,
    Document,
    KeyPath,
    Place,
    Problem,
    dotted,
    parse_value,
    printable,
    read_document,
    report,
    show,
    suggest,
)
from orchestrator.figures import KINDS
from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import Genotype
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named, official_name
from workers.cells.variants import connection_variants
from workers.data.catalog import DATASETS, describe

VARIANTS = ("none", "paper4", "paper10", "paper13")
"""Sets of connection variants that a grid may add to every genotype."""

MAX_MEMBERS = 100_000

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def _one_of(kind: str, known: Sequence[str]) -> BeforeValidator:
    def check(name: Any) -> Any:
        if name not in known:
            raise SpecError(f"unknown {kind} {show(name)}", fix=suggest(str(name), known))
        return name

    return BeforeValidator(check)


def _axis(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise SpecError("the list is empty", fix="name at least one value")
    if repeated := [show(value) for value, times in Counter(values).items() if times > 1]:
        raise SpecError(f"{', '.join(repeated)} given more than once", fix="name every value once")
    return values


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if not line or not line.isprintable():
        raise SpecError(f"{show(text)} is no readable text", fix="write a sentence")
    return line


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise SpecError(
            f"{show(name)} cannot name a file of the store",
            fix="use letters, digits, _ and -, a letter or digit first",
        )
    return name


Axis = Annotated[tuple[T, ...], AfterValidator(_axis)]
Text = Annotated[str, AfterValidator(_one_line)]
FileName = Annotated[str, AfterValidator(_file_name)]
GenotypeName = Annotated[str, AfterValidator(official_name)]
DatasetName = Annotated[str, AfterValidator(lambda name: describe(name).name)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0)]
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class Grid(BaseModel):
    """The axes whose product is the experiment's trials."""

    model_config = _STRICT

    genotype: Axis[GenotypeName] = Field(description="published cells, such as [DARTS, ENAS]")
    variants: Annotated[str, _one_of("set of variants", VARIANTS)] = "none"
    dataset: Axis[DatasetName] = Field(description="data sets, such as [cifar10]")
    learning_rate: Axis[Rate] = (0.025,)
    seed: Axis[Seed] = (0,)


class Declaration(BaseModel):
    """What an experiment's file says."""

    model_config = _STRICT

    title: Text = Field(description="what is measured, in one line")
    claim: Text = Field(description="the statement of the paper that this tests")
    grid: Grid = Field(description="the axes, at least genotype and dataset")
    network: NetworkSpec = NetworkSpec()
    recipe: Recipe = Recipe()
    precision: Annotated[str, _one_of("precision", PRECISIONS)] = "fp32"
    figures: dict[FileName, Annotated[str, _one_of("kind of figure", tuple(KINDS))]] = {}


class Profile(BaseModel):
    """What a profile's file says: stand-ins for data sets, and overrides by key path."""

    model_config = _STRICT

    description: Text = Field(description="what this profile is for")
    datasets: dict[DatasetName, DatasetName] = {}
    overrides: dict[str, Any] = Field(default={}, alias="set")


@dataclass(frozen=True)
class Member:
    """A trial's place in an experiment.

    Attributes:
        base: Name of the genotype that the variant was drawn from.
        variant: How it was drawn, such as "CONN3" or "seed 14"; the base's name for itself.
        index: Its place on a figure's axis; 0 is the base.
        named_dataset: The data set that the experiment names; the spec may hold a stand-in.
        spec: The trial.
    """

    base: str
    variant: str
    index: int
    named_dataset: str
    spec: TrialSpec


class Experiment(Declaration):
    """An experiment as it will be run.

    Attributes:
        name: The file's name without its suffix.
        profile: Name of the profile that was applied.
        stand_ins: Data sets that take the place of others.
    """

    name: FileName
    profile: str | None = None
    stand_ins: dict[DatasetName, DatasetName] = {}

    def members(self) -> list[Member]:
        """The trials: by data set, learning rate, seed, genotype and index, in this order."""
        grid = self.grid
        cells = [cell for base in grid.genotype for cell in _cells(base, grid.variants)]
        axes = product(grid.dataset, grid.learning_rate, grid.seed, cells)
        return [
            Member(base, variant, index, dataset, self._spec(genotype, dataset, rate, seed))
            for dataset, rate, seed, (base, variant, index, genotype) in axes
        ]

    def _spec(self, genotype: Genotype, dataset: str, rate: float, seed: int) -> TrialSpec:
        trained_on = DATASETS[self.stand_ins.get(dataset, dataset)]
        return TrialSpec(
            genotype=genotype,
            dataset=trained_on.name,
            preprocessing=trained_on.preprocessing,
            network=self.network,
            recipe=self.recipe,
            learning_rate=rate,
            seed=seed,
            precision=self.precision,
        )


def load_experiment(
    path: str | Path, *, profile: str | None = None, overrides: Sequence[str] = ()
) -> Experiment:
    """Reads an experiment, applies a profile and overrides, and checks the whole.

    Args:
        path: The YAML file; its name is the experiment's.
        profile: A name, looked up as `profiles/<name>.yaml` beside the experiment, then in
            `experiments/profiles` and `profiles` of each folder above; or a path to a `.yaml`.
        overrides: Values such as `recipe.epochs=2`, in YAML, applied last and in order.

    Raises:
        ConfigError: Anything is wrong with the file, the profile or an override.
    """
    path, stand_ins = Path(path), {}
    document = read_document(path)
    try:
        _file_name(path.stem)
    except SpecError as error:
        raise ConfigError(error.what, where=str(path), fix=error.fix) from error
    if profile is not None:
        found = _find_profile(profile, path)
        settings = read_document(found)
        stand_ins = _validate(Profile, settings).datasets
        for key in settings.data.get("set", {}):
            value = settings.part(("set", key))
            document = document.override(_key_path(key, value.place(())), value)
        profile = found.stem
    for text in overrides:
        key, equals, value = text.partition("=")
        source = f"--set {printable(text)}"
        if not equals:
            raise ConfigError("no value is given", where=source, fix="write --set recipe.epochs=2")
        document = document.override(
            _key_path(key.strip(), Place(source)), parse_value(value, source)
        )
    declaration = _validate(Declaration, document)
    if problems := list(_problems_of_grid(declaration.grid, document, path)):
        raise report(problems)
    parts = {name: getattr(declaration, name) for name in Declaration.model_fields}
    return Experiment(name=path.stem, profile=profile, stand_ins=stand_ins, **parts)


def _cells(base: str, variants: str) -> list[tuple[str, str, int, Genotype]]:
    """(base, variant, index, genotype) of the base itself and of its variants."""
    drawn = connection_variants(base, variants) if variants != "none" else []
    return [(base, base, 0, named(base))] + [(base, v.name, v.index, v.genotype) for v in drawn]


def _has(base: str, variants: str) -> bool:
    try:
        return bool(_cells(base, variants))
    except SpecError:
        return False


def _find_profile(profile: str, experiment: Path) -> Path:
    if profile.endswith(".yaml"):
        return Path(profile)
    known: dict[str, Path] = {}
    for folder in experiment.resolve().parents:
        for place in ("profiles", "experiments/profiles"):
            for file in sorted((folder / place).glob("*.yaml")):
                known.setdefault(file.stem, file)
    if profile not in known:
        fix = suggest(profile, known) if known else f"write one in {experiment.parent / 'profiles'}"
        raise ConfigError(f"there is no profile {show(profile)}", where="--profile", fix=fix)
    found, here = known[profile], Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def _key_path(text: str, place: Place) -> KeyPath:
    keys = tuple(text.split("."))
    if not all(key and key.isprintable() for key in keys) or len(keys) > MAX_DEPTH:
        raise ConfigError(
            f"{show(text)} is no path of keys", where=str(place), fix="write it as recipe.epochs"
        )
    return keys


def _validate(model: type[M], document: Document) -> M:
    """The model of a document's data.

    Raises:
        ConfigError: Tells every problem that pydantic and the contract's classes find.
    """
    found = dict(_problems_of_parts(document)) if model is Declaration else {}
    try:
        # Strict validation of JSON takes a list for a tuple and 1 for 1.0, and nothing looser.
        checked = model.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path: KeyPath = tuple(key for key in detail["loc"] if key != "[key]")
            if not any(told[: len(path)] == path for told in found):
                found[path] = Problem(document.place(path), *_word(detail, path, model))
    else:
        if not found:
            return checked
    raise report(found.values())


_PARTS = {"network": NetworkSpec, "recipe": Recipe}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "dataclass_type": "keys and values",
}


def _problems_of_parts(document: Document) -> Iterator[tuple[KeyPath, Problem]]:
    """Tries each value of `network` and `recipe` alone: together, only the first is refused."""
    for part, kind in _PARTS.items():
        values = document.data.get(part)
        known = [field.name for field in fields(kind) if field.name != "version"]
        for key, value in values.items() if isinstance(values, dict) else ():
            path = (part, key)
            try:
                if key not in known:
                    raise SpecError(f"unknown key {dotted(path)}", fix=suggest(key, known))
                kind(**{key: value})
            except SpecError as error:
                what = error.what.replace(f"{key} is {value!r}", f"{dotted(path)} is {show(value)}")
                yield path, Problem(document.place(path), what, error.fix)


def _problems_of_grid(grid: Grid, document: Document, file: Path) -> Iterator[Problem]:
    """What no axis can tell alone: a base without such variants, and too large a product."""
    cells = 0
    for position, base in enumerate(grid.genotype):
        try:
            cells += len(_cells(base, grid.variants))
        except SpecError as error:
            place = document.place(("grid", "variants"))
            if place.source == str(file):
                place = document.place(("grid", "genotype", position))
            known = ", ".join(variants for variants in VARIANTS if _has(base, variants))
            yield Problem(place, f"grid.variants: {error.what}", f"use one of {known}")
    size = cells * len(grid.dataset) * len(grid.learning_rate) * len(grid.seed)
    if size > MAX_MEMBERS:
        what = f"the grid has {size:,} trials"
        yield Problem(document.place(("grid",)), what, f"stay within {MAX_MEMBERS:,}")


def _word(detail: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong and how to mend it, in this project's words."""
    kind, value, name = detail["type"], detail["input"], dotted(path)
    for key in path[:-1] if kind in ("missing", "extra_forbidden") else ():
        model = cast(type[BaseModel], model.model_fields[str(key)].annotation)
    known = {field.alias or key: field for key, field in model.model_fields.items()}
    if kind == "extra_forbidden":
        return f"unknown key {name}", suggest(str(path[-1]), known)
    if kind == "missing":
        return f"{name} is missing", f"add {path[-1]}: {known[str(path[-1])].description}"
    if kind in _TYPES:
        alone = kind == "tuple_type" and isinstance(value, str | int | float)
        fix = f"write it in brackets: [{value}]" if alone else ""
        return f"{name} is {show(value)}, not {_TYPES[kind]}", fix
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, SpecError):
        return f"{name}: {error.what}", error.fix
    return f"{name} is {show(value)}", detail["msg"].replace("Input should be", "it should be")
