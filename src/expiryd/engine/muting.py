"""What stands between an owed word and its receiver, drawn together from configuration, ledger and silences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from expiryd.config.model import Config
from expiryd.core.model import Ack, Event
from expiryd.core.muting import Muting
from expiryd.core.silencing import Hush, muting
from expiryd.engine.ledger import Ledger
from expiryd.engine.silences import Silences

Mutes = Callable[[str, datetime], Muting]


def hush_of(config: Config) -> Hush:
    """What the configuration has to say on it: routes, windows and maintenance."""
    zone = config.daemon.timezone
    return Hush(
        routes=tuple(route.route for route in config.routes),
        windows={name: said.window(name, zone) for name, said in config.windows.items()},
        maintenance=tuple(said.maintenance(name, zone) for name, said in config.maintenance.items()),
    )


def mutes_of(hush: Hush, ledger: Ledger, silences: Silences) -> Mutes:
    """Asked once per round by a courier: what is in the way of telling its notifier something at this moment."""

    def ack_of(event: Event) -> Ack | None:
        alert = ledger.alert(event)
        return alert.ack if alert else None

    def mutes(notifier: str, now: datetime) -> Muting:
        return muting(replace(hush, silences=silences.holding(now), acks=ack_of), notifier, now)

    return mutes
