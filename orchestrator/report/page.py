"""A report as HTML: a folder of linked files, or one file that holds everything."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.exhibits import Exhibit
from orchestrator.report.claims import Claims
from orchestrator.report.contents import Environment, Run

HERE = Path(__file__).parent
PLOTLY = "plotly.min.js"


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


@dataclass
class _Shown:
    """An exhibit as the template takes it."""

    name: str
    title: str
    problem: str
    table: bool = False
    sheet: Any = None
    heads: list[list[tuple[str, int]]] = field(default_factory=list)
    drawn: bool = False
    picture: str = ""
    page: str = ""
    json: str = ""
    width: int = 0
    height: int = 0
    links: dict[str, str] = field(default_factory=dict)


def to_files(contents: Contents) -> dict[str, bytes]:
    """The folder: `index.html`, and beside it the figures' and tables' files and plotly."""
    from plotly.offline import get_plotlyjs

    files: dict[str, bytes] = {}
    shown: dict[str, list[_Shown]] = {}
    for exhibit in contents.exhibits:
        one = _basics(exhibit)
        names = {suffix: f"{exhibit.name}.{suffix}" for suffix in exhibit.files}
        files |= {names[suffix]: data for suffix, data in exhibit.files.items()}
        if exhibit.figure is not None:
            one.page = f"{exhibit.name}.html"
            files[one.page] = _linked_page(exhibit.figure)
            one.picture = names.get("png", "")
        one.links = names
        shown.setdefault(exhibit.experiment, []).append(one)
    if any(exhibit.figure is not None for exhibit in contents.exhibits):
        files[PLOTLY] = get_plotlyjs().encode()
    files["index.html"] = _render(contents, shown, script="")
    return files


def to_one_file(contents: Contents) -> bytes:
    """The page with pictures, figures and plotly inside it."""
    from plotly.offline import get_plotlyjs

    shown: dict[str, list[_Shown]] = {}
    for exhibit in contents.exhibits:
        one = _basics(exhibit)
        if exhibit.figure is not None:
            one.json = _embedded(exhibit.figure.to_json())
            if picture := exhibit.files.get("png"):
                one.picture = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        shown.setdefault(exhibit.experiment, []).append(one)
    drawn = any(exhibit.figure is not None for exhibit in contents.exhibits)
    return _render(contents, shown, script=get_plotlyjs() if drawn else "")


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


def _basics(exhibit: Exhibit) -> _Shown:
    one = _Shown(exhibit.name, exhibit.title, exhibit.problem)
    if exhibit.table is not None:
        one.table, one.sheet = True, exhibit.table.sheet
        one.heads = heads(exhibit.table.sheet.columns)
    if exhibit.figure is not None:
        layout = exhibit.figure.layout
        one.drawn, one.width, one.height = True, layout.width or 720, layout.height or 450
    return one


def _linked_page(figure: Any) -> bytes:
    from orchestrator.figures.export import to_page

    return to_page(figure, plotly="directory").encode()


def _embedded(text: str) -> str:
    """JSON that may stand inside a script element: no text in it can end the element."""
    return json.dumps(json.loads(text)).replace("<", "\\u003c")


def _render(contents: Contents, shown: Mapping[str, list[_Shown]], script: str) -> bytes:
    from jinja2 import Environment as Templates
    from jinja2 import FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    templates = Templates(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    for exhibits in shown.values():
        for one in exhibits:
            one.json = Markup(one.json)
    text = templates.get_template("page.html.jinja").render(
        title=contents.title,
        subtitle=", ".join(run.declared.name for run in contents.runs),
        style=Markup((HERE / "style.css").read_text("utf-8")),
        behaviour=Markup((HERE / "behaviour.js").read_text("utf-8")),
        script=Markup(script),
        runs=contents.runs,
        shown=[
            run.declared.name for run in contents.runs if run.members or run.declared.name in shown
        ],
        exhibits={run.declared.name: shown.get(run.declared.name, []) for run in contents.runs},
        failures=contents.failures,
        environments=contents.environments,
        claims=contents.claims,
        reuse=contents.reuse,
        store=contents.store,
        made=datetime.now(UTC).strftime("on %Y-%m-%d at %H:%M UTC"),
        release=version("nas-sweep"),
    )
    return text.encode()
