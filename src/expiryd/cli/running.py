"""The verbs that are the daemon or work on its files: `run`, `check-config`, `backup`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from expiryd.cli.exits import Exit, Stop, harmless
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.core.wording import count_of

if TYPE_CHECKING:
    import asyncio

    from expiryd.config.errors import ConfigProblem
    from expiryd.config.model import Config


@click.command()
@click.option("--immediate", is_flag=True, help="Look at everything at start.")
@click.option("--dry-run", is_flag=True, help="Decide and log, but send nothing.")
@click.pass_obj
def run(outset: Outset, immediate: bool, dry_run: bool) -> int:
    """Run the daemon in the foreground.

    SIGHUP reloads, SIGTERM and SIGINT drain and stop (a second one at once), SIGUSR1 reopens the log file.
    """
    import asyncio

    import_structlog_alone()
    from expiryd.app import Setting
    from expiryd.app import run as run_daemon

    setting = Setting(outset.paths, outset.environ, immediate, dry_run)
    with asyncio.Runner(loop_factory=_loop(outset.daemon("event_loop") or "auto")) as runner:
        try:
            runner.run(run_daemon(setting))
        except ValueError as problem:  # how a plugin's `build` may refuse its settings
            raise Stop(Exit.CONFIG, str(problem)) from None
    return Exit.OK


@click.command("check-config")
@click.pass_obj
def check_config(outset: Outset) -> int:
    """Check the config files: every error, one a line as `path: message` (exit 4).

    What is wrong with secrets here and now, such as a file that others may read, is a warning: the daemon may have
    other rights and another environment.
    """
    import asyncio

    from expiryd.config.errors import ConfigError
    from expiryd.config.walk import check_secrets

    config = outset.config()
    if problems := asyncio.run(_unbuildable(config, outset.environ)):
        raise ConfigError(problems)
    for warning in check_secrets(config, outset.environ):
        click.echo(f"warning: {harmless(str(warning))}", err=True)
    counts = f"{count_of(len(config.collectors), 'collector')}, {count_of(len(config.notifiers), 'notifier')}"
    click.echo(f"{harmless(', '.join(map(str, outset.paths)))}: valid, {counts}")
    return Exit.OK


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def backup(outset: Outset, file: Path) -> int:
    """Copy the state to FILE, also while the daemon runs. Nothing is ever overwritten."""
    import asyncio

    from expiryd.app import back_up
    from expiryd.secrets import KEY_NAME

    config = outset.config()
    if file.exists():
        raise Stop(Exit.ERROR, f"{file}: there is such a file already; name one that is not there")
    asyncio.run(back_up(config, outset.environ, file))
    key = config.daemon.state_dir / KEY_NAME
    click.echo(f"{file}: the state is copied; keep {key} with it")
    return Exit.OK


async def _unbuildable(config: Config, environ: Mapping[str, str]) -> list[ConfigProblem]:
    """What only shows when the plugins are put together, which opens and starts nothing."""
    import_structlog_alone()
    from expiryd.api import ExpirydError
    from expiryd.cli.outfit import outfit
    from expiryd.config.errors import ConfigProblem

    problems: list[ConfigProblem] = []
    async with outfit(config, environ) as lent:
        for section, plugins in (("collectors", config.collectors), ("notifiers", config.notifiers)):
            for name, plugin in plugins.items():
                try:
                    await plugin.build(lent.tools_for(name)).aclose()
                except (ExpirydError, ValueError) as problem:
                    problems.append(ConfigProblem(f"{section}.{name}", str(problem)))
    return problems


def _loop(wish: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """By `daemon.event_loop`, which must be known before there is a loop; a wrong word is told when it is checked."""
    if wish == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if wish == "uvloop":
            raise Stop(Exit.CONFIG, "daemon.event_loop: uvloop is not installed: pip install uvloop") from None
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
