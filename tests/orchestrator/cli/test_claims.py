"""`nas-sweep claims` as its user meets it."""

import csv
import io
import json
import shutil

import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.paper.claims import CLAIMS, registry
from results_schema.results import Results


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A store and what the claims find in it, tested once for all."""
    trials = synthetic_trials(bases=("DARTS",))
    for t in trials:
        t.base = "[bold]|&"
    root = tmp_path_factory.mktemp("claims") / "results"
    store = synthetic_store(
        root,
        trials,
        lambda t: curve(0.3 + 0.1 * t.width + 0.001 * t.rng.standard_normal()),
        experiment="fig9",
        packed=False,
    )
    return store.root, registry.findings(Results(store), ["fig9"])


@pytest.fixture
def store(tested, monkeypatch):
    monkeypatch.setattr(registry, "findings", lambda *_: tested[1])
    return tested[0]


def test_every_form_lists_every_claim(run, store, tmp_path):
    for form in ("text", "md", "csv", "latex", "json"):
        code, output, errors = run("claims", "--store", store, "--format", form)
        assert (code, errors) == (0, "")
        # The text names what bears on the store.
        assert all(claim.id in output for claim in CLAIMS) or form == "text"
        assert "wider-faster" in output and "supported" in output.lower()
        # The list needs no store.
        ask = ("claims", "--list", "--format", form, "--store", tmp_path / "none")
        assert all(claim.id in run(*ask)[1] for claim in CLAIMS)
        if form == "csv":
            rows = {row["claim"]: row for row in csv.DictReader(io.StringIO(output))}
            assert set(rows) == {claim.id for claim in CLAIMS}
            assert float(rows["wider-faster"]["size"]) > 0.5


def test_one_claim_is_reported_in_full_with_the_same_corrected_p(run, store):
    ask = ("claims", "experiments/fig9.yaml", "--store", store)
    code, output, _ = run(*ask, "--claim", "wider-faster")
    assert code == 0
    assert "[bold]|& cifar10" in output
    [every, one] = (
        json.loads(run(*ask, "--format", "json", *more)[1])
        for more in ((), ("--claim", "wider-faster"))
    )
    assert one == [record for record in every if record["claim"] == "wider-faster"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--claim", "wider-fast"), 2, "did you mean wider-faster"),
        (("fig7.yaml",), 2, "no experiment 'fig7'"),
        (("--store", "nowhere"), 3, "there is no store here"),
    ],
)
def test_mistakes_are_reported(run, store, arguments, code, words):
    found, output, errors = run("claims", "--store", store, *arguments)
    assert (found, output) == (code, "")
    assert words in errors


def test_an_empty_store_has_no_data_but_no_error_either(run, tmp_path):
    code, output, _ = run("claims", "--store", tmp_path, "--format", "json")
    assert code == 0
    reported = {one["claim"]: one["verdict"] for one in json.loads(output)}
    assert reported["wider-faster"] == "no data"


def test_a_trial_with_a_corrupt_table_is_left_out_with_a_line_on_it(run, tested, tmp_path):
    root = shutil.copytree(tested[0], tmp_path / "results")
    next(root.glob("metrics/c*.parquet")).write_bytes(b"PAR1 nonsense")
    code, _, errors = run("claims", "--store", root)
    assert code == 1
    assert "is left out, as its tables are damaged" in errors
