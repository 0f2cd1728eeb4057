import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.documents import dotted
from orchestrator.config.yaml_reader import parse_value, read_document
from results_schema.errors import ConfigError


def test_every_value_knows_its_line(write):
    document = read_document(
        write("# note\na: 1\nb:\n  - x\n  - {c: 2}\n\nd: >-\n  long\n  text\n")
    )
    assert document.data == {"a": 1, "b": ["x", {"c": 2}], "d": "long text"}
    assert {dotted(path): place.line for path, place in document.places.items()} == {
        "": 1,
        "a": 2,
        "b": 3,
        "b[0]": 4,
        "b[1]": 5,
        "b[1].c": 5,
        "d": 7,
    }
    assert str(document.place(("b", 1, "c"))) == "x.yaml:5"
    assert str(document.place(("b", 1, "missing", "too"))) == "x.yaml:5"
    assert str(document.place(("missing",))) == "x.yaml:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("600", 600),
        ("-3", -3),
        ("1_000", 1000),
        ("0x10", 16),
        ("2.5e-2", 0.025),
        ("1e-3", 0.001),
        (".inf", float("inf")),
        ("'600'", "600"),
        ("true", True),
        ("null", None),
        ("", None),
        ("~", None),
        # YAML 1.1 made these false, 90, a date and a merge.
        ("no", "no"),
        ("1:30", "1:30"),
        ("2020-04-26", "2020-04-26"),
        ("{<<: 1}", {"<<": 1}),
        ("%YAML 1.1\n---\nno", "no"),
        ("[&a x, *a]", ["x", "x"]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    parsed = parse_value(text, "--set").data
    assert parsed == value
    assert type(parsed) is type(value)


def test_all_repeated_keys_and_tags_are_told_at_once(write):
    with pytest.raises(ConfigError) as caught:
        read_document(write("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n"))
    places = [line for line in str(caught.value).splitlines() if line.startswith("x.yaml")]
    assert [place.split(":")[1] for place in places] == ["2", "3", "4"]


def test_an_alias_bomb_is_refused_before_it_unfolds():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 15)]
    with pytest.raises(ConfigError, match="more than 10,000 keys and values"):
        parse_value("\n".join(lines), "bomb")


@pytest.mark.parametrize("each", ["1", "{k: 1}"])
def test_keys_count_as_values_do(each: str):
    nodes = 3 if "k" in each else 1
    fit = (10_000 - 3) // nodes  # beside the document, its one key and the list
    assert len(parse_value("a: [" + ", ".join([each] * fit) + "]", "x").data["a"]) == fit
    with pytest.raises(ConfigError, match="more than 10,000 keys and values"):
        parse_value("a: [" + ", ".join([each] * (fit + 1)) + "]", "x")


def test_an_anchor_used_twice_is_no_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert parse_value("{a: &x 1, b: &x 2, c: *x}", "x").data == {"a": 1, "b": 2, "c": 2}
    assert not caught


words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


@given(trees)
def test_json_is_read_as_json(tree):
    assert parse_value(json.dumps(tree, ensure_ascii=False), "--set").data == tree
