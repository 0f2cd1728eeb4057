"""Claims that an experiment states of its own results, each a test and what it compares.

    claims:
      wide-is-better: {spearman: [width, test_accuracy]}
      c3-wins: {greater: [seed 3, DARTS]}
      decay-is-idle: {equal: [{weight_decay: 0.0}, {weight_decay: 0.0003}], within: 0.5}

`orchestrator.paper.claims.stated` tests them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from orchestrator.config.axes import OWN
from orchestrator.config.documents import (
    STRICT,
    Document,
    Problem,
    Text,
    at_key,
    check_distinct,
    mapping_of,
    show,
)
from orchestrator.config.registry import OUTCOMES, PROPERTIES
from results_schema.errors import SpecError, suggest
from results_schema.plugins import registry

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment

COURSE = ("area_10", "area_20", "epochs_50", "epochs_90", "epochs_95", "jitter", "final")
"""Outcomes that are computed from a trial's curve; see `claims.population.convergence`."""

TESTS = registry("claim")
"""Tests by name. Those of plug-ins take x, y and strata, [n] each, and return an `Outcome`."""
TESTS.enter("spearman", "orchestrator.paper.statistics.association:trend")
TESTS.enter("peak", "orchestrator.paper.statistics.association:peak")
TESTS.enter("greater", "orchestrator.paper.statistics.comparison:best_lead")
TESTS.enter("equal", "orchestrator.paper.statistics.comparison:largest_difference")

COMPARISONS = ("greater", "equal")
"""Tests of two sides, A and B; the others relate two columns."""

Number = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_EXAMPLES = defaultdict(lambda: "write two columns, such as [width, test_accuracy]") | {
    "spearman": "write it as {spearman: [width, test_accuracy]}",
    "greater": "write it as {greater: [seed 3, DARTS]}",
    "equal": "write it as {equal: [seed 3, DARTS], within: 0.5}",
}


class Options(BaseModel, **STRICT):
    """How a stated claim is tested.

    Attributes:
        statement: The claim as text; by default made from the test.
        outcome: Column that the sides of `greater` and `equal` are compared in.
        within: Largest difference that counts as equal: of accuracies in percentage points.
        smallest: The smallest effect of interest.
        strata: Columns within which trials are compared. By default a trend over a property of
            cells is within bases that have variants, one over an axis within cells, and cells are
            compared within their base if they have the same.
    """

    statement: Text | None = None
    outcome: str = "test_accuracy"
    within: Number | None = None
    smallest: Number | None = None
    strata: Annotated[tuple[str, ...], AfterValidator(check_distinct)] | None = None


@dataclass(frozen=True)
class Stated:
    """A claim as an experiment states it.

    Attributes:
        test: A key of `TESTS`.
        of: Two columns; or two sides, each the name of a cell or values by column.
        options: How it is tested.
    """

    test: str
    of: tuple[Any, Any]
    options: Options = field(default_factory=Options)

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which `read_stated` makes an equal claim."""
        return {self.test: list(self.of)} | self.options.model_dump(
            mode="json", exclude_defaults=True
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs, those with a leading minus without it."""
        if self.test in COMPARISONS:
            found = [column for side in self.of if isinstance(side, dict) for column in side]
            found.append(self.options.outcome)
        else:
            found = list(self.of)
        return tuple(column.removeprefix("-") for column in (*found, *(self.options.strata or ())))


def read_stated(value: Any) -> Stated:
    """Return the claim of a YAML value: `{TEST: [X, Y], OPTION: VALUE, …}`.

    The test may be one of a plug-in that is not loaded, so that a store is read without it.

    Raises:
        SpecError: There is no test, or it has no two columns or sides.
        ValidationError: An option is unknown or has a bad value.
    """
    if isinstance(value, Stated):
        return value
    if not isinstance(value, dict):
        raise SpecError(f"{show(value)} is no claim", fix=_EXAMPLES["spearman"])
    tests = [key for key in value if key not in Options.model_fields]
    if len(tests) != 1:
        what = f"{' and '.join(map(str, tests))} are two tests" if tests else "no test is named"
        fix = (
            suggest(tests[-1], [*Options.model_fields, *TESTS]) if tests else _EXAMPLES["spearman"]
        )
        raise SpecError(what, fix=fix)
    [test] = tests
    given = value[test]
    kinds = (str, dict) if test in COMPARISONS else (str,)
    with at_key(test, given):
        whole = isinstance(given, list) and len(given) == 2
        if not whole or not all(isinstance(side, kinds) and side for side in given):
            sides = "cells, or mappings of values" if test in COMPARISONS else "columns"
            raise SpecError(f"{test} takes two {sides}, not {show(given)}", fix=_EXAMPLES[test])
    options = mapping_of(Options)({key: one for key, one in value.items() if key != test})
    if (options.within is None) == (test == "equal"):
        raise SpecError(
            "equal needs the largest difference that counts as none"
            if test == "equal"
            else f"within is not an option of {test}",
            fix="add within: 0.5" if test == "equal" else "remove it",
        )
    return Stated(test, (given[0], given[1]), options)


def check_claims(experiment: Experiment, document: Document) -> Iterator[Problem]:
    """Yield a problem for each test, column, cell or value that claims name in vain."""
    if not experiment.claims:
        return
    if experiment.program is not None:
        what = "claims: they are about cells, which a program has none of"
        yield Problem(document.place(("claims",)), what, "drop them, and test its tables yourself")
        return
    from results_schema import tables  # which loads pyarrow

    axes = experiment.axes.values
    values: dict[str, set[Any]] = {key: {*map(show, axes[key])} for key in axes}
    for key, column in tables.axis_columns(key for key in axes if key not in OWN).items():
        values[column] = values[key]
    for member in experiment.members():
        row = {"base": member.base, "variant": member.variant, "index": member.index}
        row["dataset"] = member.named_dataset
        for key, value in row.items():
            values.setdefault(key, set()).add(show(value))
    columns = dict.fromkeys((*PROPERTIES, *OUTCOMES, *COURSE, *values))
    for name, claim in experiment.claims.items():
        place = document.place(("claims", name))

        def problem(what: str, word: Any, known: Iterable[str], *, place: Any = place) -> Problem:
            return Problem(place, f"claims.{name}: {what}", suggest(word, known))  # noqa: B023

        if claim.test not in TESTS:
            yield problem(f"unknown test {show(claim.test)}", claim.test, TESTS)
            continue
        for column in claim.columns:
            if column not in columns and not _is_of_surfaces(column):
                yield problem(f"no column is called {show(column)}", column, columns)
        for side in claim.of if claim.test in COMPARISONS else ():
            for key, value in ({"variant": side} if isinstance(side, str) else side).items():
                if key in values and show(value) not in values[key]:
                    known = sorted(values[key])
                    yield problem(f"the experiment has no {key} {show(value)}", show(value), known)


def _is_of_surfaces(column: str) -> bool:
    """Return whether a column is `KIND.COLUMN` of a kind of surface."""
    from results_schema import tables

    kind, _, name = column.partition(".")
    of_surfaces = {*tables.SURFACES.names, "deviation", "ring"}
    return kind in ("contour", "gradient_variance", "curvature") and name in of_surfaces
