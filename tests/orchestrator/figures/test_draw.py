"""Kinds of figures by name."""

import inspect
import subprocess
import sys
from pkgutil import resolve_name

import pandas as pd
import pytest

from orchestrator.config.registry import Options
from orchestrator.figures import FIGURE_KINDS, draw
from results_schema.errors import SpecError
from results_schema.results import Results


def test_an_unknown_kind_is_an_error_that_names_the_known():
    with pytest.raises(SpecError, match=r"'pie'(?s:.*)accuracy_by_index"):
        draw("pie", lambda name: pd.DataFrame(), "")


@pytest.mark.parametrize("name", FIGURE_KINDS)
def test_the_functions_of_a_kind_take_its_tables_and_options(name):
    kind = FIGURE_KINDS[name]
    own = kind.options.model_fields.keys() - Options.model_fields.keys()
    data = inspect.signature(resolve_name(str(kind.data))).parameters
    plot = inspect.signature(resolve_name(str(kind.plot))).parameters
    assert list(data)[: len(kind.tables)] == list(kind.tables)
    assert set(list(data)[len(kind.tables) :]) == own - set(kind.drawing)
    assert list(plot)[:2] == ["data", "title"]
    assert set(list(plot)[2:]) == set(kind.drawing) <= own
    assert all(hasattr(Results, table) for table in kind.tables)


def test_naming_the_kinds_loads_neither_plotly_nor_pandas():
    code = "import sys, orchestrator.figures as f; print(*sorted(f.FIGURE_KINDS), *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    names = run.stdout.split()
    assert names[: len(FIGURE_KINDS)] == sorted(FIGURE_KINDS)
    assert not {"plotly", "pandas", "kaleido", "numpy"} & set(names)
