"""An experiment: a YAML file that names a grid of trials and the figures drawn from it.

`load_experiment` applies a profile and then `--set` options before all is checked together; every
error names the file and line, or the option, that the offending value came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainValidator, SkipValidation, model_validator

from orchestrator.config import packaged
from orchestrator.config.assembly import apply_option, apply_profile, read_experiment
from orchestrator.config.axes import Axes, read_axes
from orchestrator.config.claims import Stated, check_claims, read_stated
from orchestrator.config.documents import (
    STRICT,
    DatasetName,
    Document,
    FileName,
    KeyPath,
    Place,
    Problem,
    Text,
    built,
    check_file_name,
    combine,
    one_of,
    read_document,
    show,
    validate,
)
from orchestrator.config.grid import Grid, check_product
from orchestrator.config.landscape import Landscape
from orchestrator.config.program import (
    Metrics,
    Params,
    Program,
    ProgramGrid,
    check_axes,
    check_keys,
    check_shared,
    find_source,
    read_stop,
    resolve_rule,
    variant_name,
)
from orchestrator.config.recipes import RecipeChoice, read_recipe
from orchestrator.config.registry import (
    TABLE_KINDS,
    Choice,
    check_figures,
    read_choice,
)
from results_schema.errors import ConfigError, SpecError, suggest
from results_schema.genotype import Genotype
from results_schema.layout import natural
from results_schema.plugins import SUFFIX, Plugin, load
from results_schema.program import ProgramSpec
from results_schema.stopping import Cohort, StopRule, make_cohorts
from results_schema.surface import SurfaceSpec
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe, TrialSpec
from workers.cells.cost import check_batches, check_image
from workers.data.catalog import describe
from workers.identity import canonical_trial
from workers.program.source import Source
from workers.training.recipe import scheduled_lr

ENDINGS = (".yaml", ".yml")
"""How names of experiments' files end."""


@dataclass(frozen=True)
class Member:
    """A trial's place in an experiment.

    Attributes:
        base: Name of the genotype that the variant was drawn from.
        variant: How it was drawn, such as "CONN3", "seed 14" or "ops seed 7"; the base's name
            for itself.
        index: Its place on a figure's axis; 0 is the base.
        named_dataset: The dataset that the experiment names; the spec may hold a substitute.
        spec: The trial: a `TrialSpec`, or a `ProgramSpec` where the experiment names a program.
        axes: Values of the axes that are not the grid's own, by key, as they were written.
    """

    base: str
    variant: str
    index: int
    named_dataset: str
    spec: TrialSpec | Any
    axes: Mapping[str, Any] = field(default_factory=dict)


class Settings(BaseModel, **STRICT):
    """How trials are built and trained: what an axis of the grid may vary besides the grid's own.

    A key of the experiment that decides trials is a field here, and is then an axis too.
    """

    network: Annotated[NetworkSpec, built(NetworkSpec)] = NetworkSpec()
    recipe: Annotated[RecipeChoice, PlainValidator(read_recipe, json_schema_input_type=Recipe)] = (
        RecipeChoice()
    )
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "fp32"
    params: Params = {}


OF_CELLS = tuple(name for name in Settings.model_fields if name != "params")
"""Keys at which axes of cells may be; those of a program are at `params`."""


class Declaration(Settings):
    """The content of an experiment's file."""

    plugins: tuple[str, ...] = ()
    title: Text = Field(description="what is measured, in one line")
    claim: Text = Field(description="the statement that this tests")
    grid: Grid = Field(description="the axes, at least genotype and dataset")
    landscape: Landscape = Landscape()
    tables: dict[FileName, Annotated[str, one_of("kind of table", TABLE_KINDS)]] = {}
    figures: dict[FileName, Annotated[Choice, PlainValidator(read_choice)]] = {}
    claims: dict[FileName, Annotated[Stated, PlainValidator(read_stated)]] = {}
    program: Program | None = None
    version: int = 1
    metrics: Metrics = ()
    stop: Annotated[StopRule | None, PlainValidator(read_stop, json_schema_input_type=StopRule)] = (
        None
    )

    _check_keys = model_validator(mode="after")(check_keys)


class ProgramDeclaration(Declaration):
    """The content of the file of an experiment that runs a program."""

    claim: Text = ""
    grid: ProgramGrid = ProgramGrid()  # pyright: ignore[reportIncompatibleVariableOverride]
    program: Program = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        description="a file and its function, such as train.py:train"
    )
    version: int = Field(default=1, ge=1, description="raise it when numbers change")
    metrics: Metrics = Field(description="what it reports, such as {loss: min}")


