import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import NAMES, named
from workers.cells.notation import parse_genotype, parse_text
from workers.cells.sampling import sample_connections

DARTS_TEXT = """
DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
    ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0),
    ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],  # second order
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
    ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
    reduce_concat=range(2, 6))
"""


def darts(**changes: Any) -> dict[str, Any]:
    pairs = [["skip_connect", 0], ["sep_conv_3x3", 1], ["skip_connect", 2], ["skip_connect", 0]]
    plain = {"normal": pairs, "normal_concat": [2, 3], "reduce": pairs, "reduce_concat": [3]}
    return plain | changes


def in_darts_notation(genotype: Genotype) -> dict[str, Any]:
    parts = {"normal": genotype.normal, "reduce": genotype.reduce}
    edges = {n: [[e.op, e.source] for edges in c.nodes for e in edges] for n, c in parts.items()}
    return edges | {f"{name}_concat": list(cell.concat) for name, cell in parts.items()}


def trial_id(genotype: Genotype) -> str:
    return TrialSpec(genotype, "digits", 1, NetworkSpec(), Recipe(), 0.025, 0).trial_id


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_every_notation_names_the_same_trial(name: str, seed: int):
    genotype = sample_connections(named(name), seed)
    own, flat = genotype.to_json(), in_darts_notation(genotype)
    text = f"Genotype({', '.join(f'{key}={value!r}' for key, value in flat.items())})"
    triples = dict(flat)
    for part, cell in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        triples[part] = [[e.op, i, e.source] for i, es in enumerate(cell.nodes, 2) for e in es]
    for read in (
        parse_genotype(json.loads(json.dumps(own))),
        parse_genotype(flat),
        parse_genotype(triples),
        parse_text(text),
    ):
        assert read == genotype
        assert trial_id(read) == trial_id(genotype)


@pytest.mark.parametrize(
    "change",
    [
        *(("", ""), ("DARTS_V2 = ", ""), ("DARTS_V2 = Genotype", "genotypes.Genotype")),
        *(("normal=", ""), ("range(2, 6)", "list(range(2, 6))"), ("range(2, 6)", "(2, 3, 4, 5)")),
    ],
)
def test_python_text_in_its_common_forms(change: tuple[str, str]):
    assert parse_text(DARTS_TEXT.replace(*change)) == named("DARTS")


@pytest.mark.parametrize(
    "text",
    [
        *("", "Genotype(", "import os", "Genotype", "print(1)", "Genotype()", "\0", "(" * 5000),
        "Genotype(1, 2, 3, 4, 5)",
        "Genotype(normal=[], normal=[], reduce=[], reduce_concat=[])",
        "Genotype(*x)",
        "Genotype(**{'normal': []})",
        "a = Genotype(); b = 1",
        DARTS_TEXT + DARTS_TEXT,
        *(
            DARTS_TEXT.replace("range(2, 6)", wrong)
            for wrong in (
                *("range(2, 10**9)", "range(2, 99999999999999999999999)", "range('a')"),
                *("open('made', 'w')", "[int(2)]", "{2: 3}", "{[]}", "f'{1}'"),
                *("0x" + "f" * 5000, "[0x" + "f" * 5000 + "]"),
            )
        ),
    ],
)
def test_other_text_is_refused_and_never_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        parse_text(text)
    assert len(str(caught.value)) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            darts(normal=[["sep_conv_9x9", 0], ["skip_connect", 1]], normal_concat=[2]),
            "(?s)normal cell, node 2, edge 0.*mean sep_conv_.*use one of max_pool_3x3.*plug-in",
        ),
        (
            darts(reduce=[["skip_connect", 0], ["skip_connect", 2]]),
            "(?s)reduce cell, node 2, edge 1.*use a node from 0 to 1",
        ),
        (darts(normal=[["skip_connect", 0]]), "normal cell: 1 edges do not make two to a node"),
        (darts(normal=[["skip_connect", 0, 0], ["skip_connect", 2, 0]]), "no intermediate node"),
        (darts(normal=[["skip_connect", 2, 0], ["skip_connect", 0]]), "edge 1 of the list"),
        (darts(normal=[["skip_connect", 10**9, 0]]), "from 2 to 101"),
        (darts(normal=[["skip_connect", 10**99, 0]]), "a number beyond any node"),
        (darts(normal=[["skip_connect", True], ["skip_connect", 1]]), "source True"),
        (darts(normal=["ab", "cd"]), r"node 2, edge 0: an edge is \[operation, source\], not 'ab'"),
        (darts(normal="skip"), "normal cell: not a list but 'skip'"),
        (darts(normal=[]), "at least one intermediate node"),
        (darts(normal=[["skip_connect", 0]] * 2000), "use at most 100"),
        (darts(normal=[["skip_connect", 0]] * 20000), "more than cells need"),
        (darts(normal_concat=[2, 2]), "repeats a node"),
        (darts(normal_concat=[2, 9]), "(?s)normal cell: concat names 9.*nodes from 2 to 3"),
        (darts(normal_concat=None), "normal cell: concat is None"),
        ({"normal": []}, "use the keys normal, normal_concat"),
        ({"normal": 1, "reduce": 2}, "normal cell: a cell is a mapping of nodes and concat, not 1"),
        ({"normal": {"nodes": [1], "concat": []}, "reduce": {}}, "normal cell: node 2 is 1"),
        (
            {part: {"nodes": [[]], "concat": [2]} for part in ("normal", "reduce")},
            "normal cell: no path leads from an input",
        ),
        (
            {part: {"nodes": [[]] * 101, "concat": [2]} for part in ("normal", "reduce")},
            "normal cell: 101 intermediate nodes",
        ),
        ([1, 2], r"a genotype is a mapping, not \[1, 2\]"),
        ({}, "no genotype with the keys"),
    ],
)
def test_a_bad_genotype_gets_an_error_that_says_where_and_what_is_allowed(data: Any, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        parse_genotype(data)
    assert len(str(caught.value)) < 1000


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["normal", "normal_concat", "reduce", "reduce_concat"]), ODD)
def test_any_odd_part_of_the_darts_notation_is_a_spec_error(part: str, odd: Any):
    with pytest.raises(SpecError):
        parse_genotype(darts(**{part: odd}))


@given(ODD, ODD)
def test_any_odd_cell_of_our_own_form_is_a_spec_error(nodes: Any, concat: Any):
    with pytest.raises(SpecError):
        parse_genotype({part: {"nodes": nodes, "concat": concat} for part in ("normal", "reduce")})


def test_nodes_of_any_number_of_edges():
    edges = [["skip_connect", 2, 0], ["skip_connect", 4, 1], ["max_pool_3x3", 4, 2]]
    edges.append(["sep_conv_3x3", 4, 0])
    genotype = parse_genotype(darts(normal=edges, normal_concat=[2, 4, 5]))
    assert [len(node) for node in genotype.normal.nodes] == [1, 0, 3, 0]
