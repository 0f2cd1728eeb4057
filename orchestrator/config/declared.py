"""What an experiment's file said when it was last launched, as the store keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from orchestrator.config.fields import check_file_name
from orchestrator.config.registry import Choice, read_choice
from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import ConfigError, CorruptData, MissingKey, SpecError
from results_schema.store import Store

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment

LARGEST = 10_000_000
"""Bytes beyond which an experiment's file in a store is refused unread."""


@dataclass(frozen=True)
class Declared:
    """All of an experiment that its tables do not hold, after profile and overrides.

    Attributes:
        name: The experiment's.
        title: What is measured, in one line.
        claim: The statement of the paper that this tests.
        profile: Name of the profile, or None.
        datasets: Each data set that the experiment names, to the one trained on.
        network: Cells and channels.
        recipes: The recipe's fields, by the data set that the experiment names.
        precision: Of the arithmetic.
        figures: Kind and options of each, by name.
        tables: Kind of each, by name.
    """

    name: str
    title: str
    claim: str
    profile: str | None
    datasets: dict[str, str]
    network: dict[str, Any]
    recipes: dict[str, dict[str, Any]]
    precision: str
    figures: dict[str, Choice]
    tables: dict[str, str]

    @classmethod
    def of(cls, experiment: Experiment) -> Declared:
        """What an experiment says."""
        datasets = experiment.grid.dataset
        return cls(
            name=experiment.name,
            title=experiment.title,
            claim=experiment.claim,
            profile=experiment.profile,
            datasets={name: experiment.stand_in(name) for name in datasets},
            network=asdict(experiment.network),
            recipes={name: asdict(experiment.recipe.of(name)) for name in datasets},
            precision=experiment.precision,
            figures=dict(experiment.figures),
            tables=dict(experiment.tables),
        )

    def to_json(self) -> bytes:
        """The content of `layout.experiment(name)`."""
        figures = {name: choice.to_json() for name, choice in self.figures.items()}
        content = {**vars(self), "figures": figures}
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


def read_declared(store: Store, experiment: str) -> Declared:
    """What an experiment of a store says.

    Raises:
        ConfigError: The store does not tell.
        CorruptData: It can't be read.
    """
    key = layout.experiment(experiment)
    again = "launch the experiment again: what has ended is not trained anew"
    try:
        content = _checked(parse_json(store.get(key, most=LARGEST)), experiment)
        figures = {name: read_choice(choice) for name, choice in content["figures"].items()}
        return Declared(**{**content, "figures": figures})
    except MissingKey:
        raise ConfigError(
            f"the store does not tell what {experiment!r} shows", where=key, fix=again
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, SpecError) as error:
        raise CorruptData(f"not what a launch wrote: {error}", where=key, fix=again) from error


class _Content(BaseModel):
    """The types that whoever reads a `Declared` relies on: anyone may have written its file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    title: str
    claim: str
    profile: str | None
    datasets: dict[str, str]
    network: dict[str, int]
    recipes: dict[str, dict[str, Any]]
    precision: str
    figures: dict[str, Any]
    tables: dict[str, str]


def _checked(content: Any, experiment: str) -> dict[str, Any]:
    """Return what a file says if it has the right fields.

    Raises:
        ValueError: It has not, or names no file that a figure or table can have.
    """
    read = _Content.model_validate(content)
    if read.name != experiment:
        raise ValueError(f"it is of {read.name!r}")
    if lacking := {"cells", "channels"} - read.network.keys():
        raise ValueError(f"its network lacks {', '.join(sorted(lacking))}")
    if any(type(recipe.get("epochs")) is not int for recipe in read.recipes.values()):
        raise ValueError("a recipe has no number of epochs")
    for name in (*read.figures, *read.tables):
        check_file_name(name)
    return content
