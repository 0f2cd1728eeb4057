"""The command line: parse, call, print; nothing else.

Commands are in a module per family: `run`, `inspect`, `maintain` and `study`. Everything slow is
imported by the command that needs it, so that `--help` stays quick.
"""

from __future__ import annotations

import signal
import sys

import click

from orchestrator.cli import inspect, maintain, run, study
from orchestrator.output.text import escape_control
from results_schema.errors import Interrupted, NasSweepError, exit_code

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
        limit = formatter.width - 4 - widest
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
    signal.signal(signal.SIGTERM, Interrupted.handle)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, Interrupted.handle)
    try:
        # By itself click would exit with 1 after Ctrl-C, and print errors in a form of its own.
        sys.exit(cli.main(prog_name="nas-sweep", standalone_mode=False) or 0)
    except NasSweepError as error:
        click.echo(f"error: {escape_control(str(error))}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        about = context.command_path if context else "nas-sweep"
        click.echo(f"error: {escape_control(error.format_message())}", err=True)
        click.echo(f"  {about} --help lists what there is", err=True)
        sys.exit(error.exit_code)
    except click.Abort as error:
        reason = error.__cause__ or error.__context__
        if not isinstance(reason, KeyboardInterrupt):  # the answer to a question was no
            click.echo("nothing was changed", err=True)
            sys.exit(1)
        click.echo("interrupted", err=True)
        sys.exit(exit_code(reason))
