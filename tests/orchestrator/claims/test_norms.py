"""Spectral norms of checkpoints, read without torch."""

import numpy as np
import pytest
import safetensors.numpy
from synthetic_stores import curve, synthetic_trials

from orchestrator.claims.norms import spectral_norms
from results_schema import layout


def test_norms_are_largest_singular_values():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((4, 3, 2, 2)).astype(np.float32)
    found = spectral_norms(
        {
            "wide": np.diag([1.0, -3.0]),
            "kernel": kernel,
            "momentum.kernel": kernel,
            "bias": np.ones(3),
            "lost": np.full((2, 2), np.nan),
            "count": np.ones((2, 2), dtype=np.int64),
        }
    )
    assert set(found) == {"wide", "kernel", "lost"}
    assert found["wide"] == pytest.approx(3)
    assert found["kernel"] == pytest.approx(np.linalg.norm(kernel.reshape(4, 12), 2), rel=1e-6)
    assert np.isnan(found["lost"])


@pytest.mark.parametrize(
    ("scale", "verdict"), [(2.0, "supported"), (0.1, "contradicted"), (0.826, "undecided")]
)
def test_shares_above_one(say, scale, verdict):
    trials = synthetic_trials(bases=("DARTS",))

    def fill(store):
        for t in trials:
            weights = {
                f"cell.{i}.weight": (scale * t.rng.standard_normal((2, 2)) / 2**0.5).astype("f4")
                for i in range(12)
            }
            name = t.spec.trial_id
            store.put(layout.tensors(name, 30), safetensors.numpy.save(weights))
            store.put(layout.state(name, 30), b"{}")

    [one] = say("norms-above-one", trials, lambda t: curve(0.3), fill=fill)
    assert one.verdict == verdict
    assert one.cells == 12


def test_damaged_or_missing_checkpoints_are_no_data(say):
    trials = synthetic_trials(bases=("DARTS",), connections=None)

    def fill(store):
        store.put(layout.tensors(trials[0].spec.trial_id, 30), b"nonsense")
        store.put(layout.state(trials[0].spec.trial_id, 30), b"{}")

    assert say("norms-above-one", trials, lambda t: curve(0.3), fill=fill)[0].verdict == "no data"
