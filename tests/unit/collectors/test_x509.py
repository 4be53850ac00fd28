"""What can be read of a certificate is read, and what can't costs nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.collectors.made import END, START, certificate, crl, crl_without_end, der

from expiryd.api import Basis, Severity
from expiryd.collectors._x509 import Facts, describe, describe_revocations, explain, load, printable

# cryptography says that it will refuse what RFC 5280 forbids; until then it is read.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
GOOD = der(certificate(names=["www.example.org", "b.example"]))


def altered(old: bytes, new: bytes) -> Facts:
    assert GOOD.count(old) >= 1
    return describe(load(GOOD.replace(old, new)))


def test_a_sound_certificate_tells_who_by_whom_and_how_long() -> None:
    facts = describe(certificate(names=["www.example.org"]))
    assert (facts.subject, facts.issuer, facts.serial) == ("www.example.org", "Test CA", "1234")
    assert facts.lifetime is not None
    assert (facts.lifetime.not_before, facts.lifetime.issued_at, facts.lifetime.expires_at) == (START, START, END)
    assert facts.lifetime.basis is Basis.EMBEDDED
    assert len(facts.fingerprint) == 64 and facts.generation == f"1234-{facts.fingerprint[:8]}"
    assert not facts.authority and facts.findings == ()


def test_the_title_is_the_common_name_else_the_first_alternative_name_else_the_serial() -> None:
    assert describe(certificate("cn", names=["san"])).title == "cn"
    assert describe(certificate("", names=["san", "other"])).title == "san"
    assert describe(certificate("")).title == "serial 1234"


def test_labels_are_few_and_leave_out_names_that_say_nothing_new() -> None:
    assert describe(certificate("a", names=["a"])).traits.labels == {"issuer": "Test CA", "serial": "1234"}
    many = describe(certificate("a", names=[f"h{n}" for n in range(100)])).traits.labels
    assert many["sans"] == "h0,h1,h2,+97"


def test_all_usual_kinds_of_alternative_names_are_read_in_their_order() -> None:
    names = x509.SubjectAlternativeName(
        [
            x509.IPAddress(IPv4Address("192.0.2.1")),
            x509.DNSName("*.example.org"),
            x509.DirectoryName(x509.Name([])),
            x509.RFC822Name("root@example.org"),
            x509.UniformResourceIdentifier("spiffe://example.org/web"),
        ]
    )
    facts = describe(certificate(extensions=[names]))
    assert facts.names == ("192.0.2.1", "*.example.org", "root@example.org", "spiffe://example.org/web")


def test_who_may_sign_others_or_signed_itself_without_saying_is_an_authority() -> None:
    assert describe(certificate(authority=True)).authority
    assert describe(certificate("Root", issuer="Root", authority=None)).authority
    assert not describe(certificate("self", issuer="self", authority=False)).authority
    assert not describe(certificate(authority=None)).authority


@pytest.mark.parametrize("end", [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)])
def test_an_end_in_the_year_9999_is_no_end(end: datetime) -> None:
    lifetime = describe(certificate(end=end)).lifetime
    assert lifetime is not None and lifetime.basis is Basis.NONE
    assert lifetime.expires_at is None and lifetime.not_before == START


def test_a_certificate_that_is_not_valid_yet_or_no_more_is_only_a_date() -> None:
    facts = describe(certificate(start=datetime(1960, 1, 1, tzinfo=UTC), end=datetime(1999, 1, 1, tzinfo=UTC)))
    assert facts.lifetime is not None and facts.lifetime.expires_at == datetime(1999, 1, 1, tzinfo=UTC)
    assert facts.findings == ()


def test_a_negative_serial_is_a_finding_beside_the_date() -> None:
    facts = altered(b"\x02\x02\x12\x34", b"\x02\x02\x92\x34")
    assert [found.code for found in facts.findings] == ["malformed"]
    assert "serial number is negative" in facts.findings[0].detail
    assert facts.not_after == END


def test_a_serial_of_zero_which_known_authorities_have_is_no_finding() -> None:
    data = der(certificate(serial=0x55))
    facts = describe(load(data.replace(b"\x02\x01\x55", b"\x02\x01\x00", 1)))
    assert facts.serial == "0" and facts.findings == ()


def test_broken_alternative_names_cost_neither_date_nor_subject() -> None:
    facts = altered(b"\x82\x09b.example", b"\x82\x09\xff.example")
    assert facts.names == () and facts.not_after == END and facts.title == "www.example.org"
    assert facts.findings[0].code == "malformed" and facts.findings[0].severity is Severity.WARNING
    assert "extensions can't be read (InvalidValue at subject_alternative_name" in facts.findings[0].detail


def test_a_broken_name_costs_only_that_name() -> None:
    facts = altered(b"\x0c\x07Test CA", b"\x0c\x07\xffest CA")
    assert facts.issuer == "" and facts.subject == "www.example.org" and facts.not_after == END
    assert "issuer can't be read" in facts.findings[0].detail


def test_an_extension_that_comes_twice_is_a_finding() -> None:
    assert "Duplicate 2.5.29.19" in altered(b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x13").findings[0].detail


def test_a_year_zero_leaves_an_unknown_end_which_is_no_date() -> None:
    far = der(certificate(end=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    facts = describe(load(far.replace(b"99991231235959Z", b"00000101000000Z")))
    assert facts.lifetime is None and "notAfter can't be read (year 0 is out of range)" in facts.findings[0].detail


def test_an_end_before_the_beginning_is_a_finding() -> None:
    facts = altered(b"310101000000Z", b"290101000000Z")
    assert "notAfter lies before notBefore" in facts.findings[0].detail


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", "7 is not a valid X509 version"),
        (b"310101000000Z", b"311301000000Z", "InvalidValue at tbs_cert, validity, not_after"),
        (b"310101000000Z", b"3101010000+01", "not_after"),
    ],
)
def test_what_can_not_be_loaded_at_all_is_refused_in_words(old: bytes, new: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(GOOD.replace(old, new))


def test_texts_are_printable_and_bounded() -> None:
    assert printable("a\x1b[31m\nb") == "a�[31m�b"
    assert len(printable("x" * 5000)) == 100
    hostile = describe(certificate("evil\x1b]0;\n" + "y" * 50))
    assert hostile.title.isprintable()


def test_a_parse_error_is_told_without_its_wrapping() -> None:
    wrapped = 'error parsing asn1 value: ParseError { kind: InvalidValue, location: ["Cert::tbs", 0, "Name::DNS"] }'
    assert explain(ValueError(wrapped)) == "InvalidValue at tbs, 0, DNS"
    wrapped = "error parsing asn1 value: ParseError { kind: ShortData { needed: 6 } }"
    assert explain(ValueError(wrapped)) == "ShortData { needed: 6 }"
    assert explain(ValueError()) == "ValueError"


def test_a_list_ends_with_its_next_update_and_is_told_apart_by_number() -> None:
    facts = describe_revocations(der(crl()))
    assert facts.title == "CRL of Test CA" and facts.number == "7" and facts.generation.startswith("7-")
    assert facts.lifetime.expires_at == datetime(2030, 1, 8, tzinfo=UTC) and facts.lifetime.issued_at == START
    assert facts.traits.labels == {"issuer": "Test CA", "number": "7"} and facts.findings == ()


def test_a_list_without_next_update_says_that_nobody_can_tell_when_it_is_stale() -> None:
    facts = describe_revocations(crl_without_end())
    assert [found.code for found in facts.findings] == ["no-next-update"] and facts.lifetime.expires_at is None


def test_a_list_number_beyond_reason_is_left_out() -> None:
    assert describe_revocations(der(crl(number=2**15999))).number == ""


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_one_wrong_byte_is_described_or_refused_with_value_error(place: int, value: int) -> None:
    data = bytearray(GOOD)
    data[place] = value
    try:
        facts = describe(load(bytes(data)))
    except ValueError as error:
        assert str(error).isprintable()
    else:
        assert facts.title.isprintable() and all(found.detail.isprintable() for found in facts.findings)
        assert facts.lifetime is not None or facts.findings
