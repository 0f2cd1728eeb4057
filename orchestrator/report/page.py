"""A report as HTML: a folder of linked files, or one file that holds everything."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from orchestrator.output.tables import TextTable
from orchestrator.report.claims import Claims
from orchestrator.report.contents import Environment, Run
from orchestrator.report.exhibits import Exhibit

HERE = Path(__file__).parent
PLOTLY, INDEX = "plotly.min.js", "index.html"


@dataclass(frozen=True)
class Contents:
    """All that a report tells.

    Attributes:
        title: Stands above everything.
        runs: What was run, by experiment.
        exhibits: Figures and tables, in the experiments' order.
        failures: As `contents.failures` returns them.
        environments: Where it was run.
        claims: What the results say of the paper's claims.
        store: Where the results lie.
    """

    title: str
    runs: Sequence[Run]
    exhibits: Sequence[Exhibit]
    failures: Sequence[Mapping[str, str]]
    environments: Sequence[Environment]
    claims: Claims
    store: str

    @property
    def reuse(self) -> str:
        """How many trials the experiments share, in a sentence."""
        every = [trial.trial_id for run in self.runs for trial in run.members]
        ids = {run.declared.name: {t.trial_id for t in run.members} for run in self.runs}
        distinct, named = len(set(every)), sum(map(len, ids.values()))
        if named == distinct:
            return f"{distinct} distinct trials."
        return f"{distinct} distinct trials, which the experiments name {named} times in all."


@dataclass(frozen=True)
class _Shown:
    """An exhibit as the template takes it.

    Attributes:
        exhibit: The exhibit.
        name: Of its files and anchors, which no other exhibit has.
        picture: Address of the picture; empty if there is none.
        page: Address of the interactive page; empty if `json` holds the figure.
        json: The figure.
        links: Kind of file, to its address.
    """

    exhibit: Exhibit
    name: str
    picture: str = ""
    page: str = ""
    json: str = ""
    links: dict[str, str] = field(default_factory=dict)

    @property
    def sheet(self) -> TextTable | None:
        """The table; None if it is a figure, or could not be made."""
        return self.exhibit.table and self.exhibit.table.sheet

    @property
    def heads(self) -> list[list[tuple[str, int]]]:
        """Of the table."""
        return heads(self.sheet.columns) if self.sheet else []

    @property
    def drawn(self) -> bool:
        """Whether it is a figure."""
        return self.exhibit.figure is not None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the figure, in pixels."""
        layout = self.exhibit.figure.layout
        return layout.width or 720, layout.height or 450


def to_files(contents: Contents) -> dict[str, bytes]:
    """The folder: `index.html`, and beside it the figures' and tables' files and plotly."""
    from plotly.offline import get_plotlyjs

    from orchestrator.figures.export import to_page

    files: dict[str, bytes] = {}
    shown = []
    for exhibit, name in zip(contents.exhibits, _names(contents.exhibits), strict=True):
        # A page that holds plotly is for those who take it elsewhere.
        own = {suffix: data for suffix, data in exhibit.files.items() if suffix != "html"}
        if exhibit.figure is not None:
            own["html"] = to_page(exhibit.figure, plotly="directory").encode()
            files[PLOTLY] = get_plotlyjs().encode()
        links = {suffix: f"{name}.{suffix}" for suffix in own}
        files |= {links[suffix]: data for suffix, data in own.items()}
        page = links.get("html", "")
        shown.append(_Shown(exhibit, name, links.get("png", ""), page, links=links))
    return files | {INDEX: _render(contents, shown, script="")}


def to_one_file(contents: Contents) -> bytes:
    """The page with pictures, figures and plotly inside it."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    shown = []
    for exhibit, name in zip(contents.exhibits, _names(contents.exhibits), strict=True):
        picture, figure = exhibit.files.get("png"), ""
        if exhibit.figure is not None:
            # No text in it can end the script element that it stands in.
            figure = Markup(exhibit.figure.to_json().replace("<", "\\u003c"))
        data = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else ""
        shown.append(_Shown(exhibit, name, data, json=figure))
    script = get_plotlyjs() if any(one.drawn for one in shown) else ""
    return _render(contents, shown, script)


def _names(exhibits: Sequence[Exhibit]) -> list[str]:
    """Their own names, behind their experiment's where another exhibit or the page has it."""
    names = [exhibit.name for exhibit in exhibits]
    taken = {name for name in names if names.count(name) > 1} | {Path(INDEX).stem}
    return [f"{e.experiment}-{e.name}" if e.name in taken else e.name for e in exhibits]


def heads(columns: Sequence[str]) -> list[list[tuple[str, int]]]:
    """The rows of a table's head, each a list of texts and the columns that they stand over.

    Args:
        columns: Texts of one or two lines; neighbours with the same first line share it.
    """
    pairs = [column.partition("\n") for column in columns]
    if not any(below for _, _, below in pairs):
        return [[(column, 1) for column in columns]]
    above: list[tuple[str, int]] = []
    for text, _, below in pairs:
        if below and above and above[-1][0] == text:
            above[-1] = text, above[-1][1] + 1
        else:
            above.append((text if below else "", 1))
    return [above, [(below or text, 1) for text, _, below in pairs]]


def _render(contents: Contents, shown: Sequence[_Shown], script: str) -> bytes:
    from jinja2 import Environment as Templates
    from jinja2 import FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from orchestrator.figures.export import CONFIG

    templates = Templates(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    of = {run.declared.name: [] for run in contents.runs}
    for one in shown:
        of[one.exhibit.experiment].append(one)
    text = templates.get_template("page.html.jinja").render(
        contents=contents,
        sections=[run for run in contents.runs if run.members or of[run.declared.name]],
        exhibits=of,
        style=Markup((HERE / "style.css").read_text("utf-8")),
        behaviour=Markup((HERE / "behaviour.js").read_text("utf-8")),
        config=Markup(json.dumps(CONFIG)),
        script=Markup(script),
        made=datetime.now(UTC).strftime("on %Y-%m-%d at %H:%M UTC"),
        release=version("nas-sweep"),
    )
    return text.encode()
