"""A JWT's dates are read unverified from files and documents; whatever else stands there is a finding."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from expiryd.api import Basis, Blind, CollectError, Lifetime, Observation, Reading, Severity, Tools
from expiryd.collectors._jwt import Claims, bare, read_claims
from expiryd.collectors.jwt import JwtConfig
from expiryd.testing import readings, tools

CANARY = "canary-3f9a1c"
EXP, IAT, NBF = 2_000_000_000, 1_900_000_000, 1_900_000_060
EXPIRES = datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
ISSUED = datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)
STARTS = datetime(2030, 3, 17, 17, 47, 40, tzinfo=UTC)


@pytest.fixture
async def lent() -> AsyncIterator[Tools]:
    async with aiohttp.ClientSession() as session:
        yield tools(session)


def part(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


def raw(payload: str, header: str = '{"alg":"RS256","typ":"JWT"}') -> str:
    return f"{part(header)}.{part(payload)}.{part('signature')}"


def token(**claims: object) -> str:
    return raw(json.dumps(claims))


def claims_of(text: str) -> Claims:
    claims = read_claims(text)
    assert claims is not None
    return claims


def codes(found: Claims | Reading) -> dict[str, Severity]:
    assert not isinstance(found, Blind)
    return {finding.code: finding.severity for finding in found.findings}


def configured(*paths: Path | str) -> JwtConfig:
    where = [str(path) for path in paths]
    return JwtConfig.model_validate({"type": "jwt", "path": where[0] if len(where) == 1 else where})


async def look(lent: Tools, *paths: Path | str) -> list[Reading]:
    return await readings(configured(*paths).build(lent))


# ── the claims ────────────────────────────────────────────────────────────────────────────────────────


def test_all_three_dates_are_read() -> None:
    claims = claims_of(token(exp=EXP, iat=IAT, nbf=NBF))
    assert claims == Claims(Lifetime(EXPIRES, ISSUED, STARTS, Basis.EMBEDDED), ())


@pytest.mark.parametrize("exp", [EXP, float(EXP), str(EXP), f" {EXP}.0 "])
def test_a_date_may_be_a_float_or_in_a_string(exp: object) -> None:
    assert claims_of(token(exp=exp)) == Claims(Lifetime(EXPIRES), ())


def test_milliseconds_are_understood_and_told() -> None:
    claims = claims_of(token(exp=EXP * 1000, iat=str(IAT * 1000)))
    assert claims.lifetime == Lifetime(EXPIRES, ISSUED)
    assert codes(claims) == {"milliseconds": Severity.WARNING}
    assert "exp, iat" in claims.findings[0].detail


@pytest.mark.parametrize(
    "exp",
    [
        "true",
        "[]",
        "{}",
        '""',
        '"soon"',
        '"nan"',
        '"inf"',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1",
        "0",
        '"0"',
        "-0.0",
        "1" * 400,
        "253402300799",
        "2e18",
        '"0000-01-01"',
        "-62135596800",
    ],
)
def test_a_date_that_is_none_is_a_finding_and_never_a_date(exp: str) -> None:
    claims = claims_of(raw(f'{{"exp":{exp},"iat":{IAT}}}'))
    assert claims.lifetime == Lifetime(None, ISSUED)
    assert codes(claims) == {"invalid-date": Severity.WARNING}
    assert claims_of(raw(f'{{"exp":{exp}}}')).lifetime is None


def test_a_beginning_of_zero_was_never_set_and_is_no_matter() -> None:
    assert claims_of(token(exp=EXP, iat=0, nbf=0)) == Claims(Lifetime(EXPIRES), ())


@pytest.mark.parametrize("payload", ["{}", '{"exp":null}', '{"sub":"x"}'])
def test_a_token_without_exp_never_expires(payload: str) -> None:
    claims = claims_of(raw(payload))
    assert claims.lifetime == Lifetime(basis=Basis.NONE)
    assert codes(claims) == {"never-expires": Severity.INFO}


@pytest.mark.parametrize(
    ("claims", "lifetime"),
    [
        ({"exp": IAT, "iat": EXP}, Lifetime(ISSUED)),
        ({"exp": IAT, "nbf": EXP}, Lifetime(ISSUED, None, EXPIRES)),
    ],
)
def test_a_lifetime_that_ends_before_it_begins_is_told(claims: dict[str, int], lifetime: Lifetime) -> None:
    found = claims_of(token(**claims))
    assert (found.lifetime, codes(found)) == (lifetime, {"invalid-lifetime": Severity.WARNING})


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE"])
def test_an_unsigned_token_is_told(algorithm: str) -> None:
    text = f"{part(json.dumps({'alg': algorithm}))}.{part(json.dumps({'exp': EXP}))}."
    assert codes(claims_of(text)) == {"unsigned": Severity.WARNING}


def test_an_encrypted_token_tells_that_it_can_not_be_read() -> None:
    text = ".".join([part('{"alg":"dir","enc":"A256GCM"}'), "", part("iv"), part("text"), part("tag")])
    claims = claims_of(text)
    assert (claims.lifetime, codes(claims)) == (None, {"encrypted-jwt": Severity.INFO})


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "....",
        "a.b.c",
        "1.2.3",
        "www.example.org",
        "a.b.c.d.e",
        "\udcff.\udcff.\udcff",
        "é.é.é",
        raw("[]"),
        raw("1"),
        raw("x"),
        raw("[" * 100_000),
        raw("{}", "{}"),
        raw("{}", "[]"),
        raw("{}", '{"alg":1}'),
        raw("{}", "{" * 100_000),
        raw("{}", '{"alg":"HS256","kid":1}'),
        part("[" * 100_000) + "....",
        "." * 1000,
    ],
    ids=lambda text: text[:20].encode("ascii", "replace").decode(),
)
def test_what_is_no_jwt_is_none(text: str) -> None:
    assert read_claims(text) is None


@pytest.mark.parametrize("before", ["", "Bearer ", "bearer  ", "\n BEARER\t"])
def test_a_bearer_prefix_and_white_space_are_no_part_of_a_token(before: str) -> None:
    assert bare(f"{before}a.b.c\n") == "a.b.c"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "sub"]), JSON))
def test_whatever_the_claims_hold_a_lifetime_is_within_the_calendar(claims: dict[str, Any]) -> None:
    found = claims_of(token(**claims))
    dates = [found.lifetime.expires_at, found.lifetime.issued_at, found.lifetime.not_before] if found.lifetime else []
    assert all(1970 <= date.year <= 9998 for date in dates if date)
    assert len(codes(found)) == len(found.findings), "each code once"


@given(st.text(), st.binary())
def test_nothing_that_is_read_raises(text: str, noise: bytes) -> None:
    read_claims(text)
    read_claims(".".join([part('{"alg":"HS256"}'), base64.urlsafe_b64encode(noise).decode(), text]))


# ── where tokens stand ────────────────────────────────────────────────────────────────────────────────


async def test_a_file_is_one_item_and_its_token_the_generation(lent: Tools, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbfBearer " + token(exp=EXP).encode() + b"\r\n")
    (seen,) = await look(lent, file)
    mark = lent.fingerprint(token(exp=EXP))
    assert seen == Observation(str(file), "jwt", "", Lifetime(EXPIRES), mark[:12], fingerprint=mark)


async def test_tokens_of_one_issuer_for_one_subject_stand_for_the_same(lent: Tools, tmp_path: Path) -> None:
    identities = []
    for number, claims in enumerate(({"sub": "ci"}, {"sub": "ci", "jti": "x"}, {"sub": "cd"}, {})):
        file = tmp_path / str(number)
        file.write_text(token(exp=EXP, iss="https://id.example", **claims))
        (seen,) = await look(lent, file)
        assert isinstance(seen, Observation) and "ci" not in seen.identity
        identities.append(seen.identity)
    one, again, other, nobody = identities
    assert one == again != other and one.startswith("jwt ") and nobody == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"users": [{"a/b~": "%s"}]}'),
        ("a.yaml", "users:\n- &u\n  a/b~: '%s'\nmore: *u\n"),
        ("a.toml", '[[users]]\n"a/b~" = "%s"\n'),
        ("config", "users:\n- a/b~: %s\n"),
        ("config", '{"users": [{"a/b~": "Bearer %s"}]}'),
    ],
)
async def test_a_pointer_leads_into_json_yaml_and_toml(lent: Tools, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content % token(exp=EXP))
    spec = f"{tmp_path / name}#/users/0/a~1b~0"
    (seen,) = await look(lent, spec)
    mark = lent.fingerprint(token(exp=EXP))
    assert seen == Observation(spec, "jwt", "", Lifetime(EXPIRES), mark[:12], fingerprint=mark)


async def test_a_pointer_follows_yaml_aliases(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"one: &one\n  token: {token(exp=EXP)}\ntwo: *one\n")
    (seen,) = await look(lent, f"{tmp_path}/a.yml#/two/token")
    assert isinstance(seen, Observation)
    assert seen.lifetime == Lifetime(EXPIRES)


@pytest.mark.parametrize("pointer", ["/b", "/a/0", "/l/1", "/l/-", "/l/00", "/l/x", "/l/999999999999", "/a/b/c", "/"])
async def test_a_pointer_that_leads_nowhere_is_a_finding(lent: Tools, tmp_path: Path, pointer: str) -> None:
    for name, content in (("a.json", '{"a": {}, "l": ["x"]}'), ("a.yaml", "a: {}\nl: [x]\n"), ("b.yaml", "")):
        (tmp_path / name).write_text(content)
        (seen,) = await look(lent, f"{tmp_path / name}#{pointer}")
        assert codes(seen) == {"missing": Severity.WARNING}


async def test_what_is_no_token_is_a_finding(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "a.json").write_text('{"number": 1, "null": null, "text": "x", "list": [], "odd": "\\ud800.a.b"}')
    specs = [f"{tmp_path}/a.json#/{key}" for key in ("number", "null", "text", "list", "odd")]
    for seen in await look(lent, tmp_path / "binary", tmp_path / "empty", *specs):
        assert codes(seen) == {"not-a-jwt": Severity.WARNING}


async def test_a_hash_in_a_file_name_is_no_pointer(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "a#b").write_text(token(exp=EXP))
    (tmp_path / "a#b.json").write_text(json.dumps({"t": token(exp=EXP)}))
    assert [reading.id for reading in await look(lent, tmp_path / "a#b", f"{tmp_path}/a#b.json#/t")] == [
        f"{tmp_path}/a#b",
        f"{tmp_path}/a#b.json#/t",
    ]


def test_a_pointer_with_a_wrong_escape_is_a_configuration_error() -> None:
    with pytest.raises(ValidationError, match="~0 for ~"):
        configured("a.json#/a~2b")


async def test_globs_name_each_file_found_once(lent: Tools, tmp_path: Path) -> None:
    for name in ("a.jwt", "b.jwt"):
        (tmp_path / name).write_text(token(exp=EXP))
    seen = await look(lent, tmp_path / "b.jwt", f"{tmp_path}/*.jwt")
    assert [reading.id for reading in seen] == [f"{tmp_path}/b.jwt", f"{tmp_path}/a.jwt"]


# ── what can't be looked at ───────────────────────────────────────────────────────────────────────────

BOMB = "a: &a {x: y}\n" + "".join(f"{k}: &{k} {{<<: [{', '.join([f'*{p}'] * 9)}]}}\n" for p, k in pairwise("abcdefghi"))
BOMB += "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))


async def test_a_yaml_alias_bomb_stays_small(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{BOMB}token: {token(exp=EXP)}\n")
    (seen,) = await look(lent, f"{tmp_path}/a.yaml#/token")
    assert isinstance(seen, Observation)
    assert seen.lifetime == Lifetime(EXPIRES)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", f'{{\n"x": {CANARY}', "no valid JSON .line 2"),
        ("a.yaml", f"a: b\nb: c: {CANARY}: '", "no valid YAML .line 2"),
        ("a.yaml", f"a: {CANARY}\n---\nb: c\n", "no valid YAML"),
        ("a.yaml", f"a: !!python/object:x {CANARY}\n- b", "no valid YAML"),
        ("a.toml", f"a = {CANARY}", "no valid TOML"),
        ("a.json", "\0" + CANARY, "no valid JSON"),
        ("a.toml", b"a = '\xe9'", "no valid TOML"),
        ("a.yaml", b"a: \xe9", "no valid YAML"),
        ("a.json", "[" * 200_000, "nested too deeply"),
        ("a.yaml", "[" * 200_000, "nested too deeply"),
        ("a.yaml", "- " * 100_000, "nested too deeply"),
        ("a.toml", "a = " + "[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_a_document_that_cannot_be_parsed_is_not_looked_at(
    lent: Tools, tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CollectError, match=words) as ended:
        await look(lent, f"{tmp_path / name}#/a")
    assert CANARY not in str(ended.value)
    assert ended.value.__cause__ is None


@pytest.mark.parametrize("kind", ["missing", "fifo", "loop", "huge", "directory"])
async def test_a_sole_file_that_cannot_be_read_is_an_error_and_one_of_several_is_blind(
    lent: Tools, tmp_path: Path, kind: str
) -> None:
    bad = tmp_path / kind
    match kind:
        case "fifo":
            os.mkfifo(bad)
        case "loop":
            bad.symlink_to(bad)
        case "directory":
            bad.mkdir()
        case "huge":
            with bad.open("wb") as file:
                file.truncate(2**30)
    (tmp_path / "good").write_text(token(exp=EXP))
    for pointer in ("", "#/a"):
        with pytest.raises(CollectError, match=str(bad)):
            await look(lent, f"{bad}{pointer}")
        blind, seen = await look(lent, f"{bad}{pointer}", tmp_path / "good")
        assert isinstance(blind, Blind)
        assert (blind.id, str(bad) in blind.reason) == (f"{bad}{pointer}", True)
        assert isinstance(seen, Observation)


async def test_a_pattern_that_matches_nothing_makes_the_look_partial(lent: Tools, tmp_path: Path) -> None:
    """Which tokens it meant is not known, so none of them may count as gone."""
    (tmp_path / "good").write_text(token(exp=EXP))
    for pattern in (f"{tmp_path}/*.jwt", f"{tmp_path}/none/*.jwt"):
        with pytest.raises(CollectError, match="jwt"):
            await look(lent, pattern)
        seen: dict[str, Reading] = {}
        with pytest.raises(CollectError, match="jwt"):
            async for reading in configured(pattern, tmp_path / "good").build(lent).look():
                seen[reading.id] = reading
        assert list(seen) == [pattern, f"{tmp_path}/good"]


async def test_a_file_that_vanishes_after_the_glob_is_as_if_it_never_matched(lent: Tools, tmp_path: Path) -> None:
    for name in ("a.jwt", "b.jwt"):
        (tmp_path / name).write_text(token(exp=EXP))
    seen = []
    async for reading in configured(f"{tmp_path}/*.jwt").build(lent).look():
        (tmp_path / "b.jwt").unlink(missing_ok=True)
        seen.append(reading.id)
    assert seen == [f"{tmp_path}/a.jwt"]


async def test_no_part_of_a_token_occurs_in_anything_that_is_said(lent: Tools, tmp_path: Path) -> None:
    secret = token(exp=CANARY, iat=[CANARY], sub=CANARY)
    (tmp_path / "a").write_text(secret)
    (tmp_path / "b").write_text(f"{secret}.{CANARY}")
    (tmp_path / "c.json").write_text(json.dumps({"a": secret, "b": [CANARY]}))
    specs = (tmp_path / "a", tmp_path / "b", *(f"{tmp_path}/c.json#/{key}" for key in ("a", "b", "b/0", "c")))
    said = repr(await look(lent, *specs)) + repr(vars(lent.log))
    assert CANARY not in said
    assert not any(piece in said for piece in secret.split("."))
