"""An experiment: a YAML file that names a grid of trials and the figures drawn from it.

A profile and then `--set` options override values of the file before all is checked together;
every error names the file and line, or the option, that the offending value came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, PlainValidator

from orchestrator.config.documents import report
from orchestrator.config.fields import (
    STRICT,
    DatasetName,
    FileName,
    Text,
    check_file_name,
    one_of,
    part,
)
from orchestrator.config.grid import Grid, problems_of_product
from orchestrator.config.landscape import Landscape
from orchestrator.config.overrides import Profile, apply_option, apply_profile, find_profile
from orchestrator.config.recipes import RecipeChoice, read_recipe
from orchestrator.config.registry import TABLE_KINDS, Choice, find_absent_members, read_choice
from orchestrator.config.validation import validate
from orchestrator.config.yaml_reader import read_document
from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import Genotype
from results_schema.surface import SurfaceSpec
from results_schema.trial import PRECISIONS, NetworkSpec, TrialSpec
from workers.cells.cost import check_batches, check_image
from workers.data.catalog import describe
from workers.identity import canonical_trial


@dataclass(frozen=True)
class Member:
    """A trial's place in an experiment.

    Attributes:
        base: Name of the genotype that the variant was drawn from.
        variant: How it was drawn, such as "CONN3", "seed 14" or "ops seed 7"; the base's name
            for itself.
        index: Its place on a figure's axis; 0 is the base.
        named_dataset: The data set that the experiment names; the spec may hold a stand-in.
        spec: The trial.
    """

    base: str
    variant: str
    index: int
    named_dataset: str
    spec: TrialSpec


class Declaration(BaseModel):
    """What an experiment's file says."""

    model_config = STRICT

    title: Text = Field(description="what is measured, in one line")
    claim: Text = Field(description="the statement of the paper that this tests")
    grid: Grid = Field(description="the axes, at least genotype and dataset")
    network: Annotated[NetworkSpec, PlainValidator(part(NetworkSpec))] = NetworkSpec()
    recipe: Annotated[RecipeChoice, PlainValidator(read_recipe)] = RecipeChoice()
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "fp32"
    landscape: Landscape = Landscape()
    tables: dict[FileName, Annotated[str, one_of("kind of table", tuple(TABLE_KINDS))]] = {}
    figures: dict[FileName, Annotated[Choice, PlainValidator(read_choice)]] = {}


class Experiment(Declaration):
    """An experiment as it will be run.

    Attributes:
        name: The file's name without its suffix.
        profile: Name of the profile that was applied.
        cpu: Whether the profile made it small enough for a CPU.
        stand_ins: Data sets that take the place of others.
        auxiliary_stand_ins: Those that do so under a recipe with an auxiliary head, which needs
            larger images.
    """

    name: FileName
    profile: str | None = None
    cpu: bool = False
    stand_ins: dict[DatasetName, DatasetName] = {}
    auxiliary_stand_ins: dict[DatasetName, DatasetName] = {}

    def members(self) -> list[Member]:
        """The trials: by data set, learning rate, seed, genotype and index, in this order."""
        grid = self.grid
        cells = [(base.name, cell) for base in grid.genotype for cell in grid.cells(base)]
        axes = product(grid.dataset, grid.learning_rate, grid.seed, cells)
        return [
            Member(base, cell.name, cell.index, name, self._spec(cell.genotype, name, rate, seed))
            for name, rate, seed, (base, cell) in axes
        ]

    def surfaces(self) -> list[SurfaceSpec]:
        """The distinct surfaces of the trials.

        Raises:
            SpecError: A trial can have no such surface.
        """
        if self.landscape == Landscape():
            return []
        return self.landscape.of((member.index, member.spec) for member in self.members())

    def stand_in(self, dataset: str) -> str:
        """The data set that is trained on where the experiment names this one."""
        larger = self.auxiliary_stand_ins if self.recipe.of(dataset).auxiliary else {}
        return (self.stand_ins | larger).get(dataset, dataset)

    def _spec(self, genotype: Genotype, dataset: str, rate: float, seed: int) -> TrialSpec:
        trained_on, recipe = describe(self.stand_in(dataset)), self.recipe.of(dataset)
        auxiliary = recipe.auxiliary > 0
        side = check_image(trained_on.size, trained_on.stem_stride, auxiliary=auxiliary)
        check_batches(trained_on.train, recipe.batch_size, side, auxiliary=auxiliary)
        version = 0
        if recipe.statistics != "own":
            statistics = describe(self.stand_in(recipe.statistics))
            trained_on.normalised_by(statistics.name)
            recipe = replace(recipe, statistics=statistics.name)
            version = statistics.preprocessing
        return canonical_trial(
            TrialSpec(
                genotype=genotype,
                dataset=trained_on.name,
                preprocessing=trained_on.preprocessing,
                network=replace(self.network, stem_stride=trained_on.stem_stride),
                recipe=recipe,
                learning_rate=rate,
                seed=seed,
                precision=self.precision,
                statistics_preprocessing=version,
            )
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
    path, stand_ins, cpu = Path(path), {}, False
    larger: dict[str, str] = {}
    document = read_document(path)
    try:
        check_file_name(path.stem)
    except SpecError as error:
        raise ConfigError(error.what, where=str(path), fix=error.fix) from error
    if profile is not None:
        found = find_profile(profile, path)
        settings = read_document(found)
        checked = validate(Profile, settings)
        stand_ins, larger = checked.datasets, checked.auxiliary_datasets
        cpu = checked.cpu
        document = apply_profile(settings, document)
        profile = found.stem
    for option in overrides:
        document = apply_option(option, document)
    declaration = validate(Declaration, document, folder=path.parent)
    grid = declaration.grid
    axes = {
        "bases": [base.name for base in grid.genotype],
        "datasets": grid.dataset,
        "learning_rates": grid.learning_rate,
    }
    problems = list(problems_of_product(grid, document, path))
    if problems := [*problems, *find_absent_members(declaration.figures, axes, document)]:
        raise report(problems)
    parts = {name: getattr(declaration, name) for name in Declaration.model_fields}
    experiment = Experiment(
        name=path.stem,
        profile=profile,
        cpu=cpu,
        stand_ins=stand_ins,
        auxiliary_stand_ins=larger,
        **parts,
    )
    try:
        experiment.surfaces()
    except SpecError as error:
        place = str(document.place(("landscape",)))
        raise ConfigError(f"landscape: {error.what}", where=place, fix=error.fix) from error
    return experiment
