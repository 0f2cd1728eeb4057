"""Kinds of figures by name."""

import subprocess
import sys

import pandas as pd
import pytest

from orchestrator.figures import KINDS, draw
from results_schema.errors import ConfigError


def test_an_unknown_kind_is_an_error_that_names_the_known():
    with pytest.raises(ConfigError, match=r"'pie'(?s:.*)accuracy_by_index"):
        draw("pie", lambda name: pd.DataFrame(), "")


def test_naming_the_kinds_loads_neither_plotly_nor_pandas():
    code = "import sys, orchestrator.figures as f; print(*sorted(f.KINDS), *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    names = run.stdout.split()
    assert names[: len(KINDS)] == sorted(KINDS)
    assert not {"plotly", "pandas", "kaleido", "numpy"} & set(names)
