"""Java keystores (JKS, JCEKS): their certificates, which they list to everybody."""

from __future__ import annotations

import logging
import struct
from typing import Any, NamedTuple

from expiryd.api import Secret

MAGIC = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")

# Written for sound files, the library and the Java deserialiser below it raise nearly anything on others.
_ANY_FAILURE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class Keystore(NamedTuple):
    """DER certificates with their alias, which only the first of a chain has."""

    certificates: list[tuple[str, bytes]]
    private_key: bool
    wrong_password: bool


def read(data: bytes, password: Secret | None) -> Keystore:
    """The password only proves that nobody changed the file; no key is opened.

    Raises ImportError without the extra `jks` and ValueError for a damaged file.
    """
    import jks  # noqa: PLC0415  an extra: only who has such a keystore needs it

    logging.getLogger("javaobj").disabled = True  # of what it can't read it logs the content
    try:
        store, wrong = _load(jks, data, password)
        certificates = [(alias, bytes(entry.cert)) for alias, entry in store.certs.items()]
        for alias, entry in store.private_keys.items():
            certificates += [(alias if n == 0 else "", bytes(der)) for n, (_, der) in enumerate(entry.cert_chain)]
        return Keystore(certificates, bool(store.private_keys), wrong)
    except (jks.util.KeystoreException, *_ANY_FAILURE) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _load(jks: Any, data: bytes, password: Secret | None) -> tuple[Any, bool]:
    if password is not None:
        try:
            return jks.KeyStore.loads(data, password.reveal(), try_decrypt_keys=False), False
        except jks.KeystoreSignatureException:
            pass
    return jks.KeyStore.loads(data, None, try_decrypt_keys=False), password is not None
