"""Claims on the page: the findings on the store's results, as text."""

from pathlib import Path
from typing import Any

from orchestrator.dash.claims_panel import COLUMNS, claims_table
from orchestrator.paper.claims import findings
from results_schema import layout
from results_schema.results import Results
from results_schema.store import open_store


def rows(table: Any) -> list[list[str]]:
    head, body = table.children
    assert [cell.children for cell in head.children.children] == list(COLUMNS.values())
    return [[cell.children for cell in row.children] for row in body.children]


def test_every_finding_is_a_row(trained):
    found = findings(Results(trained.store), ["small"])
    shown = rows(claims_table(trained.store, "small"))
    assert [row[0] for row in shown] == [one.claim for one in found]
    assert [row[4] for row in shown] == [one.verdict for one in found]
    assert all(isinstance(text, str) for row in shown for text in row)


def test_a_store_without_results_has_no_data_and_no_error(tmp_path: Path):
    shown = rows(claims_table(open_store(tmp_path / "empty"), None))
    assert "no data" in {row[4] for row in shown}


def test_damage_is_told(trained):
    path = trained.store.root / layout.metrics(trained.ids[0])
    path.write_bytes(path.read_bytes()[:-9])
    assert trained.ids[0] in claims_table(trained.store, None).children
