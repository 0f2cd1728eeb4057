"""How long work takes: the arithmetic of guesses, and how a store's measurements correct them."""

import pytest
from small_contours import Surveyed

from orchestrator.output.text import duration
from orchestrator.planning.estimate import (
    OVERHEAD,
    SAMPLE,
    Speeds,
    format_duration,
    measured_speeds,
    multiply_adds,
    seconds,
)
from results_schema import layout, tables
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def spec(epochs: int) -> TrialSpec:
    return TrialSpec(named("DARTS"), "cifar10", 1, NetworkSpec(), Recipe(epochs), 0.025, 0)


TRIAL = spec(600)


def rewrite(trained, **values):
    """Puts values into the rows of a small store's trials."""
    for trial_id in trained.ids:
        key = layout.trial(trial_id)
        [row] = tables.from_parquet(trained.store.get(key), tables.TRIALS, key).to_pylist()
        trained.store.put(key, tables.to_parquet([row | values], tables.TRIALS))


def test_the_papers_network_takes_three_passes_a_training_image_and_20_seconds_an_epoch():
    forward = multiply_adds(spec(1)) / (3 * 50_000 + 10_000)
    assert abs(forward / 528.4e6 - 1) < 1e-3, "of DARTS at C = 36, L = 20"
    assert multiply_adds(TRIAL) == 600 * multiply_adds(spec(1))
    assert seconds(spec(1), "cuda") == 20


def test_two_side_by_side_take_half_the_time():
    work = [TRIAL] * 56
    total = sum(seconds(trial, "cpu") for trial in work)
    assert Speeds().total_seconds(work, "cpu") == total
    one, two = (duration(total / count + OVERHEAD) for count in (1, 2))
    assert format_duration(total, "cpu", 1) == f"about {one} on 1 CPU core"
    assert format_duration(total, "cpu", 2) == f"about {two} on 2 CPU cores"


@pytest.mark.parametrize(
    ("guesses", "row", "factor"),
    [
        (10, {"gpu": False}, 10),
        # It has trained one epoch of two.
        (2, {"gpu": False, "epochs": 1, "status": "diverged"}, 4),
        # A pack takes its share of a GPU once, and a process its own.
        (8, {"gpu": True, "pack_size": 4, "gpu_share": 1.0}, 2),
        (8, {"gpu": True, "pack_size": 1, "gpu_share": 0.25}, 2),
        (8, {"gpu": True, "pack_size": 2, "gpu_share": 0.5}, 2),
        (8, {"gpu": True, "pack_size": 1, "gpu_share": 2.0}, 16),
    ],
)
def test_a_guess_is_corrected_by_what_trials_of_the_store_took(trained, guesses, row, factor):
    device, other = ("cuda", "cpu") if row["gpu"] else ("cpu", "cuda")
    rewrite(trained, train_seconds=guesses * seconds(trained.specs[0], device), **row)
    speeds = measured_speeds(trained.store)
    assert speeds.factor("trial", device) == pytest.approx(factor)
    assert speeds.total_seconds([TRIAL], device) == pytest.approx(factor * seconds(TRIAL, device))
    assert speeds.basis([TRIAL], device) == "from 3 measured"
    surface = SurfaceSpec(TRIAL, 600, "contour", rows=3, columns=3)
    assert speeds.basis([TRIAL, surface], device) == "rough", "trials tell nothing of surfaces"
    assert (speeds.factor("trial", other), speeds.basis([TRIAL], other)) == (1, "rough")


@pytest.mark.parametrize(("gpu_share", "factor"), [(1.0, 8), (0.5, 4), (None, 8)])
def test_a_surface_that_shared_a_gpu_took_its_share_of_it(tmp_path, gpu_share, factor):
    surface = SurfaceSpec(TRIAL, 600, "contour", rows=3, columns=3)
    surveyed = Surveyed(tmp_path)
    surveyed.add(
        {"trial_id": TRIAL.trial_id},
        measure_seconds=8 * seconds(surface, "cuda"),
        spec=surface.to_json(),
        gpu=True,
        gpu_share=gpu_share,
    )
    assert measured_speeds(surveyed.store).factor("contour", "cuda") == pytest.approx(factor)


def test_damaged_rows_and_those_of_another_release_are_passed_over(trained):
    rewrite(trained, train_seconds=100.0, gpu=False, spec='{"dataset": "svhn"}')
    trained.store.put(layout.trial(trained.ids[0]), b"no Parquet")
    assert measured_speeds(trained.store).basis([TRIAL], "cpu") == "rough"


def test_a_sample_of_a_large_store_is_enough(trained, monkeypatch):
    data = trained.store.get(layout.trial(trained.ids[0]))
    for number in range(10 * SAMPLE):
        trained.store.put(layout.trial(f"other-{number}"), data)
    opened = []
    get = trained.store.get
    monkeypatch.setattr(trained.store, "get", lambda key: opened.append(key) or get(key))
    measured_speeds(trained.store)
    assert SAMPLE / 2 < len(opened) <= SAMPLE
