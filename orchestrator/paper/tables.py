"""The paper's tables, each number beside the one that an experiment has.

Nothing here imports pandas before a table is made, so that the checks of an experiment can name
the kinds of tables at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.config.registry import TABLE_KINDS, load_entry

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.output.sheet import Sheet

FORMATS = ("md", "csv", "tex")


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
        sheet: To be read.
        records: The same numbers as plain data, a record for each number of the paper.
    """

    sheet: Sheet
    records: Sequence[Mapping[str, Any]]

    def text(self, suffix: str) -> str:
        """The table in one of `FORMATS`: Markdown, CSV or LaTeX."""
        from orchestrator.output.sheet import to_csv, to_latex, to_markdown

        if suffix == "csv":
            return to_csv(self.records) + "\n"
        return {"md": to_markdown, "tex": to_latex}[suffix](self.sheet) + "\n"


def make(kind: str, table: Callable[[str], pd.DataFrame]) -> Table:
    """The table of one kind.

    Args:
        kind: A key of `TABLE_KINDS`.
        table: Gives a table of the store by its name, for one experiment.

    Raises:
        ConfigError: The experiment has nothing that the table could show.
    """
    found = TABLE_KINDS[kind]
    entries = load_entry(found.data)(table(found.source))
    return Table(load_entry(found.layout)(entries), [entry.record() for entry in entries])
