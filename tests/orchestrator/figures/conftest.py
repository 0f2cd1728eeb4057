"""Members of an experiment joined with their trials, as a store gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_contours import Surveyed

Join = Callable[..., pd.DataFrame]


@pytest.fixture
def join() -> Join:
    """Joins members with results: trial id to (status, accuracy), none without a result."""

    def build(members: Iterable[dict[str, Any]], results: dict[str, Any]) -> pd.DataFrame:
        trials = [
            {
                "trial_id": trial_id,
                "status": result[0],
                "test_accuracy": result[1],
                "parameters": 3_300_000,
                "epochs": 600,
            }
            for trial_id, result in results.items()
        ]
        columns = ["trial_id", "status", "test_accuracy", "parameters", "epochs"]
        right = pd.DataFrame(trials, columns=columns)
        return pd.DataFrame(members).merge(right, on="trial_id", how="left")

    return build


def member(base: str, index: int, **other: Any) -> dict[str, Any]:
    """A row of `members`; its trial id says all that tells it apart."""
    row = {
        "experiment": "fig9",
        "profile": None,
        "base": base,
        "variant": base if index == 0 else f"{base}-conn-{index}",
        "index": index,
        "named_dataset": "cifar10",
        "dataset": "cifar10",
        "learning_rate": 0.025,
        "seed": 0,
        "width": 3.5,
        "depth": 3,
        "width_all_nodes": 3.5,
        "depth_all_nodes": 3,
        **other,
    }
    told = (row["dataset"], base, index, f"{row['learning_rate']:g}", row["seed"])
    return {**row, "trial_id": "-".join(map(str, told)), **other}


@pytest.fixture
def make_member() -> Callable[..., dict[str, Any]]:
    return member


@pytest.fixture
def surveyed(tmp_path: Path) -> Surveyed:
    """An experiment to which members with contours are added."""
    return Surveyed(tmp_path / "surveyed")
