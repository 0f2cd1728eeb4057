import pytest

from orchestrator.config.documents import Document, Place, Problem, report
from orchestrator.config.yaml_reader import parse_value, read_document
from results_schema.errors import ConfigError


def test_an_override_replaces_a_value_and_its_places(write):
    document = read_document(write("a: {b: [1, 2, 3], c: 4}\nd: 5\n"))
    changed = document.override(("a", "b"), parse_value("[9]", "--set a.b=[9]"))
    assert changed.data == {"a": {"b": [9], "c": 4}, "d": 5}
    assert str(changed.place(("a", "b", 0))) == "--set a.b=[9]"
    assert str(changed.place(("a", "b", 2))) == "--set a.b=[9]"
    assert str(changed.place(("a", "c"))) == "x.yaml:1"
    assert str(changed.place(("a",))) == "x.yaml:1"
    assert document.data == {"a": {"b": [1, 2, 3], "c": 4}, "d": 5}


def test_an_override_may_add_a_mapping_that_the_file_leaves_out(write):
    changed = read_document(write("a: 1\n")).override(("n", "m"), parse_value("2", "--set"))
    assert changed.data == {"a": 1, "n": {"m": 2}}
    assert str(changed.place(("n",))) == "--set"


def test_an_override_cannot_lead_through_a_list(write):
    document = read_document(write("a: {b: [1, 2]}\n"))
    with pytest.raises(ConfigError) as caught:
        document.override(("a", "b", "0"), parse_value("3", "--set a.b.0=3"))
    assert str(caught.value) == (
        "--set a.b.0=3: a.b.0 cannot be set: a.b is [1, 2]\n  set a.b as a whole"
    )


def test_a_part_keeps_its_places(write):
    part = read_document(write("a:\n  b:\n    - 1\n")).part(("a", "b"))
    assert part == Document([1], {(): Place("x.yaml", 2), (0,): Place("x.yaml", 3)})


def test_a_report_tells_problems_in_the_order_of_their_lines_and_ends_somewhere():
    problems = [Problem(Place("x.yaml", line), "bad", "mend it") for line in (30, 4)]
    assert str(report(problems)) == "x.yaml:4: bad\n  mend it\nx.yaml:30: bad\n  mend it"
    many = str(report(Problem(Place("x.yaml", line), "bad") for line in range(1, 51)))
    assert many.count("bad") == 20
    assert many.endswith("and 30 problems more")
