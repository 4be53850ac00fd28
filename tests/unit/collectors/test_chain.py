"""A chain is judged apart from how it was fetched, and no judgement takes its date away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.tls import NOW, Identity, after, intermediate, issue, root, rsa_key

from expiryd.api import CollectError, Finding, Severity
from expiryd.collectors._chain import ChainJudge, Limits, Verdict, matches
from expiryd.collectors._trust import Trust

HOST = "www.example"
Judging = Callable[..., Verdict]


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(root().pem)
    return path


@pytest.fixture
def judge(ca_file: Path) -> ChainJudge:
    return ChainJudge(Trust(ca_file), Limits())


def findings(judge: ChainJudge, *chain: Identity, host: str = HOST) -> dict[str, Finding]:
    verdict = judge.judge([identity.der for identity in chain], host, NOW)
    assert verdict.lifetime is not None and verdict.lifetime.expires_at == chain[0].certificate.not_valid_after_utc
    assert len({finding.code for finding in verdict.findings}) == len(verdict.findings)
    return {finding.code: finding for finding in verdict.findings}


def test_a_sound_chain_has_no_findings_and_tells_what_it_is(judge: ChainJudge) -> None:
    leaf = issue(HOST, intermediate())
    verdict = judge.judge([leaf.der, intermediate().der], HOST, NOW)
    assert verdict.findings == ()
    assert verdict.title == HOST
    assert verdict.labels["issuer"] == "Test issuer"
    assert verdict.generation.startswith(f"{leaf.certificate.serial_number:x}"[:20])


def test_a_served_root_is_no_fault(judge: ChainJudge) -> None:
    assert findings(judge, issue(HOST, intermediate()), intermediate(), root()) == {}


def test_a_chain_in_the_wrong_order_leads_home_all_the_same(judge: ChainJudge) -> None:
    upper = issue("Upper", root(), authority=True, end=after(1000))
    lower = issue("Lower", upper, authority=True, end=after(900))
    assert findings(judge, issue(HOST, lower), upper, lower) == {}


def test_an_expired_leaf_is_judged_by_its_date_alone(judge: ChainJudge) -> None:
    leaf = issue(HOST, intermediate(), start=after(-90), end=after(-1))
    assert findings(judge, leaf, intermediate()) == {}


def test_a_leaf_of_tomorrow_is_not_yet_valid(judge: ChainJudge) -> None:
    found = findings(judge, issue(HOST, intermediate(), start=after(1)), intermediate())
    assert found.keys() == {"not-yet-valid"}
    assert found["not-yet-valid"].severity is Severity.CRITICAL
    assert "2030-01-02" in found["not-yet-valid"].detail


def test_self_signed_is_told_until_it_is_trusted_for_itself(judge: ChainJudge, tmp_path: Path) -> None:
    leaf = issue(HOST)
    assert findings(judge, leaf)["self-signed"].severity is Severity.WARNING
    (tmp_path / "own.pem").write_bytes(leaf.pem)
    assert findings(ChainJudge(Trust(tmp_path / "own.pem"), Limits()), leaf) == {}


def test_an_intermediate_alone_may_be_the_anchor(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(intermediate().pem)
    assert findings(ChainJudge(Trust(tmp_path / "ca.pem"), Limits()), issue(HOST, intermediate())) == {}


def test_a_missing_intermediate_is_an_incomplete_chain(judge: ChainJudge) -> None:
    found = findings(judge, issue(HOST, intermediate()))
    assert found.keys() == {"incomplete-chain"}
    assert '"Test issuer"' in found["incomplete-chain"].detail and "ca_file" in found["incomplete-chain"].detail


def test_a_wrong_intermediate_is_an_incomplete_chain_too(judge: ChainJudge) -> None:
    stranger = issue("Stranger", root(), authority=True, end=after(1000))
    assert findings(judge, issue(HOST, intermediate()), stranger).keys() == {"incomplete-chain"}


def test_an_unknown_authority_is_untrusted_whether_its_root_is_served_or_not(judge: ChainJudge) -> None:
    other = issue("Other root", authority=True, end=after(3650))
    below = issue("Other issuer", other, authority=True, end=after(1000))
    leaf = issue(HOST, below)
    assert findings(judge, leaf, below).keys() == {"untrusted"}
    assert "Other root" in findings(judge, leaf, below)["untrusted"].detail
    assert findings(judge, leaf, below, other).keys() == {"untrusted"}


def test_a_forged_signature_is_untrusted(judge: ChainJudge) -> None:
    forger = Identity(intermediate().certificate, ec.generate_private_key(ec.SECP256R1()))
    found = findings(judge, issue(HOST, forger), intermediate())
    assert found.keys() == {"untrusted"}


def test_a_leaf_may_not_sign_leaves(judge: ChainJudge) -> None:
    leaf = issue("not an authority", intermediate(), end=after(200))
    assert "untrusted" in findings(judge, issue(HOST, leaf), leaf, intermediate())


def test_an_expired_intermediate_that_is_needed_is_critical(judge: ChainJudge) -> None:
    old = issue("Old issuer", root(), authority=True, start=after(-900), end=after(-2))
    found = findings(judge, issue(HOST, old), old)
    assert found.keys() == {"expired-intermediate"}
    assert found["expired-intermediate"].severity is Severity.CRITICAL
    assert "2029-12-30" in found["expired-intermediate"].detail


def test_an_expired_intermediate_beside_a_sound_path_is_a_warning(judge: ChainJudge) -> None:
    """The AddTrust case of May 2020: old clients fail, new ones find the other way."""
    key = ec.generate_private_key(ec.SECP256R1())
    sound = issue("Issuer", root(), authority=True, end=after(1000), key=key)
    old = issue("Issuer", root(), authority=True, start=after(-900), end=after(-2), key=key)
    found = findings(judge, issue(HOST, sound), sound, old)
    assert found.keys() == {"expired-intermediate"}
    assert found["expired-intermediate"].severity is Severity.WARNING


@pytest.mark.parametrize(("days", "severity"), [(60, Severity.INFO), (20, Severity.WARNING), (5, Severity.CRITICAL)])
def test_an_intermediate_that_ends_before_the_leaf_grows_urgent(
    judge: ChainJudge, days: int, severity: Severity
) -> None:
    short = issue("Short issuer", root(), authority=True, end=after(days))
    found = findings(judge, issue(HOST, short), short)
    assert found.keys() == {"chain-expires-earlier"}
    assert found["chain-expires-earlier"].severity is severity
    assert f"{after(days):%Y-%m-%d}" in found["chain-expires-earlier"].detail


def test_how_early_an_intermediate_becomes_urgent_is_the_operators_choice(ca_file: Path) -> None:
    judge = ChainJudge(Trust(ca_file), Limits(warning=timedelta(days=70), critical=timedelta(days=65)))
    short = issue("Short issuer", root(), authority=True, end=after(60))
    assert findings(judge, issue(HOST, short), short)["chain-expires-earlier"].severity is Severity.CRITICAL


def test_small_keys_are_weak_wherever_they_stand(judge: ChainJudge) -> None:
    small = issue("Small issuer", root(), authority=True, end=after(1000), key=rsa_key(1024))
    found = findings(judge, issue(HOST, small), small)
    assert found.keys() == {"weak-key"}
    assert found["weak-key"].severity is Severity.WARNING
    assert '"Small issuer" has an RSA key of 1024 bits' in found["weak-key"].detail


def test_a_sha1_signature_is_weak(judge: ChainJudge) -> None:
    """Nobody makes one any more: the algorithm's name is changed, so the signature is wrong as well."""
    by_rsa = issue("RSA issuer", root(), authority=True, end=after(1000), key=rsa_key(2048))
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    leaf = issue(HOST, by_rsa).der.replace(sha256, sha1)
    found = {finding.code: finding for finding in judge.judge([leaf, by_rsa.der], HOST, NOW).findings}
    assert found.keys() == {"weak-signature", "untrusted"}
    assert f'"{HOST}" is signed with SHA1' in found["weak-signature"].detail


