"""Write the report of some experiments, into their store or elsewhere.

It is HTML: a folder of linked files, or one file that holds everything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.config.record import read_declared
from orchestrator.figures import export
from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.status import Status, StatusReader, sound_results
from orchestrator.output.text import duration
from orchestrator.paper.claims import findings
from orchestrator.paper.claims.claim import FAILED
from orchestrator.paper.claims.description import bears_on, lines, summary
from orchestrator.paper.claims.forest import plot_forest
from orchestrator.report.contents import Contents, gather
from orchestrator.report.exhibits import CLAIMS, PLOTLY, Exhibit, make_exhibits, publish_plotly
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results
from results_schema.store import Store

INDEX = "index.html"
_HERE = Path(__file__).parent
_LONGEST_NAME = 60


class Written(NamedTuple):
    """A report that was written."""

    place: str  # where its page is
    failures: list[str]  # figures, tables and claims that ended in an unexpected error, with it
    damage: Sequence[str] = ()  # a line on each trial or surface that is left out as damaged


def make_report(
    store: Store, names: Sequence[str], *, to: Path | None, single: bool, pictures: Sequence[str]
) -> Written:
    """Draw the figures and tables of experiments again and write their report; see `write_report`.

    Experiments are given by name or file; without any, all of the store are reported. `pictures`
    are formats of each figure's pictures: png, svg, pdf.

    Raises:
        ConfigError: An experiment is not in the store, the store has none, the place can't be
            written, or a single file is to hold other pictures than PNG.
    """
    if single and (others := [picture for picture in pictures if picture != "png"]):
        raise ConfigError(
            f"a single file holds no {', '.join(others).upper()}",
            where="--picture",
            fix="leave out --single, or --picture",
        )
    found = lookup.find_experiments(store, names)
    if not found:
        raise ConfigError(
            "the store has no experiment to report", where=store.location, fix="launch one first"
        )
    results, damage = sound_results(store)
    declarations = [read_declared(store, name) for name in found]
    exhibits: list[Exhibit] = []
    with export.Browser() as browser:
        if pictures:
            browser.start()
        for declared in declarations:
            exhibits += make_exhibits(results, declared, browser, pictures)
        status = StatusReader(store).read(found)
        written = write_report(
            results, found, status, exhibits, to=to, single=single, browser=browser
        )
    return written._replace(damage=damage)


def write_report(
    results: Results,
    names: Sequence[str],
    status: Status,
    exhibits: Sequence[Exhibit],
    *,
    to: Path | None = None,
    single: bool = False,
    browser: export.Browser | None = None,
) -> Written:
    """Write the report of some experiments with their figures and tables.

    It goes into the store, or to a folder; or with `single` into one file that holds everything. A
    browser, if given, draws the picture of all claims; without one the figure itself is shown.

    Raises:
        ConfigError: The place can't be written.
    """
    store, folder = results.store, report_name(names)
    inside = store.locate(layout.report(folder, INDEX))
    target = Path(inside) if to is None else to if single else to / INDEX
    found = bears_on(findings(results, names), untested=True)
    failures = [f"{one.name}: {one.problem}" for one in exhibits if one.failed]
    failures += [f"{one.claim}: {one.reading}" for one in found if one.verdict == FAILED]
    drawn, forest = [], plot_forest(found)
    if forest is not None:
        pictures = export.draw_pictures(forest, ["png"], browser)[0] if browser else {}
        drawn = [Exhibit(CLAIMS, "all-claims", "All claims", pictures, forest)]
    contents = gather(results, names, [*exhibits, *drawn], found, status, target.parent)
    if single:
        files = {target.name: to_one_file(contents)}
    elif to is None:  # two folders above are those of figures and of reports
        publish_plotly(store)
        files = to_files(contents, f"../../{layout.PLOTLY}")
    else:
        files = to_files(contents, PLOTLY) | {PLOTLY: export.get_plotlyjs().encode()}
    if to is not None:
        _write(target.parent, files)
        return Written(str(target), failures)
    for name, data in files.items():
        store.put(layout.report(folder, name), data)
    return Written(inside, failures)


def report_name(names: Sequence[str]) -> str:
    """Return the experiments' names joined; of many, the first and a digest of all."""
    joined = "+".join(names)
    if len(joined) <= _LONGEST_NAME or len(names) == 1:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:8]
    return f"{names[0]}+{len(names) - 1}-more-{digest}"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"cannot write the report: {error.strerror}",
            where=str(folder),
            fix="name another place with --to",
        ) from error