class Experiment(Declaration):
    """An experiment as it will be run.

    Attributes:
        name: The file's name without its suffix, then `@` and the profile's if there is one, and
            `@` and a name of the launch's own if there is one: `fig9@laptop@adam`.
        profile: Name of the profile that was applied.
        axes: The axes of the grid.
        extended: The files that the experiment extends.
        cpu: Whether the profile made it small enough for a CPU.
        substitutes: Datasets that are trained on in place of others.
        auxiliary_substitutes: Those that take precedence under a recipe with an auxiliary head,
            which needs larger images.
        loaded_plugins: What `plugins` names.
        source: Source of the program, if it runs one.
    """

    name: FileName
    profile: str | None = None
    axes: SkipValidation[Axes] = Axes({}, ())
    extended: tuple[Path, ...] = ()
    cpu: bool = False
    substitutes: dict[DatasetName, DatasetName] = {}
    auxiliary_substitutes: dict[DatasetName, DatasetName] = {}
    loaded_plugins: tuple[Plugin, ...] = ()
    source: SkipValidation[Source | None] = None

    def members(self) -> list[Member]:
        """Return the trials: by dataset, learning rate, seed, other axes, genotype and index.

        Raises:
            SpecError: A combination of values makes no trial.
        """
        return self._members

    @cached_property
    def _members(self) -> list[Member]:
        # Kept, as a launch names them three times: when it is checked, planned and recorded.
        grid, axes = self.grid, self.axes
        if self.program is not None:
            return self._program_members(self.program)
        cells = [grid.cells(base) for base in grid.genotype]
        members = []
        for at in axes:
            base, dataset = grid.genotype[at["genotype"]], grid.dataset[at["dataset"]]
            rate, seed = grid.learning_rate[at["learning_rate"]], grid.seed[at["seed"]]
            varied = axes.varied(at)
            try:
                make = self._specs(dataset, rate, seed, axes.settings(at))
            except SpecError as error:
                values = [f"{key} {show(value)}" for key, value in varied.items()]
                where = ", ".join([f"dataset {dataset}", *values])
                raise SpecError(error.what, where=where, fix=error.fix) from error
            for cell in cells[at["genotype"]]:
                if not axes.excludes(at, cell.index):
                    spec = make(cell.genotype)
                    members.append(Member(base.name, cell.name, cell.index, dataset, spec, varied))
        return members

    def _program_members(self, program: str) -> list[Member]:
        members = []
        for at in self.axes:
            if not self.axes.excludes(at, 0):
                varied, params = self.axes.varied(at), self.axes.settings(at).get("params")
                seed, given = self.grid.seed[at["seed"]], self.params if params is None else params
                spec = ProgramSpec(program, self.version, given, seed)
                name = variant_name(varied) or program
                members.append(Member(program, name, len(members), "", spec, varied))
        return members

    def cohorts(self) -> list[Cohort]:
        """Return the trials that early stopping compares, a cohort for each data set.

        Raises:
            SpecError: Not all of them have the metric, or it has no goal.
        """
        if self.stop is None:
            return []
        specs = {member.spec.trial_id: member.spec for member in self.members()}
        return make_cohorts(
            resolve_rule(self.stop, self.metrics, specs.values()),
            {name: (getattr(one, "dataset", None), one.epochs) for name, one in specs.items()},
        )

    def surfaces(self) -> list[SurfaceSpec]:
        """Return the distinct surfaces of the trials.

        Raises:
            SpecError: A trial can have no such surface.
        """
        return self._surfaces

    @cached_property
    def _surfaces(self) -> list[SurfaceSpec]:
        if self.landscape == Landscape():
            return []
        found = ((member.index, member.spec) for member in self.members())
        return self.landscape.of((i, spec) for i, spec in found if isinstance(spec, TrialSpec))

    def trained_dataset(self, dataset: str, recipe: RecipeChoice | None = None) -> str:
        """Return the dataset that is trained on where the experiment names this one.

        Args:
            dataset: The name in the experiment.
            recipe: The recipe, if an axis changes the experiment's.
        """
        auxiliary = (recipe or self.recipe).of(dataset).auxiliary
        larger = self.auxiliary_substitutes if auxiliary else {}
        return (self.substitutes | larger).get(dataset, dataset)

    def _specs(
        self, dataset: str, rate: float, seed: int, changes: Mapping[str, Any]
    ) -> Callable[[Genotype], TrialSpec]:
        """Return a function that makes the trial of a genotype, at values of all other axes.

        `changes` are fields of `Settings` that axes decide.
        """
        kept = {name: getattr(self, name) for name in Settings.model_fields}
        settings = Settings.model_construct(**kept | dict(changes))
        choice: RecipeChoice = settings.recipe
        trained, recipe = describe(self.trained_dataset(dataset, choice)), choice.of(dataset)
        auxiliary = recipe.auxiliary > 0
        side = check_image(trained.size, trained.stem_stride, auxiliary=auxiliary)
        trained_on = trained.train - trained.held_out(recipe.validation)
        check_batches(trained_on, recipe.batch_size, side, auxiliary=auxiliary)
        for epoch in (1, recipe.epochs):  # a plug-in's schedule may fail
            scheduled_lr(recipe, rate, epoch)
        version = 0
        if recipe.statistics != "own":
            statistics = describe(self.trained_dataset(recipe.statistics, choice))
            trained.normalised_by(statistics.name)
            recipe = replace(recipe, statistics=statistics.name)
            version = statistics.preprocessing
        network = replace(settings.network, stem_stride=trained.stem_stride)
        return lambda genotype: canonical_trial(
            TrialSpec(
                genotype=genotype,
                dataset=trained.name,
                preprocessing=trained.preprocessing,
                network=network,
                recipe=recipe,
                learning_rate=rate,
                seed=seed,
                precision=settings.precision,
                statistics_preprocessing=version,
            )
        )


