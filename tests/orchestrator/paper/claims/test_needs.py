"""What a claim needs suffices: the experiment that it names supports a planted effect."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from synthetic_stores import Trial, add_surface

from orchestrator.config.experiment import load_experiments
from orchestrator.paper.claims import CLAIMS
from results_schema import layout

ROOT = Path(__file__).parents[4]
EPOCHS = 40
VERDICTS = {1: "supported", -1: "contradicted"}


def trials_of(claim):
    """Return the made-up trials of what a claim needs, each with its width from −1 to 1."""
    files = [text for text in claim.launch if text.endswith(".yaml")]
    options = [text for text in claim.launch if "=" in text] + [f"recipe.epochs={EPOCHS}"]
    found = {}
    for experiment in load_experiments([str(ROOT / f) for f in files], None, options):
        members = experiment.members()
        for base in {member.base for member in members}:
            mine = [member for member in members if member.base == base]
            widths = np.array([member.spec.genotype.normal.width for member in mine])
            scaled = 2 * (widths - widths.min()) / max(float(np.ptp(widths)), 1) - 1
            for m, width in zip(mine, scaled, strict=True):
                trial = Trial(m.base, m.variant, m.index, m.spec, float(width))
                found[m.base, m.variant, m.spec.trial_id] = trial
    return list(found.values())


def effect(claim, sign):
    """Return a cell's strength in what a claim is about, such that a sign of 1 agrees with it."""
    place = {"DARTS": 2, "CONN1": 1, "CONN3": 0}

    def strength(t):
        name = claim.id
        if name == "peak-at-middle":
            return -4 * sign * t.width**2
        if name == "operations-alike":
            wide = t.variant.startswith("ops") == (sign < 0)
            return (1.0 if wide else 0.05) * t.rng.standard_normal()
        if name == "order-at-low-rate":
            return sign * place.get(t.variant, 0)
        if name.startswith("shallower"):
            return -sign * t.spec.genotype.normal.depth
        if name.startswith("adapted"):
            better = 1 if "better" in name else -1
            return sign * better * t.base.endswith("_ADAPT") * 3
        if name.startswith(("base", "darts", "none-beats")):
            return sign * 3.0 * (t.index == 0)
        if name == "some-variants-beat-base":
            return 3.0 * t.variant.endswith(" 5")
        one = {"c2": "seed 2", "c4": "seed 4", "c3-snas": "seed 3", "amoebanet": "AmoebaNet"}
        for start, variant in one.items():
            if name.startswith(start):
                return sign * 3.0 * (t.variant == variant)
        return sign * 2 * t.width

    return strength


def fill(claim, sign, trials, strength):
    """Return a function that adds the surfaces or checkpoints that a claim looks at."""

    def call(store):
        for t in trials:
            value = strength(t) + 0.1 * t.rng.standard_normal()
            if claim.id == "snas-variances-equal":
                value = 0.01 * t.rng.standard_normal() + (sign < 0) * (t.variant == "seed 2")
            radius = {"c2-amoebanet-narrowest": 6 - value, "c4-amoebanet-exceptional": 6 - value}
            if claim.family in ("landscape", "exceptions"):
                contour = {"radius": radius.get(claim.id, 6 + value), "bounded": True}
                add_surface(store, t, "contour", epoch=EPOCHS, extent=1.0, **contour)
                down = -1 if claim.id in ("wider-less-variance",) else 1
                size = math.exp(2 * down * value)
                add_surface(store, t, "gradient_variance", epoch=EPOCHS, variance=size, extent=1.0)
            elif claim.family == "theory":
                small = {f"x{i}.weight": np.eye(2, dtype="f4") * 0.5 for i in range(t.index % 2)}
                weights = small | {"classifier.weight": np.eye(3, dtype="f4") * 4}
                key = layout.tensors(t.spec.trial_id, EPOCHS)
                store.put(key, safetensors.numpy.save(weights))

    return call


BOTH_WAYS = (
    "shallower-stabler", "bases-competitive", "narrow-fail-at-high-rate", "c3-fails-at-high-rate",
    "order-at-low-rate", "operations-alike", "none-beats-amoebanet", "adapted-worse-cifar10",
    "amoebanet-not-least-variance", "snas-variances-equal",
)  # fmt: skip
"""One claim for each kind of test."""

CASES = [(c, sign) for c in CLAIMS if c.launch for sign in (1, -1)[: 1 + (c.id in BOTH_WAYS)]]


@pytest.mark.parametrize(("claim", "sign"), CASES, ids=lambda case: getattr(case, "id", str(case)))
def test_the_experiment_that_a_claim_names_decides_it(observe, claim, sign):
    trials, strength = trials_of(claim), effect(claim, sign)

    def accuracies(t):
        high = t.spec.learning_rate > 0.1
        gain = strength(t) if claim.id != "larger-at-high-rate" or high else 0.0
        noise = t.rng.standard_normal(EPOCHS)
        rough = 0.002 * math.exp(-gain) if "stabl" in claim.id else 0.0005
        speed = 0.15 * math.exp(0.1 * gain + 0.01 * t.rng.standard_normal())
        final = 0.6 + 0.03 * gain + 0.002 * t.rng.standard_normal()
        if claim.id == "variants-approach-base":
            final = 0.6 - (0.2 - 0.05 * gain) * (t.index > 0) + 0.002 * noise[0]
        return final * (1 - np.exp(-speed * np.arange(1, EPOCHS + 1))) + rough * noise

    def diverged(t):
        if t.spec.learning_rate < 0.1:
            return False
        if claim.id == "c3-fails-at-high-rate":
            return sign > 0 and t.variant == "CONN3"
        return claim.id == "narrow-fail-at-high-rate" and t.index > 0 and sign * t.width < -0.1

    how = {"diverged": diverged, "fill": fill(claim, sign, trials, strength)}
    main = observe(claim.id, trials, accuracies, **how)[0]
    assert (main.claim, main.verdict) == (claim.id, VERDICTS[sign]), main
    assert (main.low > main.null) == (main.agrees != main.equality)


def test_the_experiments_exist():
    named = {text for claim in CLAIMS for text in claim.launch if text.endswith(".yaml")}
    assert len(named) > 8
    assert all((ROOT / name).is_file() for name in named)
    without = {claim.id for claim in CLAIMS if not claim.datasets}
    assert without == {claim.id for claim in CLAIMS if not claim.launch}


def test_a_claim_without_data_names_its_launch(observe):
    [one] = observe("darts-ends-best", [], None)
    assert one.verdict == "no data"
    assert re.search(r"launch experiments/fig3.yaml --set 'grid.seed=\[0, 1, 2\]'", one.reading)
    assert replace(one, verdict="").record()["size"] is None
