"""What a program's trial is, and the columns that its metrics add to a store."""

import math
from pathlib import Path

import pandas as pd
import pytest

from results_schema.errors import ConfigError, SpecError
from results_schema.program import (
    MOST_EPOCHS,
    Metric,
    ProgramSpec,
    added_metrics,
    is_program,
    read_trial,
    widen,
)
from results_schema.store import LocalStore, open_store

SPEC = ProgramSpec("lab/walk-far.py:train", 2, {"epochs": 6, "sizes": (1, [2.5, None])}, 3)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "results")


def test_json_brings_back_the_trial_and_its_id():
    assert SPEC.trial_id.startswith("walk_far.train-v2-s3-")
    assert is_program(SPEC.trial_id)
    assert not is_program("digits-w2d4-lr0.025-s0-r2-01a6dc5040")
    assert SPEC.program == "lab/walk-far.py:train"
    assert SPEC.params == {"epochs": 6, "sizes": [1, [2.5, None]]}, "as JSON has them"
    assert read_trial(SPEC.to_json()) == SPEC
    assert len({SPEC, read_trial(SPEC.to_json())}) == 1


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, 1), (MOST_EPOCHS, MOST_EPOCHS), (MOST_EPOCHS + 1, 0), (0, 0), (True, 0), ("6", 0)],
)
def test_epochs_are_known_where_a_parameter_says_them(epochs: object, expected: int):
    assert ProgramSpec("walk.py:train", 1, {"epochs": epochs}, 0).epochs == expected


@pytest.mark.parametrize("program", ["walk.py", ":train", "walk.py:", "walk.py:a-b", "a b:c", 3])
def test_what_names_no_function_is_refused(program: object):
    with pytest.raises(SpecError, match=r"program is .*\n.*FILE\.py:FUNCTION"):
        ProgramSpec(program, 1, {}, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"a": [0.0, {"b": math.nan}]}, r"params\.a\.b is nan"),
        ({"a": {1: 2}}, r"params\.a has the key 1"),
        ({"a.b": 2}, r"params has the key 'a\.b'"),
        ({"": 2}, "params has the key ''"),
        ({"a": {3}}, r"params\.a is \{3\}"),
        ([1], r"params is \[1\]"),
    ],
)
def test_parameters_that_are_not_plain_are_refused(params: object, what: str):
    with pytest.raises(SpecError, match=what):
        ProgramSpec("walk.py:train", 1, params, 0)  # type: ignore[arg-type]


def test_parameters_are_nested_to_a_depth():
    def nested(levels: int) -> object:
        return {"x": nested(levels - 1)} if levels else 1

    ProgramSpec("walk.py:train", 1, nested(8), 0)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="nested too deep"):
        ProgramSpec("walk.py:train", 1, nested(9), 0)  # type: ignore[arg-type]


def test_metrics_are_columns_once_and_can_not_change(store: LocalStore):
    loss, steps = Metric("loss", unit="nat", goal="min"), Metric("steps", "whole")
    widen(store, [loss])
    widen(store, [steps, loss])
    assert added_metrics(store) == {"loss": loss, "steps": steps}
    assert list(pd.read_parquet(store.root / "metrics").columns[-2:]) == ["loss", "steps"]
    # What is best is known of a metric with a goal alone.
    last = list(pd.read_parquet(store.root / "trials").columns[-3:])
    assert last == ["loss", "best_loss", "steps"]
    for other in (Metric("loss", unit="nat"), Metric("loss", "whole", "nat", "min")):
        with pytest.raises(ConfigError, match=r"loss is .*in the store it is real, nat, min"):
            widen(store, [other])
    assert added_metrics(store) == {"loss": loss, "steps": steps}
