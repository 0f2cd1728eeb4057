import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.yaml_reader import MAX_BYTES, parse_value, read_document
from results_schema.errors import ConfigError


def refused(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.yaml:1: the file is empty"),
        ("# only a comment\n", "x.yaml:1: the file is empty"),
        ("- a\n- b\n", "x.yaml:1: the file holds ['a', 'b'], not keys and values"),
        ("just text", "x.yaml:1: the file holds 'just text', not keys and values"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not YAML"),
        ("a:\n\tb: 2\n", "indent with spaces, not tabs"),
        ("a: 1\nb: [1, 2\n\n", "x.yaml:4: not YAML: while parsing a flow sequence"),
        ("a: 1\nb: 'x\n", "(it starts in line 2)"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: not YAML: expected a single document in the stream"),
        ("a: 1\nb: 2\n\na: 3\n", "x.yaml:4: a is given twice, first in line 1"),
        ("g: {s: 1, s: 1}\n", "x.yaml:1: g.s is given twice, first in line 1"),
        ("a: 1\n1: b\n", "x.yaml:2: a key is '1', not text"),
        ("a: {null: b}\n", "x.yaml:1: a: a key is 'null', not text"),
        ("? [a]\n: b\n", "a key is composite, not text"),
        ('"\\ud800": b\n', r"a key is '\ud800', not text"),
        ('a: "\\ud800"\n', r"x.yaml:1: a: '\ud800' cannot be read as str"),
        (
            "a: 1\nb: !!python/object/apply:os.system [ls]\n",
            "x.yaml:2: b: tag tag:yaml.org,2002:py",
        ),
        ("a: !secret x\n", "x.yaml:1: a: tag !secret is not allowed"),
        ("a: !!set {b}\n", "is not allowed"),
        ("a: !!binary aGk=\n", "is not allowed"),
        ("a: !!int two\n", "x.yaml:1: a: 'two' cannot be read as int"),
        ("a: !!bool maybe\n", "cannot be read as bool"),
        ("a: 010\n", "x.yaml:1: a: '010' cannot be read as int"),
        (f"a: {10**30}\n", "cannot be read as int"),
        ("a: 0x" + "f" * 10_000, "cannot be read as int"),
        ("a: *nowhere\n", "x.yaml:1: not YAML: found undefined alias"),
        ("a: &a [*a]\n", "nested more than 20 deep"),
        ("a: " + "[" * 100_000, "nested more than 20 deep"),
        ("%YAML 9.0\n---\na: 1\n", "x.yaml:1: not YAML: found incompatible YAML document"),
        ("a: 1\nb: \x00\n", r"x.yaml:2: not YAML: character '\x00' is not allowed"),
        (b"a: 1\nb: caf\xe9\n", "x.yaml:2: byte 0xe9 is not UTF-8"),
        (bytes(range(256)), "x.yaml:2: byte 0x80 is not UTF-8"),
        ("a: 1\n".encode("utf-16"), "is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "x.yaml: the file is too large\n  stay within 500,000 bytes"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(write, content, message):
    assert message in refused(write(content))


def test_files_that_cannot_be_read_are_named(write, tmp_path):
    write("a: 1\n", "fig9.yaml")
    assert refused("fig8.yaml") == "fig8.yaml: there is no such file\n  did you mean fig9.yaml?"
    assert refused(".") == ".: this is a folder\n  name a YAML file in it"
    assert "there is no such file" in refused("no/such/folder/x.yaml")
    assert "there is no such file" in refused("a\0b")
    assert "cannot be read: File name too long" in refused("x" * 5000)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert refused("loop.yaml").startswith("loop.yaml: ")


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert read_document(write(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")).data == {"a": 1, "b": 2}


INDICATORS = [*"-?:,[]{}#&*!|>'\"%@`\\=~\t\n\r ", "- ", ": ", "? ", "\n  ", "|2", "<<: ", "!<"]
TAGGED = [
    "!!int ",
    "!!float 1:2",
    "!t ",
    "&x ",
    "*x",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "%TAG ! x\n",
]
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
