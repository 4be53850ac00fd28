"""TLS targets as people write them: `host`, `host:8443`, `https://host`, `smtp://host:587`, `[2001:db8::1]:443`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

DIRECT = ""
"""The protocol of a target that speaks TLS from the first byte."""

_SCHEMES: dict[str, tuple[str, int]] = {
    "tls": (DIRECT, 443),
    "https": (DIRECT, 443),
    "smtps": (DIRECT, 465),
    "imaps": (DIRECT, 993),
    "pop3s": (DIRECT, 995),
    "ldaps": (DIRECT, 636),
    "ftps": (DIRECT, 990),
    "xmpps": (DIRECT, 5223),
    "smtp": ("smtp", 25),
    "imap": ("imap", 143),
    "pop3": ("pop3", 110),
    "ldap": ("ldap", 389),
    "postgres": ("postgres", 5432),
    "postgresql": ("postgres", 5432),
    "mysql": ("mysql", 3306),
    "ftp": ("ftp", 21),
    "xmpp": ("xmpp", 5222),
}
_MAX_TEXT = 300
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PLACE = re.compile(r"(?:\[(?P<literal>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `text` is what was written, `host` an IP literal or a name in A-labels."""

    text: str
    host: str
    port: int
    protocol: str
    literal: bool


@lru_cache(maxsize=65_536)  # the same targets come again at every look
def parse_target(text: str) -> Target:
    """Raises ValueError that says what to write instead; it never repeats a password written into a URL."""
    text = text.strip()
    scheme, separator, rest = text.rpartition("://")
    if not separator:
        scheme = "tls"
    if "@" in text:
        raise ValueError("a target holds no user and no password: write scheme://host:port")
    if len(text) > _MAX_TEXT or not text.isprintable() or any(map(str.isspace, text)):
        raise ValueError(f"a target is host, host:port or scheme://host:port, without spaces, of at most {_MAX_TEXT}")
    if (known := _SCHEMES.get(scheme.lower())) is None:
        raise ValueError(f"the scheme {scheme!r} is not supported: use one of {', '.join(_SCHEMES)}")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if place.count(":") > 1 and not place.startswith("["):
        raise ValueError(f"write an IPv6 address in brackets: [{place}]:443")
    if (parts := _PLACE.fullmatch(place)) is None:
        raise ValueError("a target is host, host:port or scheme://host:port")
    protocol, default_port = known
    port = int(parts["port"]) if parts["port"] else default_port
    if not 1 <= port <= 65535:
        raise ValueError(f"the port {port} is not between 1 and 65535")
    host, literal = normalise_host(parts["literal"] or parts["name"])
    if parts["literal"] and not literal:
        raise ValueError("only an IPv6 address stands in brackets")
    return Target(text, host, port, protocol, literal)


def normalise_host(host: str) -> tuple[str, bool]:
    """The host as it goes on the wire (A-labels, lower case, no final dot) and whether it is an IP literal.

    Names follow UTS #46 over IDNA 2008; underscores, which resolvers and private networks allow, pass.
    Raises ValueError for what can be neither.
    """
    if ":" in host or host[-1:].isdigit():  # no top-level domain ends in a digit
        try:
            return str(ipaddress.ip_address(host)), True
        except ValueError:
            pass
    name = host.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"{host!r} is not a host name: {error}") from None
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError(f"{host!r} is neither a host name nor an IP address")
    return name, False


def redact(text: str) -> str:
    """A target that could not be parsed, fit for an item id: short, printable, without what stands before an `@`."""
    shown = text.strip().rpartition("@")[2][:_MAX_TEXT]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown) or "(empty)"
