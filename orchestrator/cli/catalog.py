"""The commands `experiments` and `plugins`: what comes with nas-sweep, and what is added to it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click
from click import command, option

from orchestrator.cli.options import format_option, names_argument, print_result
from orchestrator.output.tables import TextTable
from results_schema.errors import ConfigError, suggest


@command()
@names_argument
@option("--all", "every", is_flag=True, help="List what is built in too.")
@format_option("json", "csv", "md", "latex")
def plugins(experiments: tuple[str, ...], every: bool, output_format: str) -> None:
    """List what plug-ins add to what experiments may name.

    The plug-ins are those of the experiments' files, or else all that are installed. Their code is
    run.
    """
    from orchestrator.config.assembly import read_experiment
    from orchestrator.config.experiment import find_files, load_plugins
    from results_schema.plugins import BUILT_IN, LOADED, REGISTRIES, installed, load_installed

    for path in find_files(experiments):
        load_plugins(read_experiment(path)[0], path)
    for name in [] if experiments else installed():
        load_installed(name)
    entries = [
        entry
        for kind in sorted(REGISTRIES)
        for entry in REGISTRIES[kind].values()
        if every or entry.origin != BUILT_IN
    ]
    records = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "version": entry.version,
            "origin": entry.origin,
            "digest": LOADED[entry.origin].digest if entry.origin in LOADED else "",
            "path": str(LOADED[entry.origin].path) if entry.origin in LOADED else "",
        }
        for entry in entries
    ]
    columns = ("name", "kind", "version", "origin", "digest")
    rows = [tuple(str(record[column]) for column in columns) for record in records]
    title = "What plug-ins add" if rows else "No plug-in adds anything"
    print_result(output_format, [TextTable(title, columns, rows)], records)


@command()
@option("--copy", metavar="NAME", help="Copy this one, to start from.")
@option("--schema", is_flag=True, help="Print the JSON Schema of experiments, for editors.")
@option("--to", default=".", metavar="FOLDER", help="Folder for the copy.")
@format_option("json", "csv", "md", "latex")
def experiments(copy: str | None, to: str, schema: bool, output_format: str) -> None:
    """List the experiments that come with nas-sweep."""
    from orchestrator.config import packaged
    from orchestrator.config.assembly import read_experiment

    if schema:
        from orchestrator.config.schema import experiment_schema

        click.echo(json.dumps(experiment_schema(), indent=1, ensure_ascii=False))
        return
    known = packaged.packaged()
    if copy is not None:
        if copy not in known:
            raise ConfigError(f"no experiment is called {copy!r}", fix=suggest(copy, known))
        for file in _copy(known[copy], Path(to)):
            click.echo(file)
        return
    records = []
    for name in known:
        document, files = read_experiment(known[name])
        folder = known[name].parent.name if known[name].parent != packaged.folder() else ""
        title = " ".join(str(document.data.get("title", "")).split())
        extends = files[1].stem if len(files) > 1 else ""
        records.append({"name": name, "folder": folder, "extends": extends, "title": title})
    rows = [tuple(record.values()) for record in records]
    columns = ("name", "folder", "extends", "title")
    table = TextTable("Packaged experiments", columns, rows, left=(1, 2, 3))
    print_result(output_format, [table], records)


def _copy(file: Path, to: Path) -> list[Path]:
    """Copy an experiment's file and those that it extends, with the same paths between them."""
    from orchestrator.config.assembly import read_experiment

    files = [one.resolve() for one in read_experiment(file)[1]]
    root = Path(os.path.commonpath([one.parent for one in files]))
    copies = {one: to / one.relative_to(root) for one in files}
    for copied in copies.values():
        if copied.exists():
            what = "there is a file of this name"
            raise ConfigError(what, where=str(copied), fix="use --to with another folder")
    try:
        for one, copied in copies.items():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one, copied)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), where=str(to)) from error
    return [*copies.values()]


COMMANDS = (experiments, plugins)
