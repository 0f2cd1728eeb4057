"""Trials are their content: golden ids, what an id ignores, what a spec refuses."""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import RECIPE_VERSION, NetworkSpec, Recipe, TrialSpec, recipe_version

CELLS = (
    '{"normal":{"concat":[2,3],"nodes":[[["sep_conv_3x3",0],["sep_conv_3x3",1]],'
    '[["dil_conv_3x3",2],["skip_connect",0]]]},"reduce":{"concat":[3],'
    '"nodes":[[["max_pool_3x3",1]],'
    '[["avg_pool_3x3",2],["avg_pool_3x3",2],["avg_pool_3x3",2]]]}}'
)
GOLDEN: dict[str, str] = {
    "cifar10-w1.5d3-lr0.025-s0-r2-99fe8b0f8d": (
        f'{{"dataset":"cifar10","genotype":{CELLS},"learning_rate":0.025,'
        '"network":{"cells":20,"channels":36},"precision":"fp32","preprocessing":1,'
        '"recipe":{"batch_size":80,"epochs":600,"grad_clip":5.0,"momentum":0.9,"version":2,'
        '"weight_decay":0.0003},"seed":0}'
    ),
    "digits-w1.5d3-lr1e-05-s7-r2-be3ff40410": (
        f'{{"dataset":"digits","genotype":{CELLS},"learning_rate":1e-05,'
        '"network":{"cells":5,"channels":8},"precision":"fp32","preprocessing":3,'
        '"recipe":{"batch_size":64,"epochs":12,"grad_clip":1.0,"momentum":0.0,"version":2,'
        '"weight_decay":0.0},"seed":7}'
    ),
    "cifar100-w1.5d3-lr0.025-s0-r2-2e92963a83": (
        f'{{"dataset":"cifar100","genotype":{CELLS},"learning_rate":0.025,'
        '"network":{"cells":20,"channels":36},"precision":"bf16","preprocessing":1,'
        '"recipe":{"auxiliary":0.4,"batch_size":80,"cutout":16,"drop_path":0.2,'
        '"drop_path_growth":"constant","epochs":600,"grad_clip":5.0,"momentum":0.9,'
        '"statistics":"cifar10","version":2,"weight_decay":0.0003},"seed":0,'
        '"statistics_preprocessing":1}'
    ),
}
EARLIER = {
    "cifar10-w1.5d3-lr0.025-s0-469aece1ab": (
        f'{{"dataset":"cifar10","genotype":{CELLS},"learning_rate":0.025,'
        '"network":{"cells":20,"channels":36},"precision":"fp32","preprocessing":1,'
        '"recipe":{"batch_size":80,"epochs":600,"grad_clip":5.0,"momentum":0.9,"version":1,'
        '"weight_decay":0.0003},"seed":0}'
    ),
    "cifar10-w1.5d3-lr0.025-s0-24252197d2": (
        f'{{"dataset":"cifar10","genotype":{CELLS},"learning_rate":0.025,'
        '"network":{"cells":20,"channels":36},"precision":"fp32","preprocessing":1,'
        '"recipe":{"batch_size":80,"drop_path_growth":"constant","epochs":600,"grad_clip":5.0,'
        '"momentum":0.9,"statistics":"cifar10","version":1,"weight_decay":0.0003},"seed":0}'
    ),
}
"""Ids of recipe version 1, whose fields without effect count."""
SPEC = TrialSpec(
    Genotype.from_json(json.loads(CELLS)), "cifar10", 1, NetworkSpec(), Recipe(), 0.025, 0
)


@pytest.mark.parametrize(("trial_id", "text"), (GOLDEN | EARLIER).items())
def test_golden_ids(trial_id: str, text: str):
    spec = TrialSpec.from_json(text)
    assert (spec.trial_id, spec.to_json()) == (trial_id, text), (
        "A trial's id has changed: results stored under the old id would never be found again and "
        "be trained anew. Give a new field a frozen `absent` value in its metadata; count a change "
        "of the algorithm in RECIPE_VERSION. Never edit this test to make it pass."
    )


def test_an_id_names_the_version_of_its_recipe():
    for trial_id in GOLDEN | EARLIER:
        assert recipe_version(trial_id) == (2 if trial_id in GOLDEN else 1)
    spec = replace(SPEC, dataset="a_r7", learning_rate=1e-5)
    assert recipe_version(spec.trial_id) == RECIPE_VERSION
    assert SPEC.trial_id == next(iter(GOLDEN)), "the defaults are the paper's on CIFAR"


def test_equal_numbers_are_one_trial():
    assert replace(SPEC, learning_rate=1).trial_id == replace(SPEC, learning_rate=1.0).trial_id
    positive, negative = (replace(SPEC, recipe=Recipe(momentum=zero)) for zero in (0.0, -0.0))
    assert positive.trial_id == negative.trial_id


