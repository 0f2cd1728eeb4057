"""Files of a store that some other program wrote, or put in another's place: refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_stores import Trained, shown_counts

from orchestrator.config.record import read_declared
from orchestrator.dash.live import Curves
from results_schema import layout, tables
from results_schema.errors import CorruptData
from results_schema.results import Results
from workers.training.attempt import read_rows

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("table", ["metrics", "trials"])
def test_a_sound_file_under_another_trials_name_is_noticed_by_every_reader(
    run: Run, trained: Trained, tmp_path: Path, table: str
):
    """A copy of one trial's file in another's place would count that trial twice."""
    store, (one, two, _) = trained.store, trained.ids
    key = {"metrics": layout.metrics, "trials": layout.trial}[table]
    store.put(key(two), store.get(key(one)))
    with pytest.raises(CorruptData, match=f"it has rows of '{one}'") as caught:
        getattr(Results(store), table)("small")
    assert caught.value.where == key(two)
    for words in (("export", "small", "--to", "out"), ("query", f"SELECT count(*) FROM {table}")):
        code, output, errors = run(*words)
        assert code == 1, output
        assert f"{two} is left out, as its tables are damaged" in errors
    [exported] = (tmp_path / "out").glob(f"*-{table}.parquet")
    ended = pd.read_parquet(exported).dropna(subset=["test_loss"])
    assert two not in set(ended["trial_id"])
    if table == "trials":
        with pytest.raises(CorruptData):
            read_rows(store, layout.trial(two), tables.TRIALS)
        assert shown_counts(run("status")[1]) == {"done": 2, "damaged": 1}
    else:
        store.delete(layout.trial(two))
        trained.held_elsewhere(two)
        assert f"{two}: epoch 0" in run("status")[1]
        curves = Curves(store)
        curves.refresh()
        assert set(curves.damaged) == {two}


def test_an_experiments_table_under_another_name_is_noticed(run: Run, trained: Trained):
    key = layout.members("copy")
    trained.store.put(key, trained.store.get(layout.members("small")))
    for words in (("status",), ("claims", "copy"), ("gc", "--unnamed", "--yes")):
        code, _, errors = run(*words)
        assert code == 3
        assert f"{key}: not a sound members table: it has rows of 'small'" in errors


def wrong(content: dict[str, Any]) -> list[Any]:
    """What a launch never wrote: each field of another type, lacking or besides, and odd names."""
    values: list[Any] = [None, 7, "text", [], [1], {"a": 1}, {"a": None}, {"a": ["b"]}]
    found: list[Any] = [[], "text", None, content | {"more": 1}]
    found += [{k: v for k, v in content.items() if k != name} for name in content]
    found += [
        content | {name: value}
        for name in content
        for value in values
        if type(value) is not type(content[name]) or value in ({"a": 1}, {"a": None}, {"a": ["b"]})
    ]
    found += [content | {"network": content["network"] | {"cells": "7"}}]
    found += [content | {"recipes": {"digits": {"epochs": epochs}}} for epochs in ("2", None, [])]
    found += [content | {part: {"../../x": "accuracy"}} for part in ("figures", "tables")]
    found += [content | {"name": "another"}]
    return found


def test_what_says_an_experiment_of_wrong_types_is_refused(run: Run, trained: Trained):
    trained.want("")
    key = layout.experiment("small")
    content = json.loads(trained.store.get(key))
    every = wrong(content)
    assert len(every) > 60
    for one in every:
        if one == content or one == content | {"profile": "text"}:
            continue
        trained.store.put(key, json.dumps(one).encode())
        with pytest.raises(CorruptData, match=f"{key}: not what a launch wrote"):
            read_declared(trained.store, "small")
    code, _, errors = run("report", "small", "--to", "out")
    assert code == 3
    assert f"{key}: not what a launch wrote" in errors
    assert not Path("out").exists()
