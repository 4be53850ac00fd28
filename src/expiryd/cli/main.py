"""The verbs and their flags."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.group()
@click.option("-c", "--config", "paths", multiple=True, type=click.Path(path_type=Path), help="A config file.")
@click.pass_context
def cli(context: click.Context, paths: tuple[Path, ...]) -> None:
    """Knows when every credential you depend on stops working, and tells the right person once, in time."""
    context.obj = paths


@cli.command()
@click.option("--immediate", is_flag=True, help="Look at everything at once.")
@click.option("--dry-run", is_flag=True, help="Decide and log, but send nothing.")
@click.pass_obj
def run(paths: tuple[Path, ...], immediate: bool, dry_run: bool) -> None:
    """Run the daemon in the foreground."""
    import asyncio

    import uvloop

    from expiryd.api import ExpirydError
    from expiryd.app import Setting
    from expiryd.app import run as run_daemon
    from expiryd.config.errors import ConfigError
    from expiryd.config.load import default_paths

    setting = Setting(paths or default_paths(os.environ), os.environ, immediate, dry_run)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_daemon(setting))
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(4)
    except ExpirydError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def main() -> None:
    cli()
