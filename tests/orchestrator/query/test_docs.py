"""The questions of docs/query.md are answered by a real store."""

import re
from pathlib import Path

import pytest

from orchestrator.query.engine import query

TEXT = (Path(__file__).parents[3] / "docs/query.md").read_text()
[BLOCK] = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
QUESTIONS = [part for part in BLOCK.split(";") if part.strip()]


@pytest.mark.parametrize("sql", QUESTIONS)
def test_a_question_of_the_documentation_is_answered(trained, sql):
    assert query(trained.store, sql).column_names[0] == "base"
