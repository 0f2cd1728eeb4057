"""Claims that an experiment states of its own results, from YAML to verdict."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_stores import METRIC, NOW, add_surface, blank

from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.config.record import Declared, record
from orchestrator.paper.claims import Finding, description, findings
from orchestrator.paper.claims.power import plans
from results_schema import layout, tables
from results_schema.errors import ConfigError
from results_schema.plugins import registry
from results_schema.results import Results
from results_schema.store import LocalStore

ROOT = Path(__file__).parents[4]
HEAD = """
title: ours
claim: ours
recipe: {epochs: 6}
grid:
  genotype: [DARTS, ENAS]
  variants: {connections: {mode: uniform, n: 10}}
  dataset: [digits]
  seed: [0, 1]
  recipe.weight_decay: [0.0, 0.0003, 0.001]
claims:
"""
ONE_DECAY = HEAD.replace("recipe.weight_decay: [0.0, 0.0003, 0.001]", "")


@pytest.fixture
def state(tmp_path):
    """Return a function that loads an experiment with such claims."""

    def load(claims: str, head: str = HEAD) -> Experiment:
        path = tmp_path / "ours.yaml"
        path.write_text(head + claims)
        return load_experiment(path)

    return load


def fill(
    experiment: Experiment, store: LocalStore, accuracy: Callable[[Any, Any], float | None]
) -> None:
    """Write a launch's tables and every trial's; one without an accuracy has not ended."""
    record(experiment, store)
    trials, epochs = [], []
    for member in experiment.members():
        spec: Any = member.spec
        rng = np.random.default_rng([*spec.trial_id.encode()])
        value = accuracy(member, rng)
        if value is None:
            continue
        lost = np.isnan(value)
        row = {"trial_id": spec.trial_id, "dataset": spec.dataset, "seed": spec.seed}
        epochs += [METRIC | {"trial_id": spec.trial_id, "epoch": e, "test_accuracy": value * e / 6}
                   for e in range(1, 2 if lost else 7)]  # fmt: skip
        trials.append(
            blank(tables.TRIALS) | row | {"status": "diverged" if lost else "done", "epochs": 6}
            | {"learning_rate": spec.learning_rate, "test_accuracy": value, "train_loss": 1.0}
            | {"test_loss": 2 - value, "spec": spec.to_json(), "started_at": NOW, "ended_at": NOW}
            | {"train_seconds": 36.0, "gpu": True, "gpu_share": 0.5, "pack_size": 1}
        )  # fmt: skip
    for row in trials:
        name = row["trial_id"]
        mine = [one for one in epochs if one["trial_id"] == name]
        store.put(layout.trial(name), tables.to_parquet([row], tables.TRIALS))
        store.put(layout.metrics(name), tables.to_parquet(mine, tables.METRICS))


def verdicts(found: Iterable[Finding]) -> Mapping[str, str]:
    return {one.claim.partition(":")[2]: one.verdict for one in found if one.stated}


CLAIMS = {
    "wide": ("{spearman: [width, test_accuracy]}", "supported"),
    "narrow": ("{spearman: [-width, final]}", "contradicted"),
    "loss": ("{spearman: [width, -test_loss], strata: []}", "supported"),
    "decay": ("{spearman: [weight_decay, test_accuracy]}", "supported"),
    "no-decay": (
        "{greater: [{weight_decay: 0.001}, {recipe.weight_decay: 0.0}], statement: Decay helps.}",
        "supported",
    ),
    "equal-decay": (
        "{equal: [{weight_decay: 0.0}, {weight_decay: 0.0003}], within: 2}",
        "supported",
    ),
    "far": ("{equal: [{weight_decay: 0.0}, {weight_decay: 0.001}], within: 0.1}", "contradicted"),
    "bases": ("{greater: [ENAS, DARTS]}", "supported"),
    "within": ("{greater: [ENAS, DARTS], strata: [recipe.weight_decay]}", "supported"),
    "itself": ("{greater: [DARTS, DARTS]}", "no relevant effect"),
    "seeds": ("{spearman: [seed, test_accuracy]}", "inconclusive"),
    "peak": ("{peak: [width, test_accuracy]}", "contradicted"),
    "alike": ("{spearman: [width, parameters]}", "no data"),
    "surface": ("{spearman: [width, contour.radius]}", "no data"),
}


def test_stated_claims_have_the_verdicts_of_planted_effects(state, tmp_path):
    experiment = state("".join(f"  {name}: {text}\n" for name, (text, _) in CLAIMS.items()))
    store = LocalStore(tmp_path / "results")

    def accuracy(member, rng):
        if member.index == 3 and member.spec.seed == 1:
            return np.nan if member.base == "DARTS" else None
        decay = member.axes["recipe.weight_decay"]
        value = 0.6 + 0.05 * member.spec.genotype.normal.width * (member.index > 0)
        value += 20 * decay + 0.1 * (member.base == "ENAS")
        return value + 0.002 * rng.standard_normal()

    fill(experiment, store, accuracy)
    found = findings(Results(store))
    assert verdicts(found) == {name: verdict for name, (_, verdict) in CLAIMS.items()}
    shown = "\n".join(description.text(description.bears_on(found)))
    assert "Decay helps.  [ours:no-decay]" in shown
    assert "claims of ours" in shown
    assert "on digits" in shown and "not 36" not in shown.partition("claims of ours")[2]
    page = description.page([one for one in found if one.claim == "ours:wide"])
    assert "experiment ours" in "\n".join(page)


def test_what_would_decide_a_claim_is_planned_with_its_price(state, tmp_path, run):
    experiment = state(
        "  wide: {spearman: [width, test_accuracy]}\n  first: {greater: [ENAS, DARTS]}\n"
        "  twin: {equal: [ENAS, DARTS], within: 0.5}\n",
        ONE_DECAY,
    )
    store = LocalStore(tmp_path / "results")
    fill(experiment, store, lambda member, rng: 0.6 + 0.01 * rng.standard_normal())
    results = Results(store)
    planned = {one.claim: one for one in plans(results, findings(results), 0.8)}
    wide, first, twin = (planned[f"ours:{name}"] for name in ("wide", "first", "twin"))
    assert wide.grows == "variants" and wide.has == 10 and 40 < wide.needs < 70
    assert wide.trials == pytest.approx(40 * (wide.needs - 10) / 10, abs=1)
    assert wide.hours == pytest.approx(wide.trials * 0.5 * 36 / 3600)
    assert first.grows == "seeds" and first.has == 2 < first.needs
    assert first.yaml == f"grid:\n  seed: {list(range(first.needs))}\n"
    assert twin.note
    # What a plan adds is an experiment that loads, of other cells.
    drawn = "grid.variants=" + wide.yaml.partition("variants: ")[2].strip()
    more = load_experiment(tmp_path / "ours.yaml", overrides=[drawn], name="more")
    new, old = (
        {(m.base, m.spec.genotype) for m in one.members() if m.index} for one in (more, experiment)
    )
    assert len(new) == 2 * (wide.needs - 10)
    assert len(new & old) < 3, "but for what two seeds draw alike"
    shown = "\n".join(description.plan_lines([*planned.values()], 0.8))
    assert f"{wide.needs} variants (10 now): {wide.trials} trials more" in shown
    asked = ("claims", "--store", store.root, "--power", "0.8", "--format", "json")
    code, output, _ = run(*asked)
    assert (code, {one["claim"] for one in json.loads(output)}) == (0, {*planned})


def test_more_operation_variants_have_seeds_of_their_own():
    used = pd.DataFrame({"base": "DARTS", "variant": ["ops seed 1", "ops seed 7", "OPS3"]})
    used = used.assign(index=[1, 2, 3], kind="operations", seed=0, trial_id=used["variant"])
    used = used.assign(experiment="e", gpu=False, pack_size=1, train_seconds=1.0)
    finding = Finding("c", "", "", "", verdict="inconclusive", smallest=0.1, used=used,
                      finder=lambda level, power, times: 0.15 / times)  # fmt: skip
    store: Any = SimpleNamespace(surfaces=pd.DataFrame)
    [plan] = plans(store, [finding], 0.8)
    assert plan.yaml == "grid:\n  variants: {operations: {mode: uniform, n: 2, first_seed: 8}}\n"


def test_a_surface_and_a_test_of_a_plug_in(state, tmp_path, own_plugins):
    from orchestrator.paper.statistics.association import trend

    registry("claim").enter("backwards", lambda x, y, strata: trend(-x, y, strata), smallest=0.3)
    experiment = state(
        "  radius: {spearman: [width, contour.radius]}\n"
        "  back: {backwards: [width, test_accuracy]}\n",
        ONE_DECAY,
    )
    store = LocalStore(tmp_path / "results")
    fill(experiment, store, lambda member, rng: 0.6 + 0.05 * member.spec.genotype.normal.width)
    for member in experiment.members():
        trial: Any = member
        numbers = {"extent": 1.0, "split": "test", "bounded": True}
        width = trial.spec.genotype.normal.width
        add_surface(store, trial, "contour", epoch=6, radius=width, **numbers)
    assert verdicts(findings(Results(store))) == {"radius": "supported", "back": "contradicted"}
    registry("claim").pop("backwards")
    assert verdicts(findings(Results(store))) == {"radius": "supported", "back": "not testable"}


def test_claims_are_kept_in_the_stores_declaration(state):
    declared = Declared.of(state("  a: {equal: [ENAS, DARTS], within: 0.5}\n"))
    assert Declared.model_validate(json.loads(declared.to_json())).claims == declared.claims
    plain = json.loads(Declared.of(state("  {}\n")).to_json())
    assert "claims" not in plain


def test_the_documented_claims_load(state):
    text = (ROOT / "docs/claims.md").read_text("utf-8")
    [snippet] = re.findall(r"```yaml\nclaims:\n(.*?)```", text, re.DOTALL)
    assert len(state(snippet).claims) == 5


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ("{spearman: [widht, test_accuracy]}", "no column is called 'widht'.*did you mean width"),
        ("{spear: [width, test_accuracy]}", "unknown test 'spear'.*did you mean spearman"),
        ("{greater: [seed 99, DARTS]}", "the experiment has no variant 'seed 99'"),
        ("{greater: [{weight_decay: 2}, DARTS]}", "has no weight_decay 2.*use one of 0.0"),
        ("{equal: [ENAS, DARTS]}", "equal needs the largest difference.*add within"),
        ("{greater: [ENAS, DARTS], within: 1}", "within is not an option of greater"),
        ("{spearman: [width, 3]}", r"a.spearman: spearman takes two columns, not \['width', 3\]"),
        ("{spearman: [width, final], peak: [width, final]}", "spearman and peak are two tests"),
        ("{spearman: [width, final], smallest: -1}", "a.smallest is -1"),
        ("{spearman: [width, final], strata: [food]}", "no column is called 'food'"),
        ("{statement: Nothing.}", "no test is named"),
        ("3", "3 is no claim.*write it as {spearman"),
    ],
)
def test_a_bad_claim_is_one_line(state, claim, problem):
    with pytest.raises(ConfigError, match=rf"(?s)ours.yaml:12: claims.*{problem}"):
        state(f"  a: {claim}\n")
