"""The command line: one file a command. Exit codes: 0 good, 1 partly failed, 2 wrong usage, 3 refused."""

import importlib
import sys
from typing import Final

import click

from service.errors import Refused, SettingsError, TokentrailError, Unreachable

_COMMANDS: Final = {
    "run": "the service: read events, publish findings, until stopped",
    "demo": "the whole pipeline on a built-in cluster: a day at a company, and an attack in it",
    "scan": "the same detector over CloudTrail files and folders",
    "explain": "each rule and clause on one event: held or not, and why",
    "feed": "CloudTrail files into the events topic",
    "redrive": "dead letters into the events topic again, after a fix",
    "rules": "the catalogue of rules",
    "schema": "the finding's JSON or Avro schema",
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
    try:
        code = tokentrail.main(prog_name="tokentrail", standalone_mode=False)
    except click.exceptions.Exit as wanted:
        code = wanted.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"tokentrail: {problem}", err=True)
        code = 2
    except (Refused, Unreachable) as error:
        click.echo(f"tokentrail: {error}", err=True)
        code = 3
    except TokentrailError as error:
        click.echo(f"tokentrail: {error}", err=True)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nobody is left to tell
        code = 141
    sys.exit(code if isinstance(code, int) else 0)
