"""The command `plugins`: what experiments may name besides what is built in."""

from __future__ import annotations

from click import command, option

from orchestrator.cli.options import format_option, names_argument, print_result
from orchestrator.output.tables import TextTable


@command()
@names_argument
@option("--all", "every", is_flag=True, help="List what is built in too.")
@format_option("json", "csv", "md", "latex")
def plugins(experiments: tuple[str, ...], every: bool, output_format: str) -> None:
    """List what plug-ins add to what experiments may name.

    The plug-ins are those of the experiments' files, or else all that are installed. Their code is
    run.
    """
    from orchestrator.config.documents import read_document
    from orchestrator.config.experiment import find_files, load_plugins
    from results_schema.plugins import BUILT_IN, LOADED, REGISTRIES, installed, load_installed

    for path in find_files(experiments):
        load_plugins(read_document(path), path)
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


COMMANDS = (plugins,)