def test_modern_keys_are_not_weak(judge: ChainJudge) -> None:
    for key in (ed25519.Ed25519PrivateKey.generate(), rsa_key(2048), ec.generate_private_key(ec.SECP384R1())):
        assert findings(judge, issue(HOST, intermediate(), key=key), intermediate()) == {}


def test_one_finding_for_each_code_tells_of_every_certificate(judge: ChainJudge) -> None:
    small = issue("Small issuer", root(), authority=True, end=after(1000), key=rsa_key(1024))
    detail = findings(judge, issue(HOST, small, key=rsa_key(1024)), small)["weak-key"].detail
    assert HOST in detail and "Small issuer" in detail


@pytest.mark.parametrize(
    ("names", "host", "fits"),
    [
        (["www.example"], "www.example", True),
        (["WWW.Example"], "www.example", True),
        (["*.example"], "www.example", True),
        (["*.example"], "a.www.example", False),
        (["*.example"], "example", False),
        (["w*.example"], "www.example", False),
        (["other.example"], "www.example", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["2001:db8::1"], "2001:db8:0::1", True),
        (["192.0.2.2"], "192.0.2.1", False),
        (["*.2.1"], "192.0.2.1", False),
        (["xn--bcher-kva.example"], "xn--bcher-kva.example", True),
        ([], "www.example", False),
    ],
)
def test_names_fit_as_rfc_9525_says(names: list[str], host: str, fits: bool) -> None:
    assert matches(issue("www.example", names=names).certificate, host) is fits


