"""`[connectivity]`: what tells a network that is down from things that are."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from expiryd.api import PositiveDuration
from expiryd.config.section import Section

_TARGET = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]+):(?P<port>\d{1,5})")


def address_of(target: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    match = _TARGET.fullmatch(target)
    if match is None or not 0 < int(match["port"]) < 65_536 or not _may_be_asked_for(match["host"]):
        raise ValueError('write host:port such as "192.0.2.1:53" or "[2001:db8::1]:443"')
    return match["host"].strip("[]"), int(match["port"])


def _may_be_asked_for(host: str) -> bool:
    """Of an empty or overlong label the resolver raises what is no OSError."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _target(text: str) -> str:
    address_of(text)
    return text


class ConnectivityConfig(Section):
    """While none of `targets` accepts a TCP connection, what cannot be seen over the network does not count."""

    targets: tuple[Annotated[str, AfterValidator(_target)], ...] = ()
    timeout: PositiveDuration = timedelta(seconds=3)
    every: PositiveDuration = timedelta(seconds=30)
