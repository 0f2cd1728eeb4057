"""The command line: parse, call, print; nothing else.

Commands are in a module per family: `run`, `inspect`, `maintain` and `study`. Everything slow is
imported by the command that needs it, so that `--help` stays quick.
"""

from __future__ import annotations

import signal
import sys

import click

from orchestrator.cli import inspect, maintain, run, study
from orchestrator.cli.options import INTERRUPTED
from orchestrator.output.text import escape_control
from results_schema.errors import NasSweepError

FAMILIES = {
    "Run": run.COMMANDS,
    "Inspect": inspect.COMMANDS,
    "Maintain": maintain.COMMANDS,
    "Study": study.COMMANDS,
}
SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


class _Families(click.Group):
    """A group whose help lists its commands by family."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each family, with a line for each command."""
        names = [
            name or "" for commands in FAMILIES.values() for name in [c.name for c in commands]
        ]
        widest = max(map(len, names))
        limit = formatter.width - 6 - widest
        for title, commands in FAMILIES.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{c.name:{widest}}", c.get_short_help_str(limit)) for c in commands]
                )


@click.group(cls=_Families, context_settings=SETTINGS)
@click.version_option(package_name="nas-sweep")
def cli() -> None:
    """Sweeps over cell-based neural architectures: train, measure, draw, test claims."""


for family in FAMILIES.values():
    for command in family:
        cli.add_command(command)


def main() -> None:
    """Run the command line; a user's error is one message without a traceback."""
    # Both end a command as Ctrl-C does, with its cleaning up; a running launch handles them itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        cli(prog_name="nas-sweep")
    except NasSweepError as error:
        click.echo(f"error: {escape_control(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
