"""The widest and the narrowest linear cell."""

import pandas as pd
import pytest

from orchestrator.figures import draw, read_choice
from orchestrator.paper.theory_cells import theory_cells_data


@pytest.mark.parametrize("nodes", [2, 3, 9])
def test_one_cell_is_the_widest_and_the_other_the_narrowest(nodes):
    wide, narrow = theory_cells_data(nodes=nodes)
    assert (wide.width, wide.depth) == (nodes, 2)
    assert (narrow.width, narrow.depth) == (1, nodes + 1)
    for cell in (wide, narrow):
        z = nodes + 1
        into = {(e.source, e.target) for e in cell.edges}
        assert {(i, z) for i in range(1, z)} < into
        assert [e.op for e in cell.edges if e.op.startswith("W")][:2] == ["W⁽¹⁾", "W⁽²⁾"]
    assert [e.source for e in wide.edges[:nodes]] == [0] * nodes
    assert [(e.source, e.target) for e in narrow.edges[:nodes]] == [
        (i, i + 1) for i in range(nodes)
    ]


def test_it_is_drawn_without_any_table():
    def table(name: str) -> pd.DataFrame:
        raise AssertionError(name)

    figure = draw(read_choice({"kind": "theory_cells", "nodes": 4}), table, "The theory's cells")
    said = [note["text"] for note in figure.to_dict()["layout"]["annotations"]]
    assert {"W⁽⁴⁾", "Case I, widest (4c, 2)", "Case II, narrowest (1c, 5)"} <= set(said)
    nodes = next(t for t in figure.to_dict()["data"] if "markers" in t["mode"])
    assert {"x", "y⁽¹⁾", "y\u0302⁽⁴⁾", "z\u0302", "l"} <= set(nodes["text"])
