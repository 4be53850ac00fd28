"""A notifier in trouble is an item that the daemon watches, and the other notifiers tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from expiryd.api import AuthError, DeliveryError, Finding, Severity
from expiryd.core.model import Event, ItemId
from expiryd.engine.depot import Depot

NOTICEABLE = 3
"""So many failed attempts in a row are told through the other notifiers."""

PATIENCE = timedelta(minutes=15)
"""So is a longer pause that the receiver asks for."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """That of one notifier: also what is known of the time before a restart or a reload."""

    name: str
    depot: Depot

    async def failing(self, failure: DeliveryError, failures: int, wait: timedelta) -> None:
        """It failed so many times in a row, and is left alone for so long."""
        if isinstance(failure, AuthError):
            await self.add(Finding("auth-failed", Severity.CRITICAL, str(failure)))
        elif failures >= NOTICEABLE or wait > PATIENCE:
            await self.add(Finding("delivery-failing", Severity.CRITICAL, str(failure)))

    async def add(self, finding: Finding) -> None:
        """Beside what is known already. A second one of a kind is no news."""
        known = self._known()
        if finding.code not in {each.code for each in known}:
            await self.depot.complain(f"notifier/{self.name}", (*known, finding))

    async def over(self, *, but_for: tuple[Finding, ...]) -> None:
        """It works, though it may have trouble with its own words or with some of its recipients."""
        if self._known() != but_for:
            await self.depot.complain(f"notifier/{self.name}", but_for)

    def _known(self) -> tuple[Finding, ...]:
        state = self.depot.ledger.get(own_item(self.name))
        return state.observation.findings if state is not None else ()


def own_item(notifier: str) -> ItemId:
    """The notifier as an item that the daemon watches."""
    return ItemId(f"expiryd/notifier/{notifier}")


def about(event: Event, notifier: str) -> bool:
    """Whether the event is this notifier's own trouble, which the others are to carry."""
    return event.item == own_item(notifier)
