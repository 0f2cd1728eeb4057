"""Which data a finding is about, and what it may say of the paper's claim."""

import csv
import io
import json
import re

import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.paper.claims import findings
from orchestrator.paper.claims.registry import CLAIMS
from results_schema.results import Results
from results_schema.trial import NetworkSpec
from workers.cells.bases import ADAPTED
from workers.cells.bases import BASES as ORIGINAL

LAPTOP = {"profile": "laptop", "in_place_of": {"digits": "cifar10", "digit_pairs": "cifar100"}}
SMALL = NetworkSpec(cells=5, channels=4)
TABLE_1 = {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2}


def wide_is_fast(t):
    return curve(0.3 + 0.1 * t.width + 0.01 * t.rng.standard_normal())


def adapted_is_better(t):
    better = 0.02 * t.base.endswith("_ADAPT")
    return curve(1.0, final=0.8 + better + 0.001 * t.rng.standard_normal())


def table_1(dataset, **more):
    more = {"seeds": range(3), "recipe": TABLE_1, **more}
    names = (*ORIGINAL, *ADAPTED)
    return synthetic_trials(bases=names, connections=None, datasets=[dataset], **more)


def test_a_substitute_bears_no_verdict_on_the_papers_claim(say):
    trials = table_1("digit_pairs", epochs=6, network=SMALL)
    found = say("adapted-better-cifar100", trials, adapted_is_better, **LAPTOP)
    assert {one.verdict for one in found} == {"not a test"}
    main = found[0]
    assert main.p_holm < 0.01
    assert main.datasets == ("digit_pairs",)
    assert main.reading.startswith(
        "as measured on digit_pairs with 5 cells (not 20), 4 channels (not 36), 6 epochs (not 600):"
    )
    assert main.reading.endswith("not a test of the paper's claim about cifar100")


def test_the_papers_dataset_bears_one(say):
    trials = table_1("cifar100", epochs=600)
    main = say("adapted-better-cifar100", trials, adapted_is_better)[0]
    assert main.verdict == "supported"
    assert main.reading.startswith("as claimed on cifar100: mean reduction")


def test_a_smaller_network_on_the_papers_dataset_is_named_with_the_verdict(say):
    trials = table_1("cifar100", epochs=600, network=SMALL, recipe=TABLE_1 | {"batch_size": 96})
    main = say("adapted-better-cifar100", trials, adapted_is_better)[0]
    assert main.verdict == "supported"
    assert "on cifar100 with 5 cells (not 20), 4 channels (not 36), batch_size 96 (not 80)" in (
        main.reading
    )


def test_trials_of_the_papers_data_are_never_mixed_with_substitutes(tmp_path):
    """On digits the effect is the other way round: mixed, the two would cancel."""
    synthetic_store(tmp_path, synthetic_trials(), wide_is_fast, packed=False)
    synthetic_store(
        tmp_path,
        synthetic_trials(datasets=["digits"]),
        lambda t: curve(0.3 - 0.1 * t.width + 0.01 * t.rng.standard_normal()),
        experiment="laptop",
        packed=False,
        **LAPTOP,
    )
    found = findings(Results(tmp_path))
    first, second = (one for one in found if one.claim == "wider-faster" and one.primary)
    assert (first.datasets, first.verdict) == (("cifar10",), "supported")
    assert first.size > 0.9
    assert (second.datasets, second.verdict) == (("digits",), "not a test")
    assert second.size < -0.9
    assert first.trials == second.trials == 52


@pytest.mark.parametrize(
    "other",
    [
        {"network": NetworkSpec(cells=8, channels=16)},
        {"recipe": {"batch_size": 96}},
        {"recipe": {"cutout": 16}},
        {"epochs": 20},
    ],
)
def test_networks_and_recipes_are_separate_settings(say, other):
    trials = synthetic_trials() + synthetic_trials(**other)
    main = [one for one in say("wider-faster", trials, wide_is_fast) if one.primary]
    assert [one.trials for one in main] == [52, 52]
    assert {one.verdict for one in main} == {"supported"}
    assert main[0].departures != main[1].departures


def test_datasets_of_one_claim_are_combined_and_their_weights_are_told(say):
    trials = synthetic_trials(bases=("DARTS",), datasets=["cifar10", "cifar100"])
    trials += synthetic_trials(bases=("ENAS",))
    [main] = [one for one in say("wider-faster", trials, wide_is_fast) if one.primary]
    assert (main.cells, main.trials) == (26, 39)
    # 13 cells have both datasets, 13 have one.
    assert dict(zip(main.datasets, main.weights, strict=True)) == {
        "cifar10": pytest.approx(0.75),
        "cifar100": pytest.approx(0.25),
    }
    assert "on cifar10 75 %, cifar100 25 % with 30 epochs (not 600):" in main.reading


def test_the_stand_ins_of_one_profile_are_combined_like_what_they_stand_for(say):
    trials = synthetic_trials(bases=("DARTS",), datasets=["digits", "digit_pairs"])
    [main] = [one for one in say("wider-faster", trials, wide_is_fast, **LAPTOP) if one.primary]
    assert main.weights == (0.5, 0.5)
    assert main.reading.endswith("not a test of the paper's claim about cifar10 and cifar100")


def test_another_dataset_of_the_papers_is_no_test_of_what_it_says_of_cifar10(say):
    trials = synthetic_trials(datasets=["cifar10", "cifar100"])
    one, other = say(
        "bases-competitive", trials, lambda t: curve(1.0, final=0.8 + 0.1 * (t.index == 0))
    )
    assert (one.datasets, one.verdict) == (("cifar10",), "supported")
    assert (other.datasets, other.verdict) == (("cifar100",), "not a test")


def test_a_learning_rate_that_is_not_the_papers_is_named(say):
    trials = synthetic_trials(rates=(0.1,))
    main = say("wider-faster", trials, wide_is_fast)[0]
    assert "epochs (not 600), learning rate 0.1:" in main.reading


@pytest.mark.parametrize("form", ["text", "md", "latex", "csv", "json"])
def test_every_form_names_the_data(run, tmp_path, form):
    trials = synthetic_trials(bases=("DARTS",), datasets=["digits"])
    synthetic_store(tmp_path / "s", trials, wide_is_fast, **LAPTOP)
    code, output, _ = run("claims", "--store", tmp_path / "s", "--format", form)
    assert code == 0
    if form == "json":
        records = [r for r in json.loads(output) if r["trials"]]
        assert records
        assert {(*r["datasets"], r["data"], r["verdict"]) for r in records} == {
            ("digits", "digits", "not a test")
        }
    elif form == "csv":
        records = [r for r in csv.DictReader(io.StringIO(output)) if r["trials"] != "0"]
        assert {(r["datasets"], r["verdict"]) for r in records} == {("digits", "not a test")}
    else:
        lines = " ".join(output.split())
        assert "as measured on digits with" in lines
        # Beside the verdict too: on a terminal the reading may be far from it.
        assert re.search(r"not a test\W+digits", lines)


def test_every_claim_about_trials_names_its_datasets():
    without = {claim.id for claim in CLAIMS if not claim.datasets}
    assert without == {claim.id for claim in CLAIMS if claim.needs == "nothing"}