def test_extensions_are_a_set_of_names_that_is_left_out_when_empty():
    names = ("operation:mix_conv@1", "dataset:flowers@12")
    spec = replace(SPEC, extensions=(*names, names[0]))
    assert spec.trial_id == replace(SPEC, extensions=names[::-1]).trial_id
    assert '"extensions":["dataset:flowers@12","operation:mix_conv@1"],' in spec.to_json()
    assert TrialSpec.from_json(spec.to_json()) == spec
    assert "extensions" not in replace(spec, extensions=()).to_json()
    for bad in ("mix_conv", "operation:a b@1", "operation:a@0", "Operation:a@1", 3, ["x"]):
        with pytest.raises(SpecError, match="extensions holds"):
            replace(SPEC, extensions=(bad,))


def test_what_is_counted_makes_another_trial():
    """Of the other choices `tests/workers/test_identity.py` compares the numbers."""
    named = replace(SPEC, recipe=Recipe(statistics="cifar100"), statistics_preprocessing=1)
    others = [
        replace(SPEC, preprocessing=2),
        replace(SPEC, extensions=("operation:mix_conv@1",)),
        replace(SPEC, extensions=("operation:mix_conv@2",)),
        replace(SPEC, recipe=Recipe(version=RECIPE_VERSION + 1)),
        named,
        replace(named, statistics_preprocessing=2),
        replace(SPEC, learning_rate=math.nextafter(0.025, 1)),
    ]
    assert len({spec.trial_id for spec in (SPEC, *others)}) == 1 + len(others)


def test_named_statistics_and_their_version_come_together():
    for statistics, version, fix in (("cifar100", 0, "give"), ("own", 1, "omit")):
        with pytest.raises(SpecError, match=rf"statistics_preprocessing is {version}.*\n  {fix}"):
            replace(SPEC, recipe=Recipe(statistics=statistics), statistics_preprocessing=version)


def test_what_has_no_effect_makes_no_other_trial():
    """Of every field `tests/workers/test_identity.py` compares the numbers."""
    own = replace(
        SPEC, recipe=Recipe(statistics=SPEC.dataset), statistics_preprocessing=SPEC.preprocessing
    )
    assert own == SPEC
    assert Recipe(step_epochs=7, rise=0.5) == Recipe(), "fields of other schedules"
    assert Recipe(epochs=1, drop_path=0.5) == Recipe(epochs=1)
    assert Recipe(epochs=1, schedule="constant") == Recipe(epochs=1) != Recipe(epochs=2)
    assert Recipe(epochs=2, schedule="constant") != Recipe(epochs=2)


def test_warm_up_leaves_epochs_to_the_schedule():
    Recipe(epochs=4, warmup_epochs=1, schedule="one_cycle")
    Recipe(epochs=4, warmup_epochs=3)
    for schedule, warm, left in (("one_cycle", 2, 2), ("cosine", 4, 0)):
        with pytest.raises(SpecError, match=f"4 epochs with warmup_epochs {warm} leave {left}"):
            Recipe(epochs=4, warmup_epochs=warm, schedule=schedule)


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    """A recipe as a later release might have it: off in old trials, on by default."""

    label_smoothing: float = field(default=0.1, metadata={"absent": 0.0})


def test_a_field_added_later_keeps_old_ids():
    later = replace(SPEC, recipe=LaterRecipe(label_smoothing=0.0))
    assert later.to_json() == SPEC.to_json()
    assert replace(SPEC, recipe=LaterRecipe()).trial_id != SPEC.trial_id
    old = json.loads(SPEC.to_json())["recipe"]
    assert LaterRecipe.from_parts(old) == LaterRecipe(label_smoothing=0.0), "not the default"


