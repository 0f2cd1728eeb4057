"""One surface as it fills."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_contours import Surveyed, bowl

from orchestrator.dash.surface_chart import plot_surface, surface_ids
from results_schema import layout
from results_schema.errors import CorruptData
from results_schema.store import open_store

MEMBER = {
    "profile": None, "base": "DARTS", "variant": "DARTS", "index": 0, "named_dataset": "cifar10",
    "dataset": "cifar10", "learning_rate": 0.025, "seed": 0, "width": 3.5, "depth": 3,
    "width_all_nodes": 3.5, "depth_all_nodes": 3,
    "trial_id": "cifar10-0",
}  # fmt: skip


def test_a_point_stands_at_its_place(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER, lambda a, b: bowl(a, 2 * b))
    figure: Any = plot_surface(surveyed.store, name)
    [heat] = figure.data
    for x, column in zip(heat.x, np.array(heat.z).T, strict=True):
        for y, z in zip(heat.y, column, strict=True):
            assert z == pytest.approx(math.log10(bowl(x, 2 * y)))


def test_what_is_not_measured_or_not_finite_is_blank(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER, lambda a, b: math.inf if a == b == 0 else 1.0, done=9, status=None)
    figure: Any = plot_surface(surveyed.store, name)
    assert figure.layout.title.text.startswith("9 points")
    assert np.isnan(np.array(figure.data[0].z)).sum() == 1


@pytest.mark.parametrize("name", [None, "unknown@e1-contour-0", "../../secret"])
def test_no_surface_is_an_empty_chart(tmp_path: Path, name):
    store = open_store(tmp_path / "empty")
    assert surface_ids(store) == []
    assert not plot_surface(store, name).data


def test_damage_is_told(tmp_path: Path):
    surveyed = Surveyed(tmp_path / "s")
    name = surveyed.add(MEMBER)
    path = surveyed.store.root / layout.points(name)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptData, match="contour"):
        plot_surface(surveyed.store, name)
