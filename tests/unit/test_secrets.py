"""A secret is read from where it is said to be, or an error says why not, without a word of its value."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest

from expiryd.api import SecretError, SecretRef
from expiryd.secrets import LIMIT, Fingerprint, FingerprintKeyError, Secrets, load_fingerprint_key

CANARY = "c4n4ry-value"


def private(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


async def refusal(ref: SecretRef, environ: dict[str, str] | None = None) -> str:
    """What the error says; nothing of the chain behind it may say more."""
    with pytest.raises(SecretError) as caught:
        await Secrets(environ or {}).read(ref)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_variable_is_read_and_handed_to_who_masks_it() -> None:
    masked: list[str] = []
    secret = await Secrets({"TOKEN": CANARY}, masked.append).read(SecretRef(env="TOKEN"))
    assert secret.reveal() == CANARY
    assert CANARY not in repr(secret)
    assert masked == [CANARY]


async def test_a_file_loses_one_line_end_and_nothing_else(tmp_path: Path) -> None:
    path = private(tmp_path / "pw", f" {CANARY} \r\n\n")
    secrets = Secrets({})
    assert (await secrets.read(SecretRef(file=path))).reveal() == f" {CANARY} \r\n"
    private(path, f"{CANARY}\r\n")
    assert (await secrets.read(SecretRef(file=path))).reveal() == CANARY


async def test_a_credential_is_read_from_systemds_directory(tmp_path: Path) -> None:
    private(tmp_path / "slack", CANARY)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert (await Secrets(environ).read(SecretRef(credential="slack"))).reveal() == CANARY
    assert "plain file name" in await refusal(SecretRef(credential="../slack"), environ)
    assert "LoadCredential=slack" in await refusal(SecretRef(credential="slack"))


@pytest.mark.parametrize("armored", [False, True])
async def test_an_age_file_is_decrypted_with_its_identity(tmp_path: Path, armored: bool) -> None:
    identity = pyrage.x25519.Identity.generate()
    content = pyrage.encrypt(f"{CANARY}\n".encode(), [identity.to_public()], armored=armored)
    key = private(tmp_path / "key", f"# created: today\n{identity}\n")
    ref = SecretRef(age=private(tmp_path / "pw.age", content), identity=key)
    assert (await Secrets({}).read(ref)).reveal() == CANARY
    private(key, str(pyrage.x25519.Identity.generate()))
    assert "another than" in await refusal(ref)
    private(key, CANARY)
    assert "holds no age or SSH identity" in await refusal(ref)


async def test_a_command_answers_on_standard_output_with_little_environment(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OTHER_SECRET": CANARY}
    secrets = Secrets(environ)
    told = await secrets.read(SecretRef(command=("sh", "-c", 'echo "$HOME:$OTHER_SECRET:$(cat)"; echo noise >&2')))
    assert told.reveal() == f"{tmp_path}::"
    plain = await secrets.read(SecretRef(command=("echo", "$HOME; rm -rf /")))
    assert plain.reveal() == "$HOME; rm -rf /"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("sh", "-c", f"echo {CANARY} >&2; echo {CANARY}; exit 3"), "command sh ended with status 3"),
        (("no-such-command-", CANARY), "cannot run command no-such-command-: No such file"),
        (("sh", "-c", "yes"), "printed more than 65536 bytes"),
        (("true",), "is empty"),
        (("printf", "\\377"), "is not UTF-8"),
        (("sh", "a\0b"), "NUL"),
        ((), "it is empty"),
    ],
)
async def test_a_command_that_fails_is_told_without_what_it_printed(command: tuple[str, ...], reason: str) -> None:
    assert reason in await refusal(SecretRef(command=command), {"PATH": os.environ["PATH"]})


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    secrets = Secrets(os.environ, patience=timedelta(seconds=0.3))
    with pytest.raises(SecretError, match=r"did not answer within 0\.3 s"):
        await secrets.read(SecretRef(command=("sh", "-c", script)))
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not _alive(child)


async def test_what_a_command_complains_of_is_never_too_much() -> None:
    flood = "yes complaint | head -c 1000000 >&2; echo told"
    assert (await Secrets(os.environ).read(SecretRef(command=("sh", "-c", flood)))).reveal() == "told"


async def test_a_command_whose_child_left_its_session_holds_up_nobody(tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ > {tmp_path}/child; exec sleep 60' & wait"
    secrets = Secrets(os.environ, patience=timedelta(seconds=0.3))
    with pytest.raises(SecretError, match="did not answer"):
        await secrets.read(SecretRef(command=("sh", "-c", script)))
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "huge", "empty", "binary", "loop", "nul"])
async def test_a_file_that_is_no_secret_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pw"
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "huge":
            private(path, b"x" * (LIMIT + 1))
        case "empty":
            private(path, "\n")
        case "binary":
            private(path, b"\xff\xfe")
        case "loop":
            path.symlink_to(path)
        case "nul":
            path = Path(f"{path}\0")
    reasons = {
        "missing": "No such file",
        "directory": "not a regular file",
        "fifo": "not a regular file",
        "huge": "larger than 65536 bytes",
        "empty": "is empty",
        "binary": "is not UTF-8",
        "loop": "Too many levels",
        "nul": "NUL",
    }
    message = await refusal(SecretRef(file=path))
    assert str(path) in message
    assert reasons[kind] in message


async def test_a_variable_that_is_unset_or_empty_is_an_error() -> None:
    assert await refusal(SecretRef(env="NOPE")) == "cannot read env NOPE: the environment variable NOPE is not set"
    assert await refusal(SecretRef(env="NOPE"), {"NOPE": ""}) == "the secret of env NOPE is empty"


# ── checking ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_can_be_seen_without_reading_is_told_with_what_to_do(tmp_path: Path) -> None:
    good, shared = private(tmp_path / "good", CANARY), private(tmp_path / "shared", CANARY)
    shared.chmod(0o640)
    secrets = Secrets({"SET": CANARY})

    def told(ref: SecretRef) -> list[str]:
        return list(secrets.problems(ref))

    assert told(SecretRef(env="SET")) == []
    assert told(SecretRef(env="NOT_SET")) == ["the environment variable NOT_SET is not set"]
    assert told(SecretRef(file=good)) == []
    assert told(SecretRef(file=shared)) == [
        f"{shared} has mode 0640, so others than its owner may use it: chmod 0600 {shared}"
    ]
    assert told(SecretRef(age=shared, identity=good)) == []
    assert "No such file" in told(SecretRef(file=tmp_path / "gone"))[0]
    assert "CREDENTIALS_DIRECTORY" in told(SecretRef(credential="x"))[0]
    assert told(SecretRef(command=("false",))) == []


# ── fingerprints ──────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = load_fingerprint_key(tmp_path)
    assert len(key) == 32
    assert load_fingerprint_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "fingerprint.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.key"]


def test_many_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(load_fingerprint_key, [tmp_path] * 64))
    assert len(keys) == 1


def test_a_key_that_is_short_long_or_open_to_others_is_refused(tmp_path: Path) -> None:
    for size in (0, 31, 33):
        private(tmp_path / "fingerprint.key", b"x" * size)
        with pytest.raises(FingerprintKeyError, match="32 bytes it was made with"):
            load_fingerprint_key(tmp_path)
    private(tmp_path / "fingerprint.key", b"x" * 32).chmod(0o640)
    with pytest.raises(FingerprintKeyError, match=r"mode 0640.*chmod 0600"):
        load_fingerprint_key(tmp_path)


def test_a_state_directory_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FingerprintKeyError, match="nowhere"):
        load_fingerprint_key(tmp_path / "nowhere")
    private(tmp_path / "file", b"")
    with pytest.raises(FingerprintKeyError, match="Not a directory"):
        load_fingerprint_key(tmp_path / "file")


def test_a_fingerprint_is_stable_keyed_and_shows_neither_key_nor_value() -> None:
    one, other = Fingerprint(b"k" * 32), Fingerprint(b"l" * 32)
    assert one(CANARY) == one(CANARY)
    assert one(CANARY) != other(CANARY)
    assert one(CANARY) != one(CANARY + "x")
    assert len(one("\ud800")) == 16
    assert "kkkk" not in repr(one)
