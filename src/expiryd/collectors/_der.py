"""As much of DER and BER (X.690) as it takes to tell containers apart and to refuse the ones made to be slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
VERSION = 0xA0  # [0], with which a certificate of version 2 or 3 begins
_CONSTRUCTED = 0x20
_CONSTRUCTED_OCTETS = OCTET_STRING | _CONSTRUCTED
_DEEPEST = 24
_MOST_ELEMENTS = 200_000


class Element(NamedTuple):
    tag: int
    body: int
    end: int


def element(data: bytes, start: int = 0, limit: int | None = None) -> Element:
    """The element at `start`: its tag and where its body begins and ends. Raises ValueError when it is cut short.

    The indefinite form (BER) is taken to reach up to `limit`; its end marker then reads as an empty element.
    """
    limit = len(data) if limit is None else limit
    if start + 2 > limit:
        raise ValueError("it is cut short")
    tag, length, body = data[start], data[start + 1], start + 2
    if length == 0x80:
        return Element(tag, body, limit)
    if length > 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[body : body + size], "big")
        body += size
    if body + length > limit:
        raise ValueError("it is cut short")
    return Element(tag, body, body + length)


def key_rounds(data: bytes) -> int:
    """How many rounds of key derivation a PKCS#12 file asks for, as far as it tells without its password.

    Each derivation (PBKDF2-params, pkcs-12PbeParams, MacData: RFC 8018 A, RFC 7292 4 and C) is the only place
    where an OCTET STRING, the salt, is followed by an INTEGER. Raises ValueError when there is no end to it.
    """
    rounds = elements = 0
    pending = [(data, 0, len(data), 0)]
    while pending:
        buffer, start, end, depth = pending.pop()
        before = 0
        for part in _children(buffer, start, end):
            elements += 1
            if elements > _MOST_ELEMENTS or depth > _DEEPEST:
                raise ValueError("it is nested beyond reason")
            if part.tag == INTEGER and before == OCTET_STRING:
                rounds += int.from_bytes(buffer[part.body : part.end][:8], "big")
            elif part.tag == _CONSTRUCTED_OCTETS:
                joined = b"".join(buffer[p.body : p.end] for p in _children(buffer, part.body, part.end))
                pending.append((joined, 0, len(joined), depth + 1))
            elif part.tag & _CONSTRUCTED or buffer[part.body : part.body + 1] == bytes((SEQUENCE,)):
                pending.append((buffer, part.body, part.end, depth + 1))
            before = part.tag
    return rounds


def _children(data: bytes, start: int, end: int) -> Iterator[Element]:
    """Up to the first thing that is no element: what is encrypted only happens to look like one."""
    while start < end:
        try:
            part = element(data, start, end)
        except ValueError:
            return
        yield part
        start = part.end
