"""Many cells looked at together are told what each is told alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from results_schema.genotype import INPUTS, Cell, Edge
from workers.cells.drawings import Drawings


@st.composite
def forms(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Edges into each node, some none, some in odd numbers; the output's nodes; a seed."""
    number = st.integers(0, 3) | st.sampled_from([41, 43, 47, 53, 59, 61, 64])
    edges = draw(st.lists(number, min_size=1, max_size=12))
    nodes = st.sampled_from(range(INPUTS, INPUTS + len(edges)))
    return edges, draw(st.lists(nodes, min_size=1, unique=True)), draw(st.integers(0, 2**32 - 1))


@given(forms())
def test_drawings_agree_with_single_cells(form: tuple[list[int], list[int], int]):
    edges, concat, seed = form
    stream = np.random.RandomState(seed)
    drawn = [
        [stream.randint(0, node, size) for node, size in enumerate(edges, start=INPUTS)]
        for _ in range(5)
    ]
    sources = np.array([np.concatenate(nodes) for nodes in drawn], dtype=np.int64)
    many = Drawings(edges, concat, sources)
    edged = [
        tuple(tuple(Edge("skip_connect", int(s)) for s in node) for node in nodes)
        for nodes in drawn
    ]
    cells = [Cell(nodes, tuple(concat)) for nodes in edged]
    assert [set(np.flatnonzero(row)) for row in many.live] == [set(c.live_nodes) for c in cells]
    assert many.widths.tolist() == [cell.width for cell in cells]
    assert many.depths.tolist() == [cell.depth for cell in cells]
    twice = [any(len(set(node.tolist())) < len(node) for node in nodes) for nodes in drawn]
    assert many.repeating.tolist() == twice
    graphs = [[sorted(node.tolist()) for node in nodes] for nodes in drawn]
    same = [[a == b for a in many.patterns] for b in many.patterns]
    assert same == [[a == b for a in graphs] for b in graphs]
    assert [Drawings.of(cell).patterns for cell in cells] == [[p] for p in many.patterns]