@dataclass(frozen=True)
class _Placed:
    """An exhibit with its place in a report."""

    exhibit: Exhibit
    name: str  # of its files and anchors, which no other exhibit of the report has
    picture: str = ""  # address of the picture; empty without one
    page: str = ""  # address of the interactive page; empty if `json` holds the figure
    json: str = ""  # the figure as JSON
    links: dict[str, str] = field(default_factory=dict)  # address of each file, by suffix


def to_files(contents: Contents, plotly: str) -> dict[str, bytes]:
    """Return the files of a report's folder: `index.html`, figures and tables.

    `plotly` is the address of Plotly's script, as seen from the folder.
    """
    files: dict[str, bytes] = {}
    placed = []
    for exhibit, name in zip(contents.exhibits, _names(contents.exhibits), strict=True):
        own = dict(exhibit.files)
        if exhibit.figure is not None:
            own["html"] = exhibit.page(plotly)
        links = {suffix: f"{name}.{suffix}" for suffix in own}
        files |= {links[suffix]: data for suffix, data in own.items()}
        page = links.get("html", "")
        placed.append(_Placed(exhibit, name, links.get("png", ""), page, links=links))
    return files | {INDEX: _render(contents, placed, script="")}


def to_one_file(contents: Contents) -> bytes:
    """Return a page with pictures, figures and Plotly inside it."""
    placed = []
    for exhibit, name in zip(contents.exhibits, _names(contents.exhibits), strict=True):
        png, figure = exhibit.files.get("png"), ""
        if exhibit.figure is not None:
            # Escaped so that no text in it ends the script element around it.
            figure = Markup(exhibit.figure.to_json().replace("<", "\\u003c"))
        picture = f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""
        placed.append(_Placed(exhibit, name, picture, json=figure))
    script = export.get_plotlyjs() if contents.drawn else ""
    return _render(contents, placed, script)


def _names(exhibits: Sequence[Exhibit]) -> list[str]:
    """Return distinct names of files: an exhibit's own, or one behind its experiment's."""
    index = Path(INDEX).stem
    counts = Counter([index, *(exhibit.name for exhibit in exhibits)])
    taken = {index} | {name for name, count in counts.items() if count == 1}
    names = []
    for exhibit in exhibits:
        name = exhibit.name
        if counts[name] > 1:
            name = f"{exhibit.experiment or 'claims'}-{name}"
            while name in taken:
                name += "-again"
            taken.add(name)
        names.append(name)
    return names


def _render(contents: Contents, placed: Sequence[_Placed], script: str) -> bytes:
    templates = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"summary": summary, "lines": lines, "duration": duration}
    exhibits: dict[str, list[_Placed]] = {run.declared.name: [] for run in contents.runs}
    exhibits[CLAIMS] = []
    for one in placed:
        exhibits[one.exhibit.experiment].append(one)
    text = templates.get_template("page.html.jinja").render(
        contents=contents,
        sections=[run for run in contents.runs if run.members or exhibits[run.declared.name]],
        exhibits=exhibits,
        style=Markup((_HERE / "style.css").read_text("utf-8")),
        behaviour=Markup((_HERE / "behaviour.js").read_text("utf-8")),
        config=Markup(json.dumps(export.CONFIG)),
        script=Markup(script),
        made=datetime.now(UTC).strftime("on %Y-%m-%d at %H:%M UTC"),
        release=version("nas-sweep"),
    )
    return text.encode()
