"""Words for lengths of time."""

from orchestrator.words import cores, span


def test_spans_read_well():
    lengths = (0.4, 90, 600, 7200, 86400 * 3, 86400 * 800)
    assert [span(s) for s in lengths] == ["0 s", "90 s", "10 min", "2.0 h", "3.0 days", "2.2 years"]


def test_there_is_a_core():
    assert cores() >= 1
