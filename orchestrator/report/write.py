"""Write the report of some experiments, into their store or elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.config.record import read_declared
from orchestrator.housekeeping import lookup
from orchestrator.paper.claims import findings
from orchestrator.paper.claims.claim import FAILED
from orchestrator.report.contents import gather
from orchestrator.report.exhibits import Exhibit, make_exhibits
from orchestrator.report.page import INDEX, to_files, to_one_file
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results
from results_schema.store import Store

_LONGEST_NAME = 60


class Written(NamedTuple):
    """A report that was written.

    Attributes:
        place: Where its page is.
        failures: The figures, tables and claims that ended in an unexpected error, with the error.
    """

    place: str
    failures: list[str]


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
    from orchestrator.figures.export import Browser

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
    results = Results(store)
    exhibits: list[Exhibit] = []
    with Browser() as browser:
        for name in found:
            exhibits += make_exhibits(results, read_declared(store, name), browser, pictures)
    return write_report(store, found, exhibits, to=to, single=single)


def write_report(
    store: Store,
    names: Sequence[str],
    exhibits: Sequence[Exhibit],
    *,
    to: Path | None = None,
    single: bool = False,
) -> Written:
    """Write the report of some experiments with their figures and tables.

    It goes into the store, or to a folder; or with `single` into one file that holds everything.

    Raises:
        ConfigError: The place can't be written.
    """
    inside = store.locate(layout.report(report_name(names), INDEX))
    target = Path(inside) if to is None else to if single else to / INDEX
    found = findings(Results(store), names)
    failures = [f"{one.name}: {one.problem}" for one in exhibits if one.failed]
    failures += [f"{one.claim}: {one.reading}" for one in found if one.verdict == FAILED]
    contents = gather(store, names, exhibits, found, target.parent)
    files = {target.name: to_one_file(contents)} if single else to_files(contents)
    if to is not None:
        _write(target.parent, files)
        return Written(str(target), failures)
    for name, data in files.items():
        store.put(layout.report(report_name(names), name), data)
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
