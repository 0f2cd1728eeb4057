import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import CorruptData, SpecError
from workers.program import state as states

CPU = torch.device("cpu")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), NESTED, max_size=4))
def test_plain_values_come_back_with_their_types(state: dict):
    found, _ = states.decode(states.encode(state, CPU), "key")
    assert found == state
    assert repr(found) == repr(state)


def test_an_optimizers_state_comes_back_and_is_a_copy():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    shared = torch.arange(6.0).view(2, 3)
    state = {"o": optimizer.state_dict(), "m": model.state_dict(), "a": shared, "b": shared.T}
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    encoded = states.encode(state, CPU)
    optimizer.step()
    found, _ = states.decode(encoded, "key")
    assert all(torch.equal(found["m"][name], expected[name]) for name in expected)
    assert found["o"]["param_groups"] == state["o"]["param_groups"]
    assert torch.equal(found["b"], torch.arange(6.0).view(2, 3).T)
    optimizer.load_state_dict(found["o"])
    assert math.isnan(states.decode(states.encode({"x": math.nan}, CPU), "key")[0]["x"])


def test_draws_continue_after_a_commit_as_if_nothing_had_happened():
    states.seed_generators(2**63 - 1)
    np.random.normal()
    encoded = states.encode({}, CPU)
    expected = random.random(), np.random.normal(), torch.rand(3)
    states.seed_generators(1)
    states.restore_generators(states.decode(encoded, "key")[1], CPU)
    assert (random.random(), np.random.normal()) == expected[:2]
    assert torch.equal(torch.rand(3), expected[2])


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ([], "the committed state is a list"),
        ({"a": {"b": [object()]}}, "state['a']['b'][0] is a builtins.object"),
        ({"f": CPU}, "state['f'] is a torch.device"),
        ({(1, 2): 1}, "state has the key (1, 2)"),
    ],
)
def test_what_is_neither_tensor_nor_plain_is_named(state: dict, named: str):
    with pytest.raises(SpecError, match=r"commit|use") as caught:
        states.encode(state, CPU)
    assert caught.value.what == named


@pytest.mark.parametrize(
    "text", ["", "[]", "[1, 2]", '[{"d": [[1]]}, {"d": []}]', '[{"t": "9"}, {"d": []}]', "[[1],{}]"]
)
def test_a_structure_that_others_wrote_is_damage(text: str):
    structure = torch.tensor(list(text.encode()), dtype=torch.uint8)
    with pytest.raises(CorruptData):
        states.decode({"structure": structure}, "key")