def test_a_wrong_name_says_which_names_would_fit(judge: ChainJudge) -> None:
    found = findings(judge, issue("other.example", intermediate()), intermediate())
    assert found["wrong-name"].severity is Severity.WARNING
    assert HOST in found["wrong-name"].detail and "other.example" in found["wrong-name"].detail


def test_the_common_name_alone_is_no_name(judge: ChainJudge) -> None:
    found = findings(judge, issue(HOST, intermediate(), names=[]), intermediate())
    assert "no subjectAltName" in found["wrong-name"].detail


def test_an_intermediate_of_noise_costs_nothing_but_a_finding(judge: ChainJudge) -> None:
    leaf = issue(HOST, intermediate())
    verdict = judge.judge([leaf.der, b"\x30\x03noise", intermediate().der], HOST, NOW)
    assert [finding.code for finding in verdict.findings] == ["malformed"]
    assert "certificate 2" in verdict.findings[0].detail


def test_a_leaf_of_noise_is_a_value_error(judge: ChainJudge) -> None:
    with pytest.raises(ValueError):
        judge.judge([b"noise"], HOST, NOW)


@given(st.data())
def test_no_change_to_a_certificates_bytes_gets_past_the_judge(data: st.DataObject) -> None:
    der = bytearray(LEAF.der)
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    chain = [bytes(der), intermediate().der] if data.draw(st.booleans()) else [LEAF.der, bytes(der)]
    try:
        verdict = SHARED.judge(chain, HOST, NOW)
    except ValueError as error:
        assert str(error)
    else:
        assert all(finding.detail.isprintable() for finding in verdict.findings)


LEAF = issue(HOST, intermediate())
SHARED = ChainJudge(Trust(), Limits())


def test_a_verdict_is_remembered_for_the_same_chain_and_host_only(judge: ChainJudge) -> None:
    chain = [issue(HOST, intermediate()).der, intermediate().der]
    first = judge.judge(chain, HOST, NOW)
    assert judge.judge(chain, HOST, NOW + timedelta(hours=1)) is first
    assert judge.judge(chain, "other.example", NOW) is not first
    assert judge.judge(chain[:1], HOST, NOW) is not first


def test_a_verdict_ends_with_the_first_date_of_the_chain_and_within_a_day(judge: ChainJudge) -> None:
    short = issue("Short issuer", root(), authority=True, end=NOW + timedelta(hours=2))
    chain = [issue(HOST, short).der, short.der]
    codes = [
        [finding.code for finding in judge.judge(chain, HOST, NOW + timedelta(hours=hours)).findings]
        for hours in (0, 1, 2, 3)
    ]
    assert codes == [["chain-expires-earlier"], ["chain-expires-earlier"], *[["expired-intermediate"]] * 2]


@pytest.mark.parametrize("content", [None, b"", b"no certificate here", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_ca_file_that_is_none_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CollectError, match=r"ca\.pem.*PEM"):
        Trust(path)


def test_the_systems_authorities_stay_trusted_beside_a_ca_file(
    ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = issue("System root", authority=True, end=after(3650))
    (tmp_path / "system.pem").write_bytes(other.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    judge = ChainJudge(Trust(ca_file), Limits())
    assert findings(judge, issue(HOST, other)) == {}
    assert findings(judge, issue(HOST, intermediate()), intermediate()) == {}


def test_without_any_authority_trust_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    trust = Trust()
    assert trust.empty
    assert findings(ChainJudge(trust, Limits()), issue(HOST)) == {}