NAMES = ["sep_conv_3x3", "skip_connect", "noise", "of_a_plugin"]
edges = st.builds(Edge, st.sampled_from(NAMES), st.integers(0, 1))
small_cells = st.builds(
    lambda nodes: Cell(nodes, (2,)),
    st.lists(st.lists(edges, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple),
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
specs = st.builds(
    TrialSpec,
    genotype=st.builds(Genotype, small_cells, small_cells),
    dataset=st.from_regex(r"[a-z0-9_]+", fullmatch=True),
    preprocessing=st.integers(1, 2**31 - 1),
    network=st.builds(
        NetworkSpec, st.integers(3, 100), st.integers(1, 500).map(lambda half: 2 * half)
    ),
    recipe=st.builds(
        Recipe,
        epochs=st.integers(1, 2**31 - 1),
        batch_size=st.integers(1, 2**31 - 1),
        momentum=st.floats(0, 1, exclude_max=True),
        weight_decay=st.floats(0, allow_infinity=False),
        grad_clip=positive,
    ),
    learning_rate=positive | st.integers(1, 2**1000),
    seed=st.integers(0, 2**63 - 1),
)


@settings(max_examples=30)
@given(specs)
def test_json_brings_back_the_trial_and_its_id(spec: TrialSpec):
    back = TrialSpec.from_json(spec.to_json())
    assert back == spec
    assert (back.trial_id, back.to_json()) == (spec.trial_id, spec.to_json())
    assert set(spec.trial_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.+")
    assert len(spec.trial_id) < len(spec.dataset) + 80


REALS = ["learning_rate", "recipe.grad_clip", "recipe.weight_decay", "recipe.auxiliary"]
REALS += ["recipe.momentum", "recipe.drop_path"]
WHOLES = {"seed": 0, "preprocessing": 1, "network.cells": 3, "network.channels": 2}
WHOLES |= {"network.stem_stride": 1, "recipe.epochs": 1, "recipe.batch_size": 1, "recipe.cutout": 0}
WHOLES |= {"recipe.evaluation_batch": 1, "recipe.version": 1}
"""Fields of whole numbers with the smallest that they take."""


@pytest.mark.parametrize("place", REALS)
def test_what_is_no_finite_number_in_range_is_refused(place: str):
    name, zero = place.split(".")[-1], place not in REALS[:2]
    wrong = [float("nan"), float("inf"), -1, True, "1", None, 10**400]
    wrong += [] if zero else [0, -0.0]
    wrong += [1] if name in ("momentum", "drop_path") else []
    for number in wrong:
        fix = f"use a finite number {'from' if zero else 'above'} 0"
        with pytest.raises(SpecError, match=f"{name} is .*\n.*{fix}"):
            _with(place, number)
    for number in (1e-9, 0.5, *((0,) if zero else (1e300, 7))):
        assert str(float(number)) in _with(place, number).to_json() or number == 0


@pytest.mark.parametrize("place", WHOLES)
def test_what_is_no_whole_number_in_range_is_refused(place: str):
    least = WHOLES[place]
    most = {"seed": 2**63 - 1, "network.cells": 1000}.get(place, 2**31 - 1)
    for number in (least - 1, most + 1, True, 1.0, "1", None):
        fix = f"use a whole number from {least} to {most}"
        with pytest.raises(SpecError, match=f"{place.split('.')[-1]} is .*\n.*{fix}"):
            _with(place, number)
    for number in (least, most - most % 2):
        assert f":{number}" in _with(place, number).to_json() or number in (0, 1)


def test_names_that_are_not_known_are_refused():
    with pytest.raises(SpecError, match=r"channels is 15\n.*even"):
        _with("network.channels", 15)
    for name in ("", "CIFAR-10", "../cifar10", "cifar10\n", 10, None):
        for place in ("dataset", "recipe.statistics"):
            with pytest.raises(SpecError, match="lower-case letters"):
                _with(place, name)
    for place, known in (
        ("precision", "fp32, tf32, bf16"),
        ("recipe.decayed", "all, weights"),
        ("recipe.drop_path_growth", "linear, constant"),
    ):
        for name in ("fp8", None):
            with pytest.raises(SpecError, match=f"unknown .*{name}.*\n  use one of {known}"):
                _with(place, name)


def _with(place: str, value: Any) -> TrialSpec:
    if "." not in place:
        return replace(SPEC, **{place: value})
    part, name = place.split(".")
    return replace(SPEC, **{part: replace(getattr(SPEC, part), **{name: value})})


def test_a_stored_spec_with_an_unknown_field_or_without_a_known_one_is_refused():
    for part in (None, "network", "recipe", "genotype"):
        data = json.loads(SPEC.to_json())
        (data[part] if part else data)["label"] = "mine"
        with pytest.raises(SpecError, match="label"):
            TrialSpec.from_json(json.dumps(data))
    for place in ("seed", "precision", "genotype", "recipe", "recipe.version"):
        data = json.loads(SPEC.to_json())
        *parts, name = place.split(".")
        del (data[parts[0]] if parts else data)[name]
        with pytest.raises(SpecError, match=f"lacks '{name}'"):
            TrialSpec.from_json(json.dumps(data))


def test_text_that_is_no_spec_is_refused():
    texts = ["", "{", b"\xff\xfe\xfd", "[]", "null", "3", '"spec"', "{}", '{"recipe": 3}']
    for text in (*texts, "[" * 100_000):
        with pytest.raises(SpecError):
            TrialSpec.from_json(text)
    for number in ("NaN", "Infinity", "1e999"):
        text = SPEC.to_json().replace('"learning_rate":0.025', f'"learning_rate":{number}')
        with pytest.raises(SpecError, match="learning_rate"):
            TrialSpec.from_json(text)