class Profile(BaseModel, **STRICT):
    """The content of a profile's file: substitute datasets, and overrides by key path."""

    description: Text = Field(description="what this profile is for")
    cpu: bool = False
    datasets: dict[DatasetName, DatasetName] = {}
    auxiliary_datasets: dict[DatasetName, DatasetName] = {}
    overrides: dict[str, Any] = Field(default={}, alias="set")
    landscape: Landscape = Landscape()


def find_files(names: Iterable[str]) -> list[Path]:
    """Return files in the order given, those of a folder by name (fig2 before fig10), each once.

    Folders inside a folder are skipped. A name of no path is that of a packaged experiment.

    Raises:
        ConfigError: A folder has no such file, or there is no such name.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = packaged.resolve(name)
        if not path.exists() and not path.suffix:
            lists = "give a .yaml file, or a name that `nas-sweep experiments` lists"
            beside = [f"{name}{ending}" for ending in ENDINGS if Path(f"{name}{ending}").is_file()]
            fix = suggest(name, packaged.packaged(), otherwise=lists)
            fix = f"did you mean {beside[0]}?" if beside else fix
            raise ConfigError("there is no such experiment", where=name, fix=fix)
        files = [path]
        if path.is_dir():
            inside = (file for file in path.iterdir() if file.suffix in ENDINGS)
            files = sorted(inside, key=lambda file: natural(file.stem))
            if not files:
                raise ConfigError(
                    "the folder has no experiment", where=str(path), fix="name .yaml files"
                )
        found |= dict.fromkeys(files)
    return list(found)


def list_profiles(experiment: Path) -> dict[str, Path]:
    """Return the files of the profiles that an experiment's file can be launched with, by name."""
    known: dict[str, Path] = {}
    for folder in experiment.resolve().parents:
        for place in ("profiles", "experiments/profiles"):
            for file in sorted((folder / place).glob("*.yaml")):
                known.setdefault(file.stem, file)
    for file in sorted((packaged.folder() / packaged.PROFILES).glob("*.yaml")):
        known.setdefault(file.stem, file)
    return known


