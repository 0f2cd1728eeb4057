"""`nas-sweep report`, and what a launch ends with: gathers everything and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from orchestrator import lookup
from orchestrator.claims import findings
from orchestrator.declared import Declared, read_declared
from orchestrator.exhibits import Exhibit, make_exhibits
from orchestrator.report import contents, page
from orchestrator.report.claims import told
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results

LONGEST_NAME = 60
INDEX = "index.html"


def report(
    names: Sequence[str],
    location: str,
    *,
    to: str | None,
    single: bool,
    formats: Sequence[str],
) -> None:
    """Draws experiments anew from a store and writes their report.

    Args:
        names: Of experiments, or their files; all of the store if there are none.
        location: The store's folder.
        to: A folder, or with `single` a file; None for a place in the store.
        single: Whether to write one file that holds everything.
        formats: Of the figures' files, some of `figures.export.FORMATS`.

    Raises:
        ConfigError: An experiment is not in the store, the store has none, or the place is taken
            by something else.
    """
    from orchestrator.figures.browser import Browser

    store = lookup.existing_store(location)
    found = lookup.find_experiments(store, names)
    if not found:
        raise ConfigError(
            "the store has no experiment to report", where=location, fix="launch one first"
        )
    results = Results(store)
    exhibits: list[Exhibit] = []
    with Browser() as browser:
        for name in found:
            exhibits += make_exhibits(results, read_declared(store, name), browser, formats)
    place = write_report(results, found, exhibits, to=to, single=single)
    Console(soft_wrap=True).print(f"report: {place}", markup=False, highlight=False)


def write_report(
    results: Results,
    names: Sequence[str],
    exhibits: Sequence[Exhibit],
    *,
    to: str | None = None,
    single: bool = False,
) -> Path:
    """Writes the report of some experiments; returns the page's file.

    Args:
        results: The store.
        names: Of the experiments.
        exhibits: Their figures and tables, already made.
        to: As for `report`.
        single: As for `report`.
    """
    declared = [read_declared(results.store, name) for name in names]
    title = report_name(names)
    if to is not None:
        target = Path(to) if single else Path(to) / INDEX
        _write(target, _gather(results, declared, exhibits, title, target.parent), single)
        return target
    key = layout.report(title, INDEX)
    target = Path(str(results.store.locate(key)))
    all_of_it = _gather(results, declared, exhibits, title, target.parent)
    files = {INDEX: page.to_one_file(all_of_it)} if single else page.to_files(all_of_it)
    for file, data in files.items():
        results.store.put(layout.report(title, file), data)
    return target


def report_name(names: Sequence[str]) -> str:
    """The experiments' names, or the first and how many more there are."""
    joined = "+".join(names)
    return joined if len(joined) <= LONGEST_NAME else f"{names[0]}+{len(names) - 1}-more"


def _gather(
    results: Results,
    declared: Sequence[Declared],
    exhibits: Sequence[Exhibit],
    title: str,
    folder: Path,
) -> page.Contents:
    names = [one.name for one in declared]
    status = contents.look(results, names)
    return page.Contents(
        title=declared[0].title if len(declared) == 1 else f"Report of {len(declared)} experiments",
        runs=contents.runs(results, declared, status, folder),
        exhibits=exhibits,
        failures=contents.failures(status, folder),
        environments=contents.environments(results, names),
        claims=told(findings(results, names)),
        store=location(results),
    )


def location(results: Results) -> str:
    """Where the store lies, as a person finds it."""
    return str(Path(str(results.store.locate(layout.METRICS + "x"))).parent.parent)


def _write(target: Path, all_of_it: page.Contents, single: bool) -> None:
    one = {target.name: page.to_one_file(all_of_it)} if single else {}
    files = one or page.to_files(all_of_it)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (target.parent / name).write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"cannot write the report: {error.strerror}",
            where=str(target),
            fix="name another place with --to",
        ) from error
