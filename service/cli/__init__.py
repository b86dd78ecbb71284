"""The command line: one file a command. Exit codes: 0 good, 1 partly failed, 2 wrong usage, 3 refused, or what
was asked to be noticed (`scan --fail-on`, `check`) was found.
"""

import importlib
import io
import signal
import sys
from typing import Final

import click

from service.errors import TokentrailError
from service.escape import printable

_COMMANDS: Final = {
    "run": "the service: read events, publish findings, until stopped",
    "check": "a pre-flight: settings, brokers, topics, access",
    "demo": "the whole pipeline on a built-in cluster: a day at a company, and an attack in it",
    "scan": "the same detector over CloudTrail files and folders",
    "explain": "each rule and clause on one event: held or not, and why",
    "feed": "CloudTrail files into the events topic",
    "tail": "findings of a running system, as they come",
    "canary": "an attack that nobody made, sent through the running system to see it found",
    "redrive": "dead letters into the events topic again, after a fix",
    "rules": "the catalogue of rules",
    "schema": "the schema of a finding: JSON Schema, Avro or OCSF",
}


class _Lazy(click.Group):
    """Imports a command when it is asked for: `--help` and `scan` should not pay for Kafka."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"service.cli.{name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(package_name="tokentrail", message="%(prog)s %(version)s")
@click.pass_context
def tokentrail(ctx: click.Context) -> None:
    """Detects abuse of sts:GetFederationToken in CloudTrail events.

    An attacker with a stolen access key turns it into a session that outlives the key. Tokentrail reads
    CloudTrail from Kafka (run) or from files (scan) and says who did it, and what to do.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # events may hold what its encoding lacks
    # A container's first process ignores a signal that it does not handle. `run` puts its own in place.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = tokentrail.main(prog_name="tokentrail", standalone_mode=False)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        complain(" ".join(error.format_message().split()) + hint)
        code = 2
    except TokentrailError as error:
        for problem in error.problems:
            complain(problem)
        code = error.exit_code
    except OSError as error:  # such as a full disk below standard output; click sees to closed pipes
        complain(str(error))
        sys.stdout = None  # or what is left would be tried, and told, once more on the way out
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def complain(problem: str) -> None:
    """One line on standard error, whatever `problem` holds."""
    click.echo(f"tokentrail: {printable(problem, 2_000)}", err=True)