def find_profile(profile: str, experiment: Path) -> Path:
    """Return the file of a profile.

    Args:
        profile: A path to a `.yaml`; or a name, looked up as `profiles/<name>.yaml` beside the
            experiment, then in `profiles` and `experiments/profiles` of each folder above, then
            among those that come with nas-sweep.
        experiment: The experiment's file.

    Raises:
        ConfigError: No profile has this name.
    """
    if profile.endswith(".yaml"):
        return Path(profile)
    known = list_profiles(experiment)
    if profile not in known:
        fix = suggest(profile, known) if known else f"write one in {experiment.parent / 'profiles'}"
        raise ConfigError(f"there is no profile {show(profile)}", where="--profile", fix=fix)
    found, here = known[profile], Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def load_plugins(document: Document, experiment: Path) -> list[Plugin]:
    """Load the plug-ins that a document names; what it writes amiss is left to `validate`.

    Args:
        document: The document, with paths from the files in which they are written.
        experiment: The experiment's file, from which paths in options start.

    Raises:
        ConfigError: One is missing or fails; the error names its line, or that of its name.
    """
    names = document.data.get("plugins", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return []
    loaded = []
    for position, name in enumerate(names):
        place = document.place(("plugins", position))
        try:
            loaded.append(load(name, place.folder(experiment.parent)))
        except ConfigError as error:
            if error.where.partition(SUFFIX + ":")[1]:  # a line of the plug-in
                raise
            what = f"plugins: {show(name)}: {error.what}"
            raise ConfigError(what, where=str(place), fix=error.fix) from error
    return loaded


def load_experiment(
    path: str | Path,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    name: str | None = None,
) -> Experiment:
    """Read an experiment, apply a profile and overrides, and check the whole.

    Args:
        path: The YAML file; its name is the experiment's.
        profile: A name or a path, as `find_profile` takes it.
        overrides: Values such as `recipe.epochs=2`, in YAML, applied last and in order.
        name: What the variation that they make is called, so that a store keeps it beside others.

    Raises:
        ConfigError: Anything is wrong with the file, the profile or an override.
    """
    path, settings = Path(path), Profile(description="none")
    document, files = read_experiment(path)
    names = [_check_name(path.stem, str(path))]
    # First of all, as a profile may name what they add; and after it, as it may name others.
    load_plugins(document, path)
    if profile is not None:
        found = find_profile(profile, path)
        written = read_document(found)
        profile, settings = _check_name(found.stem, str(found)), validate(Profile, written)
        document = apply_profile(written, document, Settings.model_fields)
        names.append(profile)
    names += [] if name is None else [_check_name(name, "--name")]
    for option in overrides:
        document = apply_option(option, document, Settings.model_fields)
    plugins = load_plugins(document, path)
    runs_program = "program" in document.data
    if runs_program:
        document = Document({"grid": {}} | document.data, document.places)
    written = document
    document, axes = read_axes(document, ("params",) if runs_program else OF_CELLS)
    model = ProgramDeclaration if runs_program else Declaration
    declaration = validate(model, document, folder=path.parent)
    experiment = Experiment.model_construct(
        **dict(declaration),
        name="@".join(names),
        profile=profile,
        axes=axes,
        extended=files[1:],
        cpu=settings.cpu,
        substitutes=settings.datasets,
        auxiliary_substitutes=settings.auxiliary_datasets,
        loaded_plugins=tuple(plugins),
    )
    problems = [
        *check_product(experiment.grid, axes, document, set(map(str, files))),
        *_ineffective(axes, document),
        *check_axes(experiment.metrics, axes, document),
        *check_figures(experiment, document),
    ]
    if problems:
        raise combine(problems)
    axes = axes.resolve(document, Settings, folder=path.parent)
    changes: dict[str, Any] = {"axes": axes.exclude(written, experiment.grid.names())}
    if experiment.program:
        changes["source"] = find_source(document, experiment.program, path.parent)
    experiment = experiment.model_copy(update=changes)
    for part, compute in (
        ("", experiment.members),
        ("stop", experiment.cohorts),
        ("landscape", experiment.surfaces),
    ):
        try:
            compute()
        except SpecError as error:
            what = ": ".join(filter(None, (part or error.where, error.what)))
            place = document.place((part,)) if part else _cause(error.what, document)
            raise ConfigError(what, where=str(place), fix=error.fix) from error
    if experiment.axes.excluded and not experiment.members():
        problem = Problem(
            document.place(("grid", "exclude")),
            "grid.exclude leaves out every trial",
            "keep at least one value of an axis",
        )
        raise combine([problem])
    if problems := list(check_claims(experiment, document)):
        raise combine(problems)
    return experiment


def _cause(what: str, document: Document) -> Place:
    """Return the place of what trials can't be made of: a key that an error names, or the data."""
    named = [key for key in ("validation", "batch_size", "schedule", "statistics") if key in what]
    paths: list[KeyPath] = [("grid", f"recipe.{key}") for key in named]
    paths += [("recipe", key) for key in named]
    written = [path for path in paths if path in document.places]
    return document.place(written[0] if written else ("grid", "dataset"))


def load_experiments(
    names: Iterable[str], profile: str | None, overrides: Sequence[str], name: str | None = None
) -> list[Experiment]:
    """Return the experiments of files and folders; see `load_experiment`.

    Raises:
        ConfigError: One cannot be loaded, or two experiments, figures or tables share a name.
    """
    loaded = [
        load_experiment(path, profile=profile, overrides=overrides, name=name)
        for path in find_files(names)
    ]
    check_shared(loaded)
    _check_unique("experiments", [experiment.name for experiment in loaded], "rename one file")
    for kind in ("figures", "tables"):
        every = [name for experiment in loaded for name in getattr(experiment, kind)]
        _check_unique(kind, every, "rename one of them")
    return loaded


def _check_name(name: str, where: str) -> str:
    try:
        return check_file_name(name)
    except SpecError as error:
        raise ConfigError(error.what, where=where, fix=error.fix) from error


def _check_unique(kind: str, names: Sequence[str], fix: str) -> None:
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two {kind} are called {sorted(twice)}", fix=fix)


def _ineffective(axes: Axes, document: Document) -> Iterator[Problem]:
    """Yield a problem for each option that sets a key of which the grid has an axis."""
    for key in axes.values:
        place = document.places.get(tuple(key.split(".")))
        if place is not None and place.source.startswith("--set "):
            fix = f"set the axis: --set 'grid.{key}=[VALUE]'"
            yield Problem(place, f"{key} is an axis of the grid, which this does not change", fix)
