"""An experiment's choice of recipe: a named one of the paper, with single fields changed.

What is not chosen is the recipe class's own default, which is Section 4's; the number of epochs is
the paper's for the data set that the experiment names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticKnownError

from orchestrator.config.documents import show, suggest
from orchestrator.config.fields import part
from orchestrator.config.refusals import bad_value, refusal
from results_schema.errors import SpecError
from results_schema.trial import Recipe
from workers.data.catalog import describe

RECIPES: dict[str, dict[str, Any]] = {
    # Both versions of the paper, Section 4 and Figure 9 (A.4): no regularisation.
    "section4": {},
    # Both versions of the paper, Table 1 (A.4).
    "table1": {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2},
    # Table 1 as the authors' scripts ran it for the adapted cells; the paper says 80.
    "table1_scripts": {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2, "batch_size": 60},
}
"""Fields that a named recipe changes."""

_check_fields = part(Recipe)


@dataclass(frozen=True)
class RecipeChoice:
    """A named recipe and the fields that an experiment gives itself.

    Attributes:
        name: A key of `RECIPES`.
        given: Fields of `Recipe` by name; they win.
    """

    name: str = "section4"
    given: dict[str, Any] = field(default_factory=dict)

    def of(self, dataset: str) -> Recipe:
        """The recipe for a data set, as the experiment names it."""
        return Recipe(**{"epochs": describe(dataset).epochs, **RECIPES[self.name], **self.given})


def read_recipe(value: Any) -> RecipeChoice:
    """The choice that a YAML value makes: fields of `Recipe`, and perhaps a `name` among them.

    Raises:
        PydanticKnownError: It is no mapping.
        ValidationError: The name or a field is unknown, or has a bad value.
    """
    if isinstance(value, RecipeChoice):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    name = value.get("name", "section4")
    if name not in RECIPES:
        unknown = SpecError(f"unknown recipe {show(name)}", fix=suggest(str(name), RECIPES))
        raise refusal([bad_value("name", name, unknown)])
    given = {key: setting for key, setting in value.items() if key != "name"}
    _check_fields(given)
    return RecipeChoice(name, given)
