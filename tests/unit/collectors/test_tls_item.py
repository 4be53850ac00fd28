"""One reading out of what a target's addresses served."""

from __future__ import annotations

import pytest
from tests.fakes.tls import NOW, after, intermediate, issue, root

from expiryd.api import Blind, Observation
from expiryd.collectors._chain import ChainJudge, Limits
from expiryd.collectors._tls_item import Endpoint, read
from expiryd.collectors._tls_probe import Served, Step, Unreached
from expiryd.collectors._tls_target import parse_target
from expiryd.collectors._trust import Trust

LEAF = issue("www.example", intermediate())
CHAIN = (LEAF.der, intermediate().der, root().der)
GOOD = Served("192.0.2.1", CHAIN, 3, "TLSv1.3")
NOISE = Served("192.0.2.2", (b"noise",), 1, "TLSv1.3")
TARGET = parse_target("www.example")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> ChainJudge:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(root().pem)
    return ChainJudge(Trust(path), Limits())


def test_an_address_this_machine_has_no_way_to_is_not_the_servers_fault(judge: ChainJudge) -> None:
    far = {"2001:db8::1": Unreached(Step.TCP, "can't be reached", no_route=True)}
    seen = read(Endpoint(TARGET, "www.example", [GOOD], far), judge, NOW)
    assert isinstance(seen, Observation)
    assert (seen.findings, seen.traits.labels["addresses"]) == ((), "2")


def test_but_when_it_is_the_only_one_the_item_is_blind(judge: ChainJudge) -> None:
    far = {"2001:db8::1": Unreached(Step.TCP, "can't be reached on port 443: Network is unreachable", no_route=True)}
    expected = "TCP: 2001:db8::1 can't be reached on port 443: Network is unreachable"
    assert read(Endpoint(TARGET, "www.example", [], far), judge, NOW) == Blind("www.example", expected, "certificate")


def test_a_certificate_of_noise_is_an_address_that_was_not_reached(judge: ChainJudge) -> None:
    seen = read(Endpoint(TARGET, "www.example", [GOOD, NOISE], {}), judge, NOW)
    assert isinstance(seen, Observation)
    assert [finding.code for finding in seen.findings] == ["address-unreachable"]
    assert "TLS: 192.0.2.2 served a certificate that can't be read" in seen.findings[0].detail


def test_what_is_served_where_is_known_whichever_address_came_first(judge: ChainJudge) -> None:
    old = Served("192.0.2.9", (issue("www.example", intermediate(), end=after(5)).der,), 1, "TLSv1.3")
    also = Served("192.0.2.3", CHAIN, 3, "TLSv1.3")
    seen = read(Endpoint(TARGET, "www.example", [GOOD, old, also], {}), judge, NOW)
    turned = read(Endpoint(TARGET, "www.example", [also, GOOD, old], {}), judge, NOW)
    assert isinstance(seen, Observation) and isinstance(turned, Observation)
    assert seen.served == turned.served and len(seen.served) == 2
    assert {one.addresses for one in seen.served} == {("192.0.2.1", "192.0.2.3"), ("192.0.2.9",)}
    assert {one.expires_at for one in seen.served} == {after(5), LEAF.certificate.not_valid_after_utc}
    assert seen.fingerprint == next(one.fingerprint for one in seen.served if "192.0.2.9" in one.addresses)
    assert seen.identity.startswith("certificate ") and seen.identity.endswith(" www.example")


def test_nothing_but_noise_is_blind(judge: ChainJudge) -> None:
    seen = read(Endpoint(TARGET, "www.example", [NOISE], {}), judge, NOW)
    assert isinstance(seen, Blind) and "can't be read" in seen.reason


def test_one_item_has_one_finding_of_each_code(judge: ChainJudge) -> None:
    """An alert is opened for each code: two of the same would be one alert that flaps."""
    served = [
        Served(f"192.0.2.{n}", (issue(f"{n}.example", intermediate(), end=after(n)).der,), 1, "TLSv1", weak="broke off")
        for n in range(1, 6)
    ]
    seen = read(Endpoint(TARGET, "www.example", served, {}), judge, NOW)
    assert isinstance(seen, Observation)
    codes = [finding.code for finding in seen.findings]
    assert sorted(codes) == ["addresses-differ", "incomplete-chain", "legacy-tls", "wrong-name"]
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(1)
