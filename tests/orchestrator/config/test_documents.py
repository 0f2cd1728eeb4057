"""Documents: every value has its place, and text that is not plain YAML is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import documents
from orchestrator.config.documents import (
    MAX_BYTES,
    Place,
    Problem,
    combine,
    dotted,
    parse_value,
    read_document,
)
from results_schema.errors import ConfigError


def refused(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    return str(caught.value)


def test_an_override_replaces_a_value_and_its_places(write):
    document = read_document(write("a: {b: [1, 2, 3], c: 4}\nd: 5\n"))
    changed = document.override(("a", "b"), parse_value("[9]", "--set a.b=[9]"))
    assert changed.data == {"a": {"b": [9], "c": 4}, "d": 5}
    assert str(changed.place(("a", "b", 0))) == "--set a.b=[9]"
    assert str(changed.place(("a", "b", 2))) == "--set a.b=[9]"
    assert str(changed.place(("a", "c"))) == "x.yaml:1"
    assert str(changed.place(("a",))) == "x.yaml:1"
    assert document.data == {"a": {"b": [1, 2, 3], "c": 4}, "d": 5}
    # A part of another file keeps its places.
    changed = parse_value("{}", "--set").override(("x", "y"), document, ("a", "b"))
    assert changed.data == {"x": {"y": [1, 2, 3]}}
    line = Place("x.yaml", 1)
    inner = {("x", "y", n): line for n in range(3)}
    assert changed.places == {(): Place("--set"), ("x",): line, ("x", "y"): line} | inner


def test_a_report_lists_problems_in_the_order_of_their_lines_and_ends_somewhere():
    problems = [Problem(Place("x.yaml", line), "bad", "fix it") for line in (30, 4)]
    assert str(combine(problems)) == "x.yaml:4: bad\n  fix it\nx.yaml:30: bad\n  fix it"
    many = str(combine(Problem(Place("x.yaml", line), "bad") for line in range(1, 51)))
    assert many.count("bad") == 20
    assert many.endswith("and 30 problems more")


def test_every_value_knows_its_line(write):
    document = read_document(
        write("# note\na: 1\nb:\n  - x\n  - {c: 2}\n\nd: >-\n  long\n  text\n")
    )
    assert document.data == {"a": 1, "b": ["x", {"c": 2}], "d": "long text"}
    lines = {"": 1, "a": 2, "b": 3, "b[0]": 4, "b[1]": 5, "b[1].c": 5, "d": 7}
    assert {dotted(path): place.line for path, place in document.places.items()} == lines
    assert str(document.place(("b", 1, "c"))) == "x.yaml:5"
    assert str(document.place(("b", 1, "missing", "too"))) == "x.yaml:5"
    assert str(document.place(("missing",))) == "x.yaml:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("-3", -3), ("1_000", 1000), ("0x10", 16), ("2.5e-2", 0.025), ("1e-3", 0.001)],
        *[(".inf", float("inf")), ("'600'", "600"), ("true", True), ("", None), ("~", None)],
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


def test_an_alias_bomb_is_refused_before_it_unfolds():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 15)]
    with pytest.raises(ConfigError, match="more than 10,000 keys and values"):
        parse_value("\n".join(lines), "bomb")


@pytest.mark.parametrize(("each", "nodes"), [("1", 1), ("{k: 1}", 3)])
def test_keys_count_as_values_do(monkeypatch, each, nodes):
    monkeypatch.setattr(documents, "MAX_VALUES", 100)
    fit = (100 - 3) // nodes  # beside the document, its one key and the list
    assert len(parse_value("a: [" + ", ".join([each] * fit) + "]", "x").data["a"]) == fit
    with pytest.raises(ConfigError, match="more than 100 keys and values"):
        parse_value("a: [" + ", ".join([each] * (fit + 1)) + "]", "x")


def test_an_anchor_used_twice_is_no_warning(recwarn):
    assert parse_value("{a: &x 1, b: &x 2, c: *x}", "x").data == {"a": 1, "b": 2, "c": 2}
    assert not recwarn.list


words = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cc", "Cf"]))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | words
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50)
@given(trees)
def test_json_is_read_as_json(tree):
    assert parse_value(json.dumps(tree, ensure_ascii=False), "--set").data == tree


@pytest.mark.parametrize(
    ("content", "line", "named"),
    [
        ("# only a comment\n", 1, "is empty"),
        ("- a\n- b\n", 1, "['a', 'b'], not keys"),
        ("a: 1\n\tb: 2\n", 2, "indent with spaces"),
        ("a: 1\nb: [1, 2\n\n", 4, "flow sequence"),
        ("a: 1\nb: 'x\n", 3, "(it starts in line 2)"),
        ("a: 1\n---\nb: 2\n", 2, "single document"),
        ("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n", 2, "x.yaml:3: b: tag !x is not allowed"),
        ("a: 1\nb: 2\n\na: 3\n", 4, "a is given twice, first in line 1"),
        ("g: {s: 1, s: 1}\n", 1, "g.s is given twice"),
        ("a: 1\n1: b\n", 2, "'1', not text"),
        ("a: {null: b}\n", 1, "a: a key is 'null'"),
        ("? [a]\n: b\n", 1, "composite"),
        ('"\\ud800": b\n', 1, r"'\ud800', not text"),
        ('a: "\\ud800"\n', 1, r"a: '\ud800'"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "b: tag tag:yaml.org,2002:py"),
        ("a: !secret x\n", 1, "tag !secret"),
        ("a: !!set {b}\n", 1, "set"),
        ("a: !!binary aGk=\n", 1, "binary"),
        ("a: !!int two\n", 1, "'two' cannot be read as int"),
        ("a: 99999999999999999999\n", 1, "read as int\n  use a whole number of at most 64 bits"),
        ("a: !!bool maybe\n", 1, "as bool"),
        ("a: 010\n", 1, "'010'"),
        (f"a: {10**30}\n", 1, "as int"),
        ("a: 0x" + "f" * 10_000, 1, "as int"),
        ("a: *nowhere\n", 1, "undefined alias"),
        ("a: &a [*a]\n", 1, "20 deep"),
        ("a: " + "[" * 100_000, 1, "20 deep"),
        ("\n".join(" " * i + "a:" for i in range(99)), 21, "20 deep"),
        ("%YAML 9.0\n---\na: 1\n", 1, "incompatible YAML"),
        ("a: 1\nb: \x00\n", 2, r"character '\x00'"),
        (b"a: 1\nb: caf\xe9\n", 2, "byte 0xe9 is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), 0, "stay within 500,000 bytes"),
    ],
    ids=range(32),
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(write, content, line, named):
    reported = refused(write(content))
    assert reported.startswith(f"x.yaml:{line}: " if line else "x.yaml: ")
    assert named in reported


def test_files_that_cannot_be_read_are_named(write, tmp_path):
    write("a: 1\n", "m43_notes.yaml")
    assert "did you mean" not in refused("fig9.yaml")
    write("a: 1\n", "fig19.yaml")
    assert refused("fig9.yaml") == "fig9.yaml: there is no such file\n  did you mean fig19.yaml?"
    assert refused(".") == ".: this is a folder\n  name a YAML file in it"
    assert "there is no such file" in refused("no/such/folder/x.yaml")
    assert "there is no such file" in refused("a\0b")
    assert "cannot be read: File name too long" in refused("x" * 5000)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert refused("loop.yaml").startswith("loop.yaml: ")


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert read_document(write(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")).data == {"a": 1, "b": 2}


INDICATORS = [*"-?:,[]{}#&*!|>'\"%@`\\=~\t\n\r ", "- ", ": ", "? ", "\n  ", "|2", "<<: ", "!<"]
TAGGED = ["!!int ", "!!float 1:2", "!t ", "&x ", "*x", "---\n", "...\n", "%YAML 1.1\n"]
TAGGED += ["%TAG ! x\n"]
WORDS = ["a", "1", "0x", "1e5", ".nan", "-_", "null", "é", '"\\ud800"']
UNPRINTABLE = ["\x00", "\x85", "\u2028", "\ufeff", "\ud800"]
fragments = st.sampled_from([*INDICATORS, *TAGGED, *WORDS, *UNPRINTABLE])


@given(st.lists(fragments, max_size=12).map("".join) | st.text(max_size=40))
def test_junk_is_read_or_refused_and_nothing_else(text):
    try:
        parse_value(text, "junk")
    except ConfigError as error:
        assert error.where.startswith("junk")
        str(error).encode()
