"""Every kind of figure: the tables that it is drawn from, and what an experiment may say of it."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field

from orchestrator.fields import STRICT, Axis, DatasetName, Text

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]


class Options(BaseModel):
    """What every kind takes: a title of its own, and which members of the experiment to show.

    An empty list means all of them.
    """

    model_config = STRICT

    title: Text | None = None
    bases: Axis[str] = ()
    datasets: Axis[DatasetName] = ()
    learning_rates: Axis[Rate] = ()
    indices: Axis[Index] = ()


class Kind(NamedTuple):
    """One kind; the module of its name has `<kind>_data` and `plot_<kind>`.

    Attributes:
        tables: What `<kind>_data` takes, in order: each a method of `Results`.
        options: What may be said of it.
        drawing: The options that `plot_<kind>` takes; `<kind>_data` takes the others.
    """

    tables: tuple[str, ...]
    options: type[Options] = Options
    drawing: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "accuracy_by_index": Kind(("trials",)),
    "contours": Kind(("surfaces", "points")),
}
"""By the name that an experiment writes."""
