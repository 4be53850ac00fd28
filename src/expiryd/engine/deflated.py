"""Text compressed in pieces once, and joined into one gzip stream as often as it is asked for.

Whole gzip members may follow one another too (RFC 1952), but curl, wget and browsers read only the first of them. So
a piece is a raw deflate stream (RFC 1951) cut at a byte boundary and never ended: pieces may follow one another in any
order. The checksum of the whole follows from those of the pieces, without looking at their text again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

LEVEL = 5
CHUNK = 256 * 1024
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
"""x⁰: a polynomial's bits stand in reverse, as CRC-32 has them."""
_X8 = 1 << 23
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_END = b"\x03\x00"
"""A last block with nothing in it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` bytes of text, deflated. `shift` is x to the power of its bits: what moves a checksum before it."""

    deflated: bytes
    size: int
    crc: int
    shift: int


def deflate(text: bytes) -> Piece:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
    return Piece(packed, len(text), zlib.crc32(text), _power(_X8, len(text)))


def inflate(piece: Piece, most: int = CHUNK) -> Iterator[bytes]:
    """The text again, at most so many bytes at a time."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = piece.deflated
    while rest and (text := unpacker.decompress(rest, most)):
        yield text
        rest = unpacker.unconsumed_tail


def join(pieces: Iterable[Piece]) -> Piece:
    """One piece of many, in their order."""
    parts, size, crc, shift = [], 0, 0, _ONE
    for piece in pieces:
        parts.append(piece.deflated)
        size += piece.size
        crc = _times(crc, piece.shift) ^ piece.crc
        shift = _times(shift, piece.shift)
    return Piece(b"".join(parts), size, crc, shift)


def gzip(pieces: Sequence[Piece]) -> list[bytes]:
    """The pieces as one gzip file (RFC 1952), in chunks to be written one after the other."""
    whole = join(pieces)
    return [_HEADER, whole.deflated, _END, struct.pack("<II", whole.crc, whole.size & 0xFFFFFFFF)]


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo CRC-32's."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _power(base: int, exponent: int) -> int:
    result = _ONE
    while exponent:
        if exponent & 1:
            result = _times(result, base)
        base = _times(base, base)
        exponent >>= 1
    return result
