"""The command `expiryd`: its verbs, and how each of them ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from expiryd import __version__
from expiryd.cli import acting, asking, auditing, checks, explaining, foreseeing, running, trying
from expiryd.cli.exits import Exit, expected, explain, harmless, say
from expiryd.cli.place import Outset
from expiryd.cli.screen import drop_output


class Verbs(click.Group):
    """Verbs in the order in which they are told here, and a hint when one is mistyped."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = get_close_matches(args[0], self.commands, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no verb {args[0]!r}{hint}", context)
        return super().resolve_command(context, args)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-c",
    "--config",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),  # that it may not be read is told as what it is
    metavar="FILE",
    help="A config file (repeatable, later ones win). Else $EXPIRYD_CONFIG, /etc/expiryd/expiryd.toml or "
    "./config/expiryd.toml.",
)
@click.version_option(__version__, prog_name="expiryd", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, paths: tuple[Path, ...]) -> None:
    """Knows when every credential you depend on stops working, and tells the right person once, in time.

    Exit codes: 0 success, 1 error, 2 not found, 3 permission denied, 4 configuration error, 5 --fail-on reached,
    64 wrong usage.
    """
    context.obj = Outset(paths, context.obj)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for verb in (
    checks.check,
    running.run,
    running.check_config,
    asking.status,
    asking.items,
    asking.alerts,
    asking.events,
    asking.look,
    asking.notify,
    asking.reload,
    acting.ack,
    acting.snooze,
    acting.silence,
    acting.maintenance,
    auditing.audit,
    explaining.explain,
    foreseeing.forecast,
    foreseeing.whatif,
    trying.routes,
    running.backup,
    *checks.ALIASES,
    *auditing.ALIASES,
    checks.check_token,
):
    cli.add_command(verb)

asking.notify.add_command(trying.render)


def call(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return its exit code. What may be expected to go wrong ends in lines, never a trace."""
    try:
        code = cli.main(list(arguments), prog_name="expiryd", obj=environ, standalone_mode=False)
        return int(code) if isinstance(code, int) else Exit.OK
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "expiryd"
        say(f"{_what_is_wrong(error)}; see `{path} --help`")
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return Exit.ERROR
    except expected() as error:
        stop = explain(error)
        for line in stop.lines:
            _tell(line, stop.code)
        return stop.code


def _what_is_wrong(error: click.UsageError) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and isinstance(error.ctx.command, click.Group):
        return f"say what to do: {', '.join(error.ctx.command.commands)}"
    return error.format_message().rstrip(".")


def _tell(text: str, code: Exit) -> None:
    """A line for a config error starts with its path, so that editors and scripts find it."""
    for line in text.splitlines() or [""]:
        if code is Exit.CONFIG:
            print(harmless(line), file=sys.stderr)
        else:
            say(line)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(call(sys.argv[1:], os.environ))
