"""Reads secrets from where a config says they are, and gives them fingerprints that give nothing away."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from expiryd import child
from expiryd.api import ExpirydError, Secret, SecretError, SecretRef

LIMIT = 64 * 1024
KEY_NAME = "fingerprint.key"
KEY_BYTES = 32

# What `pass`, `gpg`, `sops` and the like need to find their own keys; nothing of the daemon's own secrets.
_COMMAND_ENVIRONMENT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "XDG_RUNTIME_DIR",
    "GNUPGHOME",
    "SSH_AUTH_SOCK",
)


def _forget(_value: str) -> None:
    """For callers that print nothing."""


class Secrets:
    """Resolves references. Every value read is first given to `remember`, so that whatever prints can mask it.

    `patience` is how long a command may take to answer.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        remember: Callable[[str], None] = _forget,
        *,
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        self._environ = environ
        self._remember = remember
        self._patience = patience.total_seconds()
        directory = environ.get("CREDENTIALS_DIRECTORY")
        self._credentials = Path(directory) if directory else None

    async def read(self, ref: SecretRef) -> Secret:
        """The value as it is now. Raises SecretError, which names the reference and what to do, never a value."""
        if ref.command is not None:
            value = _text(ref, await self._run(ref, ref.command))
        elif ref.env is not None:
            value = self._variable(ref, ref.env)
        else:
            value = await asyncio.to_thread(self._from_files, ref)
        if not value:
            raise SecretError(f"the secret of {ref} is empty")
        self._remember(value)
        return Secret(value)

    def problems(self, ref: SecretRef) -> Iterator[str]:
        """What is wrong with a reference that can be seen without reading the value (a command is not run)."""
        if ref.env is not None and not self._environ.get(ref.env):
            yield f"the environment variable {ref.env} is not set"
        for path in self._files(ref):
            if isinstance(path, SecretError):
                yield str(path)
                continue
            try:
                with _opened(ref, path) as descriptor:
                    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            except SecretError as error:
                yield str(error)
                continue
            if mode & 0o077 and path in {ref.file, ref.identity}:  # systemd looks after its own
                yield f"{path} has mode {mode:04o}, so others than its owner may use it: chmod 0600 {path}"

    def _files(self, ref: SecretRef) -> Iterator[Path | SecretError]:
        if ref.credential is not None:
            try:
                yield self._credential(ref, ref.credential)
            except SecretError as error:
                yield error
        yield from (path for path in (ref.file, ref.age, ref.identity) if path is not None)

    def _variable(self, ref: SecretRef, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise SecretError(f"cannot read {ref}: the environment variable {name} is not set")
        return value

    def _from_files(self, ref: SecretRef) -> str:
        if ref.credential is not None:
            return _text(ref, _read(ref, self._credential(ref, ref.credential)))
        if ref.age is not None and ref.identity is not None:
            return _text(ref, _decrypted(ref, _read(ref, ref.age), _read(ref, ref.identity)))
        if ref.file is None:
            raise SecretError("the reference names no source")
        return _text(ref, _read(ref, ref.file))

    def _credential(self, ref: SecretRef, name: str) -> Path:
        if "/" in name or name in {"", ".", ".."}:
            raise SecretError(f"cannot read {ref}: a credential's name is a plain file name")
        if self._credentials is None:
            raise SecretError(
                f"cannot read {ref}: $CREDENTIALS_DIRECTORY is not set; run under systemd with LoadCredential={name}:…"
            )
        return self._credentials / name

    async def _run(self, ref: SecretRef, command: tuple[str, ...]) -> bytes:
        """Standard output of the command. Standard error is dropped: nobody knows what a tool prints there."""
        if not command:
            raise SecretError("cannot read the command: it is empty")
        environment = {name: self._environ[name] for name in _COMMAND_ENVIRONMENT if name in self._environ}
        try:
            ended = await child.run(*command, environment=environment, patience=self._patience, most=LIMIT)
        except TimeoutError:
            raise SecretError(f"{ref} did not answer within {self._patience:g} s; was it asking something?") from None
        except child.FloodError:
            raise SecretError(f"{ref} printed more than {LIMIT} bytes; that is no secret") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its words hold a NUL"
            raise SecretError(f"cannot run {ref}: {reason}") from None
        if ended.status:
            raise SecretError(f"{ref} ended with status {ended.status}; run it by hand as the daemon's user to see why")
        return ended.output


def _text(ref: SecretRef, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"the secret of {ref} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


@contextlib.contextmanager
def _opened(ref: SecretRef, path: Path) -> Iterator[int]:
    """A descriptor of a regular file; O_NONBLOCK because opening a FIFO would wait for its writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path holds a NUL"
        raise SecretError(f"cannot read {ref}: {path}: {reason}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SecretError(f"cannot read {ref}: {path} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(ref: SecretRef, path: Path) -> bytes:
    with _opened(ref, path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise SecretError(f"cannot read {ref}: {path} is larger than {LIMIT} bytes; that is no secret")
    return content


def _decrypted(ref: SecretRef, content: bytes, identity: bytes) -> bytes:
    """age (https://age-encryption.org/v1) with X25519 or unencrypted SSH identities; passphrases need a person."""
    try:
        import pyrage  # noqa: PLC0415  # an extra: only who names an age file needs it
    except ModuleNotFoundError:
        raise SecretError(f"cannot read {ref}: pip install 'expiryd[age]'") from None
    try:
        if b"PRIVATE KEY-----" in identity:
            identities = [pyrage.ssh.Identity.from_buffer(identity)]
        else:
            lines = [line.strip() for line in identity.decode("ascii").splitlines()]
            identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise SecretError(f"cannot read {ref}: {ref.identity} holds no age or SSH identity") from None
    try:
        return bytes(pyrage.decrypt(content, identities))
    except pyrage.DecryptError:
        raise SecretError(
            f"cannot read {ref}: it is not age, or was encrypted for another than {ref.identity}"
        ) from None


# ── fingerprints ──────────────────────────────────────────────────────────────────────────────────────


class FingerprintKeyError(ExpirydError):
    """The key of the fingerprints cannot be used. The message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A keyed hash (BLAKE2b, 16 hexadecimal digits): the same value has the same one here, and nowhere else."""

    key: bytes = field(repr=False)

    def __call__(self, value: str) -> str:
        return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=self.key, digest_size=8).hexdigest()


def load_fingerprint_key(state_dir: Path) -> bytes:
    """The installation's key, made on the first call. Raises FingerprintKeyError.

    Losing it makes every fingerprinted credential look renewed once; whoever reads it can test guesses
    against stored fingerprints. So it is refused when it is short or readable by others.
    """
    path = state_dir / KEY_NAME
    try:
        _create_key(path)
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise FingerprintKeyError(f"cannot keep a key in {path}: {error.strerror}; make {state_dir} writable") from None
    if mode & 0o077:
        raise FingerprintKeyError(f"{path} has mode {mode:04o}, so others may read it: chmod 0600 {path}")
    if len(key) != KEY_BYTES:
        raise FingerprintKeyError(
            f"{path} has not the {KEY_BYTES} bytes it was made with: restore it from a backup, or delete it "
            "(every token then counts as renewed once)"
        )
    return key


def _create_key(path: Path) -> None:
    """Written whole beside its place and then linked: two processes starting at once agree on one key."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
