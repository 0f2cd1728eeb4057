"""`nas-sweep report`, and what a launch ends with: gathers everything and writes the page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from orchestrator.config.record import read_declared
from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.status import StatusReader
from orchestrator.paper.claims import Finding, findings
from orchestrator.paper.claims.claim import FAILED
from orchestrator.report import contents, page
from orchestrator.report.claims import told
from orchestrator.report.exhibits import Exhibit, make_exhibits
from orchestrator.report.page import INDEX
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results
from results_schema.store import Store, existing_store

LONGEST_NAME = 60


def report(
    names: Sequence[str],
    location: str,
    *,
    to: str | None,
    single: bool,
    pictures: Sequence[str],
) -> int:
    """Draws experiments anew from a store and writes their report.

    Args:
        names: Of experiments, or their files; all of the store if there are none.
        location: The store's folder.
        to: A folder, or with `single` a file; None for a place in the store.
        single: Whether to write one file that holds everything.
        pictures: Of each figure: png, svg, pdf.

    Returns:
        The exit code: 1 if a figure, table or claim ended in an unexpected error.

    Raises:
        ConfigError: An experiment is not in the store, the store has none, the place is taken by
            something else, or a single file is to hold other pictures than PNG.
    """
    from orchestrator.figures.export import Browser

    if single and (others := [picture for picture in pictures if picture != "png"]):
        raise ConfigError(
            f"a single file holds no {', '.join(others).upper()}",
            where="--picture",
            fix="leave out --single, or --picture",
        )
    store = existing_store(location)
    found = lookup.find_experiments(store, names)
    if not found:
        raise ConfigError(
            "the store has no experiment to report", where=location, fix="launch one first"
        )
    results = Results(store)
    exhibits: list[Exhibit] = []
    with Browser() as browser:
        for name in found:
            exhibits += make_exhibits(results, read_declared(store, name), browser, pictures)
    written = write_report(store, found, exhibits, to=to, single=single)
    console = Console(soft_wrap=True)
    for failure in written.failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False)
    console.print(f"report: {written.place}", markup=False, highlight=False)
    return 1 if written.failures else 0


class Written(NamedTuple):
    """A report.

    Attributes:
        place: Of its page.
        failures: The figures, tables and claims in it that ended in an unexpected error.
    """

    place: str
    failures: list[str]


def write_report(
    store: Store,
    names: Sequence[str],
    exhibits: Sequence[Exhibit],
    *,
    to: str | None = None,
    single: bool = False,
) -> Written:
    """Write the report of some experiments.

    Args:
        store: Their store.
        names: Of the experiments.
        exhibits: Their figures and tables, already made.
        to: As for `report`.
        single: As for `report`.
    """
    inside = store.locate(layout.report(report_name(names), INDEX))
    target = Path(inside) if to is None else Path(to) if single else Path(to) / INDEX
    found = findings(Results(store), names)
    failures = [f"{one.name}: {one.problem}" for one in exhibits if one.failed]
    failures += [f"{one.claim}: {one.reading}" for one in found if one.verdict == FAILED]
    gathered = _gather(store, names, exhibits, found, target.parent)
    files = {target.name: page.to_one_file(gathered)} if single else page.to_files(gathered)
    if to is None:
        for name, data in files.items():
            store.put(layout.report(report_name(names), name), data)
        return Written(inside, failures)
    _write(target.parent, files)
    return Written(str(target), failures)


def report_name(names: Sequence[str]) -> str:
    """The experiments' names; of many the first, and what tells them from others that begin so."""
    joined = "+".join(names)
    if len(joined) <= LONGEST_NAME or len(names) == 1:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:8]
    return f"{names[0]}+{len(names) - 1}-more-{digest}"


def _gather(
    store: Store,
    names: Sequence[str],
    exhibits: Sequence[Exhibit],
    found: Sequence[Finding],
    folder: Path,
) -> page.Contents:
    declared = [read_declared(store, name) for name in names]
    results, status = Results(store), StatusReader(store).read(names)
    return page.Contents(
        title=declared[0].title if len(declared) == 1 else f"Report of {len(declared)} experiments",
        runs=contents.runs(results, declared, status, folder),
        exhibits=exhibits,
        failures=contents.failures(status, folder),
        environments=contents.environments(results, names),
        claims=told(found),
        store=store.location,
    )


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
