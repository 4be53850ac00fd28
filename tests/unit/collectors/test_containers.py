"""Whatever holds a certificate is recognised by its content, and one broken part never costs another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.collectors.made import (
    authority,
    certificate,
    crl,
    der,
    jks_store,
    key,
    key_pem,
    p12,
    pem,
)

from expiryd.api import Secret
from expiryd.collectors._containers import Contents, Unopened, promising, split
from expiryd.collectors._der import element, key_rounds

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:PKCS#?12 bundle could not be parsed")
CANARY = "canary-7f3a"
ONE, TWO = certificate("one"), certificate("two", serial=2)
NS_COMMENT = x509.ObjectIdentifier("2.16.840.1.113730.1.13")
OPENSSL = Path("/usr/bin/openssl")


def subjects(contents: Contents) -> list[str]:
    found = [x509.load_der_x509_certificate(part.der) for part in contents.parts if part.kind == "certificate"]
    return [str(each.subject.rfc4514_string()).removeprefix("CN=") for each in found]


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    if not OPENSSL.exists():
        pytest.skip("needs openssl")
    return subprocess.run([OPENSSL, *arguments], input=given, capture_output=True, check=True).stdout


# ── PEM ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bundle_with_text_keys_requests_and_lists_gives_certificates_and_lists() -> None:
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key(), crl().signature_hash_algorithm)
    )
    asked = request.public_bytes(Encoding.PEM)
    contents = split(b"subject=one\n" + pem(ONE) + key_pem() + asked + b"\xff\xfe text\n" + pem(crl()) + pem(TWO))
    assert subjects(contents) == ["one", "two"] and [part.kind for part in contents.parts].count("crl") == 1
    assert contents.private_key and not contents.faults


@pytest.mark.parametrize("ending", [b"\r\n", b"\r", b" \n"])
def test_line_ends_of_any_system_are_read(ending: bytes) -> None:
    assert subjects(split(pem(ONE).replace(b"\n", ending))) == ["one"]


def test_a_byte_order_mark_and_a_missing_last_line_end_do_no_harm() -> None:
    assert subjects(split(b"\xef\xbb\xbf" + pem(ONE).rstrip())) == ["one"]


def test_old_and_trusted_labels_are_certificates_too() -> None:
    assert subjects(split(pem(ONE).replace(b" CERTIFICATE-", b" X509 CERTIFICATE-"))) == ["one"]
    trusted = openssl("x509", "-trustout", "-addtrust", "serverAuth", given=pem(ONE))
    assert b"TRUSTED CERTIFICATE" in trusted
    assert subjects(split(trusted + pem(TWO))) == ["one", "two"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (pem(ONE).replace(b"\n-----END CERTIFICATE-----", b""), "END line is missing"),
        (pem(ONE)[:200], "END line is missing"),
        (b"-----BEGIN CERTIFICATE-----\n@@@@\n-----END CERTIFICATE-----\n", "base64"),
        (
            b"-----BEGIN CERTIFICATE-----\nQUJD" + b"QUJD" * 120_000 + b"\n-----END CERTIFICATE-----\n",
            "larger than 256",
        ),
        (b"-----BEGIN PKCS7-----\nQUJD\n-----END PKCS7-----\n", "PKCS#7"),
        (b"-----BEGIN TRUSTED CERTIFICATE-----\nMIIC\n-----END TRUSTED CERTIFICATE-----\n", "cut short"),
    ],
)
def test_a_broken_block_is_told_and_its_neighbours_are_read(broken: bytes, why: str) -> None:
    contents = split(pem(ONE) + broken + pem(TWO))
    assert subjects(contents) == ["one", "two"]
    assert len(contents.faults) == 1 and why.lower() in contents.faults[0].lower()


def test_a_million_begin_lines_are_over_in_a_moment() -> None:
    assert len(split(b"-----BEGIN CERTIFICATE-----\n" * 50_000).faults) == 50_000
    assert split(b"-----BEGIN " * 50_000).faults == []


def test_text_before_a_certificate_may_begin_like_der() -> None:
    assert subjects(split(b"000000000000\n" + pem(ONE))) == ["one"]


def test_der_that_quotes_armour_is_der_all_the_same() -> None:
    quoting = certificate("one", names=["x"], extensions=[x509.UnrecognizedExtension(NS_COMMENT, b"-----BEGIN X-----")])
    assert subjects(split(der(quoting))) == ["one"]


def test_a_key_alone_is_recognised_as_no_certificate_in_every_form() -> None:
    encrypted = openssl("pkcs8", "-topk8", "-passout", "pass:x", "-outform", "der", given=key_pem())
    plain = openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "der", given=key_pem())
    for form in (key_pem(), encrypted, plain, openssl("ec", "-outform", "der", given=key_pem())):
        contents = split(form)
        assert contents.private_key and contents.recognised and not contents.parts and not contents.faults


# ── DER and PKCS#7 ────────────────────────────────────────────────────────────────────────────────────


def test_der_certificates_lists_and_requests_are_told_apart() -> None:
    assert subjects(split(der(ONE))) == ["one"]
    assert [part.kind for part in split(der(crl())).parts] == ["crl"]
    request = openssl("req", "-new", "-key", "/dev/stdin", "-subj", "/CN=x", "-outform", "der", given=key_pem())
    assert split(request).recognised and not split(request).parts


def test_der_behind_der_is_read_and_a_cut_one_is_told() -> None:
    contents = split(der(ONE) + der(TWO) + der(ONE)[:-1])
    assert subjects(contents) == ["one", "two"] and contents.faults == ["it is cut short"]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_pkcs7_gives_all_its_certificates(encoding: Encoding) -> None:
    assert sorted(subjects(split(pkcs7.serialize_certificates([ONE, TWO], encoding)))) == ["one", "two"]


def test_what_is_none_of_these_holds_nothing() -> None:
    for data in (b"", b"\x30", b"\x00" * 100, b"hello", b"\xfe\xed", b"0123456789" * 10):
        contents = split(data)
        assert not contents.parts and not contents.recognised


# ── PKCS#12 ───────────────────────────────────────────────────────────────────────────────────────────


def test_pkcs12_gives_certificates_with_their_aliases() -> None:
    contents = split(p12("pw", more=[authority("Intermediate")]), Secret("pw"))
    assert [(part.alias) for part in contents.parts] == ["web", ""]
    assert subjects(contents) == ["www.example.org", "Intermediate"] and contents.private_key


def test_legacy_rc2_and_triple_des_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(key_pem())
    legacy = openssl(
        "pkcs12", "-export", "-legacy", "-inkey", str(tmp_path / "key"), "-passout", "pass:pw", given=pem(certificate())
    )
    assert subjects(split(legacy, Secret("pw"))) == ["www.example.org"]


def test_java_9_trust_stores_need_no_key() -> None:
    entries = [pkcs12.PKCS12Certificate(authority("Root"), b"root")]
    store = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"changeit"))
    contents = split(store, Secret("changeit"))
    assert [part.alias for part in contents.parts] == ["root"] and not contents.private_key


def test_a_file_without_password_is_read_with_or_without_one_configured() -> None:
    assert subjects(split(p12())) == ["www.example.org"]
    assert subjects(split(p12(), Secret("for the others"))) == ["www.example.org"]


def test_a_missing_and_a_wrong_password_are_told_apart_and_never_repeated() -> None:
    with pytest.raises(Unopened, match="needs a password; set `password`"):
        split(p12("pw"))
    with pytest.raises(Unopened, match="wrong password") as caught:
        split(p12("pw"), Secret(CANARY))
    assert CANARY not in repr(caught.value) and caught.value.__suppress_context__


def test_a_cut_file_is_told_as_such() -> None:
    assert split(p12("pw")[:-20], Secret("pw")).faults == ["it is cut short"]


def test_a_file_made_to_be_slow_is_refused_before_its_key_is_derived(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(key_pem())
    arguments = ["pkcs12", "-export", "-inkey", str(tmp_path / "key"), "-passout", "pass:pw", "-iter"]
    slow, usual = (openssl(*arguments, rounds, given=pem(ONE)) for rounds in ("900000", "100000"))
    assert key_rounds(slow) >= 2_700_000 and 300_000 <= key_rounds(usual) < 310_000
    with pytest.raises(Unopened, match="rounds of key derivation"):
        split(slow, Secret("pw"))
    assert subjects(split(usual, Secret("pw"))) == ["one"]


def test_rounds_are_counted_through_octet_strings_in_chunks_and_lengths_left_open() -> None:
    parameters = b"\x30\x0b\x04\x02ab\x02\x03\x0f\x42\x40\x05\x00"
    chunks = b"\x24\x80\x04\x07" + parameters[:7] + b"\x04\x06" + parameters[7:] + b"\x00\x00"
    assert key_rounds(b"\x30\x80" + chunks + b"\x00\x00") == 1_000_000
    assert key_rounds(parameters) == 1_000_000


def test_a_structure_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="nested beyond reason"):
        key_rounds(b"\x30\x80" * 5_000)
    with pytest.raises(ValueError, match="nested beyond reason"):
        key_rounds(b"\x30\x80" + b"\x05\x00" * 300_000)


def test_an_element_tells_its_body_and_refuses_what_is_cut() -> None:
    assert element(b"\x30\x81\x80" + b"x" * 128) == (0x30, 3, 131)
    for cut in (b"", b"\x30", b"\x30\x05abc", b"\x30\x84\xff\xff\xff\xff"):
        with pytest.raises(ValueError, match="cut short"):
            element(cut)


# ── Java keystores ────────────────────────────────────────────────────────────────────────────────────


def test_a_java_keystore_lists_chains_and_trusted_entries_without_its_password() -> None:
    contents = split(jks_store())
    assert sorted((part.alias, name) for part, name in zip(contents.parts, subjects(contents), strict=True)) == [
        ("", "Intermediate"),
        ("root", "Root"),
        ("web", "www.example.org"),
    ]
    assert contents.private_key and not contents.findings


def test_a_wrong_java_password_is_a_finding_beside_the_certificates() -> None:
    assert split(jks_store(), Secret("changeit")).findings == ()
    contents = split(jks_store(), Secret(CANARY))
    assert [found.code for found in contents.findings] == ["wrong-password"] and len(contents.parts) == 3
    assert CANARY not in repr(contents)


def test_a_jceks_keystore_is_read_too() -> None:
    assert len(split(b"\xce\xce\xce\xce" + jks_store()[4:]).parts) == 3


def test_without_its_library_a_java_keystore_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jks", None)
    with pytest.raises(Unopened, match=r"pip install 'expiryd\[jks\]'"):
        split(jks_store())


# ── anything else ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [pem(ONE), der(ONE), der(crl()), p12(), jks_store(), b"text\n" + key_pem()])
def test_the_beginning_of_everything_readable_is_promising(data: bytes) -> None:
    assert promising(data[:4096])


def test_the_beginning_of_other_files_is_not() -> None:
    for data in (b"", b"0", b"#!/bin/sh\n", b"\x7fELF\x02", b"PK\x03\x04abcd"):
        assert not promising(data)


CONTAINERS = [
    pem(ONE) + key_pem() + pem(crl()),
    der(ONE),
    der(crl()),
    pkcs7.serialize_certificates([ONE, TWO], Encoding.DER),
    p12("pw", more=[TWO]),
    p12(),
    jks_store(),
    b"\xce\xce\xce\xce" + jks_store()[4:],
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CONTAINERS), st.data())
def test_mutated_containers_only_ever_lose_what_was_mutated(container: bytes, data: st.DataObject) -> None:
    mutated = bytearray(container)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(mutated) // 2, len(mutated)))
    for variant in (bytes(mutated), bytes(mutated[:cut])):
        try:
            split(variant, Secret("pw"))
        except Unopened as refusal:
            assert str(refusal).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, len(pem(ONE)) - 1), st.integers(0, 255))
def test_whatever_stands_beside_a_good_certificate_it_is_found(noise: bytes, place: int, value: int) -> None:
    broken = bytearray(pem(ONE))
    broken[place] = value
    contents = split(b"x" + noise + b"\n" + bytes(broken) + b"\n" + noise + b"\n" + pem(TWO))
    assert any(part.der == der(TWO) for part in contents.parts)
