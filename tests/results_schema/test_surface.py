"""Surfaces are their content: golden ids, round trips, what a spec refuses."""

import json
import math
from dataclasses import replace

import pytest
from small_trials import GENOTYPE

from results_schema import layout
from results_schema.errors import SpecError
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, Recipe, TrialSpec

TRIAL = TrialSpec(GENOTYPE, "digits", 1, NetworkSpec(3, 2), Recipe(epochs=3), 0.1, 0)
CONTOUR = SurfaceSpec(TRIAL, 3, "contour")
VARIANCE = SurfaceSpec(TRIAL, 0, "gradient_variance", rows=21, columns=11, subset=1000, pair=1)

CENTRE = replace(CONTOUR, rows=1, columns=1)
CURVATURE = replace(CENTRE, kind="curvature")

GOLDEN = {
    CONTOUR: "@e3-contour-8d41aeecc1",
    VARIANCE: "@e0-gradient_variance-1345810abc",
}


@pytest.mark.parametrize("surface", GOLDEN, ids=lambda s: s.kind)
def test_golden_ids(surface: SurfaceSpec):
    assert surface.surface_id == f"{TRIAL.trial_id}{GOLDEN[surface]}", (
        "A surface's id has changed: those measured under the old id would never be found again. "
        "Give a new field a frozen `absent` value; count a change of the measurement in "
        "LANDSCAPE_VERSION. Never edit this test to make it pass."
    )
    assert SurfaceSpec.from_json(surface.to_json()) == surface
    assert layout.is_surface(surface.surface_id)
    assert not layout.is_surface(TRIAL.trial_id)
    assert layout.trial_of(surface.surface_id) == layout.trial_of(TRIAL.trial_id) == TRIAL.trial_id
    assert layout.epoch_of(surface.surface_id) == surface.epoch


def test_what_is_measured_of_which_network_makes_another_surface():
    """Of the other choices `tests/workers/test_identity.py` compares the numbers."""
    changes = {"trial": replace(TRIAL, seed=1), "epoch": 2, "kind": "gradient_variance"}
    others = [replace(CONTOUR, **{n: value}) for n, value in (changes | {"version": 2}).items()]
    helped = replace(TRIAL, recipe=replace(TRIAL.recipe, auxiliary=0.4))
    others += [replace(VARIANCE, trial=helped, auxiliary=counts) for counts in (False, True)]
    assert len({one.surface_id for one in (CONTOUR, *others)}) == 1 + len(others)
    for one in others:
        assert SurfaceSpec.from_json(one.to_json()).surface_id == one.surface_id


def test_a_surface_of_an_earlier_trial_keeps_its_fields_and_its_id():
    earlier = replace(TRIAL, recipe=replace(TRIAL.recipe, version=1))
    surface = SurfaceSpec(earlier, 3, "curvature", 1, 1, extent=0.5, subset_seed=2)
    assert (surface.extent, surface.subset_seed) == (0.5, 2)
    assert surface.surface_id == f"{earlier.trial_id}@e3-curvature-1be8b45bae"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": 4}, "epoch is 4, and the trial has 3\n  use 0 to 3"),
        ({"kind": "pie"}, "use one of contour, gradient_variance, curvature"),
        ({"rows": 0}, "rows is 0"),
        ({"rows": 50}, "no point at the centre\n  use an odd number, such as 51"),
        ({"rows": 1003}, "rows is 1003\n  use a whole number from 1 to 1001"),
        ({"columns": 2}, "columns is 2, and an even side"),
        ({"extent": math.inf}, "extent is inf"),
        ({"precision": "fp8"}, "use one of fp32, fp64, bf16"),
        ({"kind": "gradient_variance", "precision": "bf16"}, "only a contour"),
        ({"kind": "gradient_variance", "auxiliary": True}, "omit auxiliary"),
        ({"by_parameter": True}, "only a gradient variance"),
        ({"kind": "curvature"}, "at the centre alone"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, says):
    with pytest.raises(SpecError) as refused:
        replace(CONTOUR, **change)
    assert says in str(refused.value)


def test_text_that_is_no_surface_is_refused():
    for text in ("[]", "{", '{"trial": 1}', '{"epoch": 1}'):
        with pytest.raises(SpecError):
            SurfaceSpec.from_json(text)
    parts = json.loads(CONTOUR.to_json()) | {"colour": "red"}
    with pytest.raises(SpecError, match="colour"):
        SurfaceSpec.from_json(json.dumps(parts))


def test_a_surface_has_so_many_rows():
    assert (CONTOUR.points, VARIANCE.points, CENTRE.points) == (51 * 51, 21 * 11, 1)
    assert CURVATURE.points == 1 + 100 + 100
