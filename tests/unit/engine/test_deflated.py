"""Pieces that were deflated apart are one plain gzip file together, for every reader of gzip."""

from __future__ import annotations

import gzip as standard
import zlib

from hypothesis import given
from hypothesis import strategies as some

from expiryd.engine.deflated import deflate, gzip, inflate, join

TEXTS = some.lists(some.binary(max_size=300), max_size=8)


@given(TEXTS)
def test_pieces_are_one_gzip_member_that_holds_the_texts_in_their_order(texts: list[bytes]) -> None:
    packed = b"".join(gzip([deflate(text) for text in texts]))
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(packed) == b"".join(texts)  # size and checksum are verified on the way
    assert reader.eof
    assert reader.unused_data == b""  # what curl and browsers would not read


@given(TEXTS, some.integers(0, 8))
def test_it_makes_no_difference_which_pieces_were_joined_before(texts: list[bytes], cut: int) -> None:
    pieces = [deflate(text) for text in texts]
    joined = join([join(pieces[:cut]), join(pieces[cut:])])
    assert joined == join(pieces)
    assert standard.decompress(b"".join(gzip([joined]))) == b"".join(texts)


@given(some.binary(max_size=2000), some.integers(1, 300))
def test_inflating_gives_the_text_back_in_chunks_of_the_wanted_size(text: bytes, most: int) -> None:
    chunks = list(inflate(deflate(text), most))
    assert b"".join(chunks) == text
    assert all(0 < len(chunk) <= most for chunk in chunks)


def test_a_long_even_text_is_small_and_comes_back_whole() -> None:
    text = b"expiryd " * 500_000
    piece = deflate(text)
    assert len(piece.deflated) < len(text) / 100
    assert b"".join(inflate(piece)) == text
