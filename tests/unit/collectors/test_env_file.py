"""`.tokens` and `.env` files are read by the old grammar, by no other, and nothing of their values gets out."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from expiryd.api import Basis, Blind, CollectError, Lifetime, Observation, Reading, Severity, Tools
from expiryd.collectors._assignments import parse
from expiryd.collectors.env_file import EnvFile, EnvFileConfig
from expiryd.testing import readings, tools

CANARY = "canary-3f9a1c"


@pytest.fixture
async def lent() -> AsyncIterator[Tools]:
    async with aiohttp.ClientSession() as session:
        yield tools(session)


def configured(path: Path | str | list[str], **keys: Any) -> EnvFileConfig:
    where = [str(each) for each in path] if isinstance(path, list) else str(path)
    return EnvFileConfig.model_validate({"type": "env-file", "path": where, **keys})


async def look(lent: Tools, config: EnvFileConfig, **environ: str) -> dict[str, Reading]:
    return {reading.id: reading for reading in await readings(EnvFile(config, lent, environ))}


async def look_partly(lent: Tools, config: EnvFileConfig) -> tuple[dict[str, Reading], str]:
    seen: dict[str, Reading] = {}
    with pytest.raises(CollectError) as ended:
        async for reading in EnvFile(config, lent, {}).look():
            seen[reading.id] = reading
    return seen, str(ended.value)


def codes(reading: Reading) -> dict[str, Severity]:
    assert isinstance(reading, Observation)
    return {finding.code: finding.severity for finding in reading.findings}


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def jwt(**claims: object) -> str:
    parts = ({"alg": "HS256"}, claims)
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + ".c2ln"
    )


# ── the grammar ───────────────────────────────────────────────────────────────────────────────────────


def values(content: bytes) -> dict[str, str]:
    return {name: assignment.value for name, assignment in parse(content).assignments.items()}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  A  =  b  ", "b"),
        ('A="b c"', "b c"),
        ("A='b'", "b"),
        ("A=\"b'", "\"b'"),
        ("A=\"'b'\"", "'b'"),
        ("A=b=c==", "b=c=="),
        ("A=b # no comment", "b # no comment"),
        ("A=$B ${B}", "$B ${B}"),
        (r"A=b\n", r"b\n"),
        ("export A=b", "b"),
        ("export\tA = b", "b"),
        ("A=", ""),
        ('A=""', ""),
        ('A="', '"'),
    ],
)
def test_one_line_is_read_as_the_old_loader_did(line: str, value: str) -> None:
    assert values(line.encode()) == {"A": value}


def test_comments_and_blank_lines_say_nothing_and_others_are_counted() -> None:
    parsed = parse(b"# A=b\n\n   \nnot an assignment\n=x\nBAD NAME=x\nB=c\n")
    assert (list(parsed.assignments), parsed.malformed) == (["B"], [4, 5, 6])


def test_line_ends_and_a_byte_order_mark_are_of_no_account() -> None:
    assert values(b"\xef\xbb\xbfA=b\r\nC=d\rE=f") == {"A": "b", "C": "d", "E": "f"}
    assert values("A=b\u2028C=d\x0bE=f".encode()) == {"A": "b\u2028C=d\x0bE=f"}


def test_bytes_that_are_no_text_lose_no_other_line() -> None:
    parsed = parse(b"A=b\nB=caf\xe9\nC=x\0y\nD=e")
    assert {name: assignment.value for name, assignment in parsed.assignments.items()} == {
        "A": "b",
        "B": "café",
        "C": "x\0y",
        "D": "e",
    }
    assert parsed.undecodable == [2, 3]


def test_the_tail_of_a_pasted_key_becomes_no_name() -> None:
    """Its last line looks like an assignment; its text must not stand in an id."""
    parsed = parse(
        b'KEY="-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nq1Zx9TfAbC==\nq1Zx9TfAbC=\n-----END PRIVATE KEY-----"'
    )
    assert (list(parsed.assignments), parsed.malformed) == (["KEY"], [2, 3, 4, 5])


def test_a_megabyte_of_one_name_is_read_in_linear_time() -> None:
    assert len(parse(b"A=1\n" * 262_144).assignments["A"].lines) == 262_144


NAMES = st.from_regex(r"[A-Z][A-Z0-9]{0,5}_[A-Z0-9_.-]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(str.strip)
NOISE = st.binary(max_size=30).map(lambda noise: noise.replace(b"\n", b"").replace(b"\r", b"").replace(b"=", b""))


@given(st.binary(max_size=400))
def test_the_parser_never_raises(content: bytes) -> None:
    parsed = parse(content)
    assert len(parsed.malformed) + sum(len(a.lines) for a in parsed.assignments.values()) <= len(content.splitlines())


@given(st.lists(st.tuples(NAMES, VALUES, NOISE), max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_no_noise_loses_a_well_formed_line(lines: list[tuple[str, str, bytes]], end: bytes) -> None:
    expected = {name: value for name, value, _ in lines if value != "="}
    content = end.join(b"%s%s%s=%s" % (noise, end, name.encode(), value.encode()) for name, value, noise in lines)
    found = parse(content).assignments
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].value in {value, value[1:-1]}


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_repr_of_what_was_parsed_holds_a_value(before: str, after: str) -> None:
    assert CANARY not in repr(parse(f"{before}\nA_TOKEN={after}{CANARY}\n{CANARY}\n{before}".encode()))


# ── which names ───────────────────────────────────────────────────────────────────────────────────────


async def test_every_name_of_a_tokens_file_is_an_item_and_the_file_is_one_too(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".tokens", "# banner\nAAR_TOKEN=x1\nanything=x2\n")
    seen = await look(lent, configured(file))
    assert list(seen) == [str(file), "AAR_TOKEN", "anything"]
    assert [reading.kind for reading in seen.values()] == ["credential-file", "token", "token"]
    assert all(codes(reading) == {} for reading in seen.values())


async def test_of_an_env_file_only_credentials_are_items(lent: Tools, tmp_path: Path) -> None:
    names = ["JWT_SECRET_KEY", "OPENAI_API_KEY", "db_password", "TUNNEL_TOKEN", "SECRET_KEY_BASE", "API_KEY_2"]
    others = [
        "TOKEN_EXPIRE_SECONDS",
        "JWT_ALGORITHM",
        "PASSWORD_MIN_LENGTH",
        "TOKENIZER",
        "MONKEY",
        "HOME",
        "TOKEN_URL",
    ]
    lines = [f"{name}=x" for name in names + others]
    file = write(tmp_path / ".env", "\n".join([*lines, f"SESSION={jwt(exp=2_000_000_000)}", "VERSION=1.2.3"]))
    assert [*(await look(lent, configured(file)))] == [str(file), *names, "SESSION"]


async def test_a_list_of_names_is_all_that_counts_and_what_is_absent_is_said(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".env", "HOME=x\nA_TOKEN=y\n")
    seen = await look(lent, configured(file, names=["HOME", "B_TOKEN"]))
    assert list(seen) == [str(file), "HOME", "B_TOKEN"]
    assert codes(seen["B_TOKEN"]) == {"missing": Severity.WARNING}


async def test_known_names_come_with_their_category(lent: Tools, tmp_path: Path) -> None:
    names = ("STAGING_ORCHESTRATION_BOT_KEY", "BOT_JWT", "SECURITY_AUDIT_TOKEN", "OTHER")
    seen = await look(lent, configured(write(tmp_path / ".tokens", "".join(f"{name}=x\n" for name in names))))
    found = [reading.traits.category for reading in seen.values() if isinstance(reading, Observation)]
    assert found == ["", "cicd", "runtime", "maintainer", ""]


def test_wrong_keys_and_impossible_names_are_configuration_errors(tmp_path: Path) -> None:
    for wrong in ({"names": ["A B"]}, {"issued_from": "ctime"}, {"nope": 1}, {"path": []}, {"path": ""}):
        with pytest.raises(ValidationError):
            configured(**{"path": tmp_path, **wrong})  # type: ignore[arg-type]  # wrong on purpose


# ── what is said of a token ───────────────────────────────────────────────────────────────────────────


async def test_a_token_without_a_date_has_a_generation_and_no_lifetime(lent: Tools, tmp_path: Path) -> None:
    file = tmp_path / ".tokens"
    write(file, "A_TOKEN=old\n")
    before = (await look(lent, configured(file)))["A_TOKEN"]
    write(file, "A_TOKEN='old'\n")
    same = (await look(lent, configured(file)))["A_TOKEN"]
    write(file, "A_TOKEN=new\n")
    after = (await look(lent, configured(file)))["A_TOKEN"]
    assert isinstance(before, Observation)
    assert isinstance(after, Observation)
    assert (before.lifetime, before == same, before.generation == after.generation) == (None, True, False)


async def test_one_secret_has_one_fingerprint_in_every_file_and_a_short_one_has_none(
    lent: Tools, tmp_path: Path
) -> None:
    there = write(tmp_path / ".tokens", f"A_TOKEN=f4c3b00c99\nB_TOKEN={jwt(exp=2_000_000_000)}\nC_TOKEN=short\n")
    here = write(tmp_path / ".env.prod", f"X_TOKEN=f4c3b00c99\nY_TOKEN=Bearer {jwt(exp=2_000_000_000)}\n")
    marks = {}
    for file in (there, here):
        for name, seen in (await look(lent, configured(file))).items():
            assert isinstance(seen, Observation)
            marks[name] = seen.fingerprint
            assert len(seen.generation) <= 12
    assert marks["A_TOKEN"] == marks["X_TOKEN"] != "" and marks["B_TOKEN"] == marks["Y_TOKEN"] != ""
    assert marks["C_TOKEN"] == ""


async def test_a_name_stands_for_the_same_in_files_that_are_in_use_together(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    identities = []
    for name in (".tokens", ".env", ".tokens.prod", ".env.prod", "else/.env"):
        file = write(tmp_path / name, "A_TOKEN=f4c3b00c99\n")
        seen = (await look(lent, configured(file)))["A_TOKEN"]
        assert isinstance(seen, Observation)
        identities.append(seen.identity)
    plain, env, prod, env_prod, elsewhere = identities
    assert plain == env and prod == env_prod and len({plain, prod, elsewhere}) == 3


async def test_the_age_of_a_file_is_a_date_only_when_told_so(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".tokens", f"A_TOKEN=x\nB_JWT={jwt(exp=2_000_000_000)}\nC_TOKEN=CHANGE_ME_C\n")
    os.utime(file, (0, 1_700_000_000))
    seen = await look(lent, configured(file, issued_from="mtime"))
    found = {name: reading.lifetime for name, reading in seen.items() if isinstance(reading, Observation)}
    assert found["A_TOKEN"] == Lifetime(issued_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), basis=Basis.POLICY)
    assert found["B_JWT"] == Lifetime(expires_at=datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC))
    assert found["C_TOKEN"] is None


@pytest.mark.parametrize(
    "value", ["CHANGE_ME_X", "CHANGE_ME", "ci_test_x", "your_token_here", "x_placeholder", "", "' '"]
)
async def test_a_placeholder_is_a_finding_and_no_credential(lent: Tools, tmp_path: Path, value: str) -> None:
    seen = await look(lent, configured(write(tmp_path / ".tokens", f"A_TOKEN={value}\n")))
    token = seen["A_TOKEN"]
    assert isinstance(token, Observation)
    assert codes(token) == {"placeholder": Severity.WARNING}
    assert (token.generation, token.lifetime) == ("", None)


async def test_test_values_are_expected_in_committed_ci_files_only(lent: Tools, tmp_path: Path) -> None:
    for name, severity in ((".tokens.ci", Severity.INFO), (".tokens.dev", Severity.WARNING)):
        seen = await look(
            lent, configured(write(tmp_path / name, "A_TOKEN=ci_test_a_token_placeholder\nB=CHANGE_ME\n"))
        )
        assert codes(seen["A_TOKEN"]) == {"placeholder": severity}
        assert codes(seen["B"]) == {"placeholder": Severity.WARNING}


async def test_a_jwt_tells_its_own_dates(lent: Tools, tmp_path: Path) -> None:
    token = jwt(exp=2_000_000_000, iat=1_900_000_000)
    seen = await look(lent, configured(write(tmp_path / ".env", f"BOT_JWT=Bearer {token}\nJWT_B={jwt(sub='x')}\n")))
    bot, endless = seen["BOT_JWT"], seen["JWT_B"]
    assert isinstance(bot, Observation)
    assert isinstance(endless, Observation)
    assert bot.lifetime == Lifetime(
        expires_at=datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC),
        issued_at=datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC),
    )
    assert endless.lifetime == Lifetime(basis=Basis.NONE)
    assert codes(endless) == {"never-expires": Severity.INFO}


async def test_a_name_set_twice_is_told_with_its_lines(lent: Tools, tmp_path: Path) -> None:
    seen = await look(lent, configured(write(tmp_path / ".tokens", "A=x\nB=y\nA=CHANGE_ME\n")))
    token = seen["A"]
    assert isinstance(token, Observation)
    assert codes(token) == {"duplicate": Severity.WARNING, "placeholder": Severity.WARNING}
    assert "lines 1, 3" in token.findings[0].detail


async def test_what_is_wrong_with_the_file_is_told_once_at_the_file(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".tokens", b"A=x\nB=caf\xe9\nnonsense\nC=y\n", mode=0o644)
    link = tmp_path / "link.tokens"
    link.symlink_to(file)
    seen = await look(lent, configured(link))
    assert codes(seen[str(link)]) == {
        "unsafe-permissions": Severity.WARNING,
        "symlink": Severity.INFO,
        "undecodable": Severity.WARNING,
        "malformed-line": Severity.INFO,
    }
    assert codes(seen["A"]) == codes(seen["B"]) == codes(seen["C"]) == {}


# ── which files ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "suffix"),
    [
        ({}, ""),
        ({"CI": "1", "APP_ENV": "production"}, ".ci"),
        ({"CI": "", "APP_ENV": "Production"}, ".prod"),
        ({"APP_ENV": "DEVELOPMENT"}, ".dev"),
        ({"APP_ENV": "staging"}, ""),
    ],
)
async def test_a_directory_means_the_files_in_use(
    lent: Tools, tmp_path: Path, environ: dict[str, str], suffix: str
) -> None:
    for stem in (".tokens", ".env"):
        for ending in ("", ".ci", ".prod", ".dev"):
            write(tmp_path / f"{stem}{ending}", "A_TOKEN=x\n")
    seen = await look(lent, configured(tmp_path), **environ)
    files = [f"{tmp_path}/.tokens{suffix}", f"{tmp_path}/.env{suffix}"]
    assert list(seen) == [files[0], f"{files[0]}:A_TOKEN", files[1], f"{files[1]}:A_TOKEN"]


async def test_one_of_a_directorys_files_is_enough_and_none_is_an_error(lent: Tools, tmp_path: Path) -> None:
    with pytest.raises(CollectError, match=r"neither \.tokens nor \.env"):
        await look(lent, configured(tmp_path))
    write(tmp_path / ".env", "A_TOKEN=x\n")
    assert f"{tmp_path}/.env:A_TOKEN" in await look(lent, configured(tmp_path))


async def test_ids_stay_when_a_glob_finds_a_second_file(lent: Tools, tmp_path: Path) -> None:
    write(tmp_path / "b.env", "A_TOKEN=x\n")
    config = configured(f"{tmp_path}/*.env")
    before = await look(lent, config)
    write(tmp_path / "a.env", "A_TOKEN=x\n")
    assert set(before) < set(await look(lent, config))


async def test_a_file_meant_twice_is_read_once(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".tokens", "A=x\n")
    assert len(await readings(EnvFile(configured([str(file), f"{tmp_path}/.tok*"]), lent, {}))) == 2


async def test_a_name_that_is_in_one_of_several_files_is_not_missing(lent: Tools, tmp_path: Path) -> None:
    files = [str(write(tmp_path / name, f"{name}_TOKEN=x\n")) for name in ("a", "b")]
    seen = await look(lent, configured(files, names=["a_TOKEN", "b_TOKEN", "c_TOKEN"]))
    assert list(seen) == [files[0], f"{files[0]}:a_TOKEN", files[1], f"{files[1]}:b_TOKEN", f"{files[0]}:c_TOKEN"]
    assert codes(seen[f"{files[0]}:c_TOKEN"]) == {"missing": Severity.WARNING}


@pytest.mark.parametrize("kind", ["missing", "fifo", "loop", "huge", "glob", "dangling"])
async def test_a_sole_path_that_cannot_be_read_is_an_error_and_one_of_several_is_blind(
    lent: Tools, tmp_path: Path, kind: str
) -> None:
    bad = tmp_path / kind
    match kind:
        case "fifo":
            os.mkfifo(bad)
        case "loop":
            bad.symlink_to(bad)
        case "dangling":
            bad.symlink_to(tmp_path / "nowhere")
        case "huge":
            with bad.open("wb") as file:
                file.truncate(2**30)
        case "glob":
            bad = tmp_path / "*.nothing"
    with pytest.raises(CollectError, match=kind if kind != "glob" else "matches no file"):
        await look(lent, configured(bad))
    good = write(tmp_path / ".tokens", "A=x\n")
    seen, ended = await look_partly(lent, configured([str(bad), str(good)], names=["A", "B"]))
    assert list(seen) == [str(good), f"{good}:A", str(bad)], "B may stand in the other file: it is not called missing"
    assert isinstance(seen[str(bad)], Blind)
    assert str(bad) in ended


async def test_a_file_that_vanishes_after_the_glob_is_as_if_it_never_matched(lent: Tools, tmp_path: Path) -> None:
    keep, gone = write(tmp_path / "a.env", "A_TOKEN=x\n"), write(tmp_path / "b.env", "B_TOKEN=x\n")
    seen = []
    async for reading in EnvFile(configured(f"{tmp_path}/*.env"), lent, {}).look():
        gone.unlink(missing_ok=True)
        seen.append(reading.id)
    assert seen == [str(keep), f"{keep}:A_TOKEN"]


async def test_binary_content_is_no_crash(lent: Tools, tmp_path: Path) -> None:
    file = write(tmp_path / ".tokens", bytes(range(256)) * 100 + b"\nA=x\n")
    seen = await look(lent, configured(file))
    assert "A" in seen
    assert {"undecodable", "malformed-line"} <= set(codes(seen[str(file)]))


# ── what stays inside ─────────────────────────────────────────────────────────────────────────────────


async def test_a_look_changes_nothing_and_exports_nothing(lent: Tools, tmp_path: Path) -> None:
    write(tmp_path / ".tokens", f"A_TOKEN={CANARY}\n")
    before = dict(os.environ), sorted(tmp_path.iterdir()), (tmp_path / ".tokens").stat().st_mtime_ns
    await look(lent, configured(tmp_path))
    with pytest.raises(CollectError):
        await look(lent, configured(tmp_path / "none"))
    assert before == (dict(os.environ), sorted(tmp_path.iterdir()), (tmp_path / ".tokens").stat().st_mtime_ns)


async def test_no_value_occurs_in_anything_that_is_said(lent: Tools, tmp_path: Path) -> None:
    lines = (
        f"A={CANARY}\nA='{CANARY}'\nB=CHANGE_ME_{CANARY}\n{CANARY}\nbad {CANARY}=x\nC={CANARY}\xe9\nD={CANARY}_here\n"
    )
    token = jwt(exp=CANARY, sub=CANARY)
    file = write(tmp_path / ".tokens", (lines + f"E={token}\nF={token}{CANARY}.x.y\n").encode("latin-1"), mode=0o644)
    said = repr(await look(lent, configured(file, names=["A", "B", "C", "D", "E", "F", "G"]))) + repr(lent.log)
    assert CANARY not in said
    assert not any(part in said for part in token.split("."))


async def test_build_reads_the_environment_at_the_look(
    lent: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / ".tokens.prod", "A=x\n")
    collector = configured(tmp_path).build(lent)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("APP_ENV", "production")
    assert [reading.id for reading in await readings(collector)][1] == f"{tmp_path}/.tokens.prod:A"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_what_another_user_may_not_see_is_an_error_that_says_so(tmp_path: Path) -> None:
    """A child without root's rights looks at a file, a directory and a glob in a place closed to it."""
    write(tmp_path / ".tokens", "A=x\n")
    tmp_path.chmod(0o700)
    program = f"""
import asyncio, os
from expiryd.api import CollectError
from expiryd.collectors.env_file import EnvFileConfig
from expiryd.testing import readings
for path in ("/.tokens", "/.tokens", "", "/*.env"):
    config = EnvFileConfig(type="env-file", names=[], path={str(tmp_path)!r} + path)
    try:
        print(*(reading.id for reading in asyncio.run(readings(config.build(None)))))
    except CollectError as error:
        print(error)
    os.setuid(65534)  # after a first look, which loads all modules, for they may be closed to that user too
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    seen, *told = ran.stdout.splitlines()
    assert (seen, len(told)) == (f"{tmp_path}/.tokens", 3), ran.stderr
    assert all(str(tmp_path) in line and "let the user that runs expiryd" in line for line in told)
