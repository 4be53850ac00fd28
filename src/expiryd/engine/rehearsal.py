"""A notifier that only says what it would have sent: for `run --dry-run`."""

from __future__ import annotations

from expiryd.api import Log, Message, Notifier, Receipt


class Rehearsed(Notifier):
    """Stands before a real notifier, groups as it would, and lets nothing through."""

    def __init__(self, real: Notifier, log: Log) -> None:
        self._log = log
        self.threaded = real.threaded  # type: ignore[misc]  # as the one it stands for

    async def send(self, message: Message) -> Receipt:
        self._log.info("message.rehearsed", subject=message.subject, events=len(message.events))
        return Receipt("dry run: nothing was sent")
