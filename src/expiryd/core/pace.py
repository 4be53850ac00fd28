"""When to try again and how fast to send: backoff, `3/1m` rates, both as plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from expiryd.core.duration import parse_setting

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=3)
FEWEST_ATTEMPTS = 10
"""However late it is: while the daemon was down nothing was tried."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` messages in any window of `per`."""

    count: int
    per: timedelta

    @classmethod
    def parse(cls, text: str) -> Rate:
        """`1/1s`, `20/10m`. Raises ValueError for anything else."""
        written = re.fullmatch(r"([0-9]{1,9})/(.+)", text.strip())
        rate = cls(int(written[1]), parse_setting(written[2])) if written else None
        if rate is None or rate.count < 1 or rate.per <= timedelta(0):
            raise ValueError('write a rate such as "1/1s" or "20/10m"')
        return rate

    def wait(self, sent: Sequence[datetime], now: datetime) -> timedelta:
        """How long until one more may go. `sent` holds the times of the last messages, oldest first."""
        if len(sent) < self.count:
            return timedelta(0)
        since = max(now - sent[-self.count], timedelta(0))  # a clock that was put back makes no one wait longer
        return max(self.per - since, timedelta(0))


def backoff(attempts: int, salt: str) -> timedelta:
    """Doubling from 5 s to 1 h, spread over the upper half by `salt` so that many do not come back at once."""
    ceiling = min(FIRST_WAIT * (1 << min(max(attempts - 1, 0), 20)), LONGEST_WAIT)
    share = blake2b(f"{salt}:{attempts}".encode(), digest_size=2).digest()
    return ceiling * (0.5 + int.from_bytes(share) / 131_072)
