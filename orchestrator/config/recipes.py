"""The named recipes, and how an experiment chooses one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticKnownError

from orchestrator.config.documents import at_key, mapping_of, read_named
from results_schema.trial import Recipe
from workers.data.catalog import describe
from workers.training.recipe import entries

RECIPES: dict[str, dict[str, Any]] = {
    # Both versions of the paper, Section 4 and Figure 9 (A.4): no regularisation.
    "section4": {},
    # Both versions of the paper, Table 1 (A.4).
    "table1": {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2},
    # Table 1 as the authors' scripts ran it for the adapted cells; the paper says 80.
    "table1_scripts": {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2, "batch_size": 60},
}
"""Named recipes: the fields in which each differs from the defaults of `Recipe`, Section 4's."""


@dataclass(frozen=True)
class RecipeChoice:
    """A named recipe and the fields that an experiment sets itself.

    Attributes:
        name: A key of `RECIPES`.
        given: Fields of `Recipe` by name; they win.
    """

    name: str = "section4"
    given: dict[str, Any] = field(default_factory=dict)

    def of(self, dataset: str) -> Recipe:
        """Return the recipe for a dataset; its number of epochs is the paper's unless given."""
        return Recipe(**{"epochs": describe(dataset).epochs, **RECIPES[self.name], **self.given})


def read_recipe(value: Any) -> RecipeChoice:
    """Validate `recipe`: the name of a recipe, and fields of one's own."""
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    name, given = read_named({"name": "section4", **value}, "name", "recipe", RECIPES)
    mapping_of(Recipe)(given)
    for key in sorted(given.keys() & {"optimizer", "schedule", "augmentation"}):
        with at_key(key, given[key]):
            entries(Recipe(**{key: given[key]}))
    return RecipeChoice(name, given)
