"""The rules by which trials count, and that tables and claims share them."""

import math

import pandas as pd
import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.figures import evidence
from orchestrator.paper.claims import findings
from orchestrator.paper.error_table import errors_data
from results_schema.results import Results
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import ADAPTED, BASES


@pytest.mark.parametrize(
    ("status", "accuracy", "counts"),
    [
        ("done", 0.9, 0.9),
        ("diverged", 0.1, 0.0),
        ("diverged", math.nan, 0.0),
        ("done", math.nan, math.nan),
        (None, None, math.nan),
    ],
)
def test_what_a_trial_counts_with(status, accuracy, counts):
    assert evidence.counted_accuracy(status, accuracy) == pytest.approx(counts, nan_ok=True)
    frame = pd.DataFrame({"status": [status], "test_accuracy": [accuracy]})
    assert list(evidence.counted_accuracies(frame)) == pytest.approx([counts], nan_ok=True)


def test_table_1_and_its_claim_agree_where_seeds_diverge(tmp_path):
    """Adapted cells that end are better; one seed in three of theirs diverges."""
    trials = synthetic_trials(
        bases=(*BASES, *ADAPTED), connections=None, datasets=["cifar100"], seeds=range(3)
    )

    def adapted(t):
        return t.base.endswith("_ADAPT")

    store = synthetic_store(
        tmp_path,
        trials,
        lambda t: curve(1.0, final=0.8 + 0.05 * adapted(t) + 0.001 * t.rng.standard_normal()),
        diverged=lambda t: adapted(t) and t.spec.seed == 1,
        experiment="table1",
        packed=False,
    )
    results = Results(store)
    errors = {entry.cell: entry.error for entry in errors_data(results.trials("table1"))}
    gains = [(errors[base] or 0) - (errors[f"{base}_ADAPT"] or 0) for base in BASES]
    claim = next(one for one in findings(results) if one.claim == "adapted-better-cifar100")
    assert sum(gains) / 5 == pytest.approx(claim.size)
    assert claim.size < -20
    assert "5 of 30 trials diverged, counted as accuracy 0" in claim.reading


def trials_of(*settings: tuple[evidence.Setting, str]) -> pd.DataFrame:
    rows = []
    for number, (setting, named) in enumerate(settings):
        key = f"k{number}" if setting.network is None else _key(setting)
        rows.append({"setting": key, "named_dataset": named, "profile": None, "trial_id": number})
    return pd.DataFrame(rows)


def _key(setting: evidence.Setting) -> str:
    size = setting.network or NetworkSpec()
    [trial] = synthetic_trials(
        bases=("DARTS",), connections=None, datasets=[setting.dataset], network=size
    )
    return evidence.setting_key(trial.spec)


def test_a_key_gives_its_setting_back():
    setting = evidence.Setting("cifar10", NetworkSpec(8, 16), Recipe(epochs=30), "fp32", 1)
    assert evidence.read_setting(_key(setting)) == setting


@pytest.mark.parametrize("key", ["svhn", "{}", "[1]", "null", '{"dataset": 3}', "{"])
def test_a_dataset_alone_is_a_setting_of_unknown_size(key):
    setting = evidence.read_setting(key)
    assert setting == evidence.Setting(key)
    assert setting.departures("section4") == ["network and recipe not recorded"]


def test_large_designs_on_the_papers_data_come_first():
    full, small = NetworkSpec(), NetworkSpec(5, 4)
    places = [
        (evidence.Setting("digits", full, Recipe()), "cifar10"),
        (evidence.Setting("cifar10", small, Recipe()), "cifar10"),
        (evidence.Setting("digits_32", small, Recipe()), "digits_32"),
        (evidence.Setting("cifar10", full, Recipe()), "cifar10"),
        (evidence.Setting("cifar100", full, Recipe()), "cifar100"),
    ]
    found = evidence.scopes(trials_of(*places), ("cifar10", "cifar100"))
    assert [list(part["trial_id"]) for part in found] == [[3, 4], [1], [0], [2]]


def test_epochs_that_follow_from_the_dataset_are_no_other_design():
    photos = evidence.Setting("cifar10", NetworkSpec(), Recipe(epochs=600))
    tiny = evidence.Setting("tiny_imagenet", NetworkSpec(), Recipe(epochs=300))
    assert photos.design == tiny.design
    assert photos.departures("section4") == tiny.departures("section4") == []


def test_weights_are_shares_of_trials_or_mean_shares_within_cells():
    rows = pd.DataFrame(
        {"setting": list("aaab"), "cell": list("xxyy"), "trial_id": [1, 2, 3, 4]},
    )
    assert evidence.weights(rows) == {"a": 0.75, "b": 0.25}
    assert evidence.weights(rows, within=["cell"]) == {"a": 0.75, "b": 0.25}
    rows = rows.iloc[1:]
    assert evidence.weights(rows)["a"] == pytest.approx(2 / 3)
    assert evidence.weights(rows, within=["cell"])["a"] == 0.75
    assert evidence.weights(rows.iloc[:0]) == {}
