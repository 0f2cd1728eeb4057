"""The paper's claims as far as the store's results tell."""

from __future__ import annotations

from typing import Any

from dash import html

from results_schema.errors import NasSweepError
from results_schema.results import Results
from results_schema.store import Store

COLUMNS = {
    "claim": "claim",
    "statement": "the paper says",
    "measure": "measured",
    "data": "data",
    "verdict": "verdict",
    "reading": "reading",
    "p_holm": "p",
    "cells": "cells",
    "trials": "trials",
}
"""Of a finding's record, what is shown, and under which heading."""


def claims_table(store: Store, experiment: str | None) -> Any:
    """A table with a row for each finding; words in its place if nothing can be tested.

    Args:
        store: Whose results.
        experiment: Whose, or None for all.
    """
    from orchestrator.paper.claims import findings

    try:
        found = findings(Results(store), [experiment] if experiment else None)
    except NasSweepError as error:
        return html.P(str(error))
    if not found:
        return html.P("There is nothing to test yet.")
    rows = [html.Tr([html.Td(_text(one.record()[name])) for name in COLUMNS]) for one in found]
    return html.Table(
        [html.Thead(html.Tr([html.Th(head) for head in COLUMNS.values()])), html.Tbody(rows)],
        className="claims",
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
