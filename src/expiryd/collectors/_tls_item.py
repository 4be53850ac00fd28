"""Makes one reading of a target out of what each of its addresses served, or why it did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from expiryd.api import Blind, Finding, Observation, Reading, Severity, Traits
from expiryd.api import Served as Handed
from expiryd.collectors._chain import ChainJudge, Verdict, merge
from expiryd.collectors._tls_probe import MAX_CHAIN, Served, Step, Unreached
from expiryd.collectors._tls_target import Target

KIND = "certificate"
_SHOWN = 3
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What was seen and not seen of one target. `unreached` maps an address, or the name itself, to the reason."""

    target: Target
    server_name: str
    served: Sequence[Served]
    unreached: dict[str, Unreached]
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What one address served, and what it is worth."""

    served: Served
    verdict: Verdict

    @property
    def ends(self) -> datetime:
        return self.verdict.leaf.not_after or _NEVER


def read(endpoint: Endpoint, judge: ChainJudge, now: datetime) -> Reading:
    """The certificate that ends first decides; what holds for some addresses only says for which."""
    judged = []
    unreached = dict(endpoint.unreached)
    for served in endpoint.served:
        try:
            judged.append(Judged(served, judge.judge(served.chain, endpoint.server_name, now)))
        except ValueError as error:
            unreached[served.address] = Unreached(Step.TLS, f"served a certificate that can't be read: {error}")
    if not judged:
        return Blind(endpoint.target.text, _reasons(unreached), KIND)
    first = min(judged, key=lambda one: one.ends)
    addresses = len(judged) + len(unreached) + endpoint.skipped
    verdict = first.verdict
    return Observation(
        endpoint.target.text,
        KIND,
        verdict.title,
        verdict.lifetime,
        verdict.generation,
        tuple(merge([*_compare(judged, unreached, endpoint.skipped), *_attribute(judged)])),
        traits=Traits(labels={**verdict.labels, "addresses": str(addresses), "tls": first.served.version}),
        fingerprint=verdict.mark,
        identity=verdict.identity,
        served=_handed(judged),
    )


def _handed(judged: Sequence[Judged]) -> tuple[Handed, ...]:
    """Each different certificate with its addresses, in an order of its own: that of the addresses may change."""
    by_mark: dict[str, list[Judged]] = {}
    for one in judged:
        by_mark.setdefault(one.verdict.mark, []).append(one)
    return tuple(
        Handed(mark, same[0].verdict.leaf.not_after, tuple(sorted(one.served.address for one in same)))
        for mark, same in sorted(by_mark.items())
    )


def _compare(judged: Sequence[Judged], unreached: Mapping[str, Unreached], skipped: int) -> Iterator[Finding]:
    """What is only seen by comparing the addresses."""
    if len({one.verdict.leaf.fingerprint for one in judged}) > 1:
        shown = (
            f"{one.served.address} serves serial {one.verdict.leaf.serial} until {one.ends:%Y-%m-%d}" for one in judged
        )
        detail = f"{_some(list(shown))}: was the renewed certificate deployed everywhere?"
        yield Finding("addresses-differ", Severity.WARNING, detail)
    # An IPv6 address does not fail because this machine has no IPv6.
    if failed := {address: why for address, why in unreached.items() if not why.no_route}:
        yield Finding("address-unreachable", Severity.WARNING, _reasons(failed))
    if skipped:
        detail = f"{skipped} more addresses were not looked at: name single addresses as targets to see them"
        yield Finding("too-many-addresses", Severity.INFO, detail)


def _attribute(judged: Sequence[Judged]) -> Iterator[Finding]:
    """Each address's findings; those that not all addresses share name the address."""
    if len(judged) == 1:
        yield from judged[0].verdict.findings
        yield from _of_handshake(judged[0].served)
        return
    each = [list(merge([*one.verdict.findings, *_of_handshake(one.served)])) for one in judged]
    for one, findings in zip(judged, each, strict=True):
        for finding in findings:
            shared = all(finding in others for others in each)
            yield finding if shared else replace(finding, detail=f"{one.served.address}: {finding.detail}")


def _of_handshake(served: Served) -> Iterator[Finding]:
    if served.weak:
        detail = f"only outdated settings work ({served.version}); with modern ones it {served.weak}: update the server"
        yield Finding("legacy-tls", Severity.WARNING, detail)
    if served.broken_off:
        yield Finding("handshake-failed", Severity.WARNING, f"served its certificate, but {served.broken_off}")
    if served.client_certificate_required:
        detail = "clients without a certificate are turned away; the server's own certificate was seen all the same"
        yield Finding("client-certificate-required", Severity.INFO, detail)
    if served.count > MAX_CHAIN:
        detail = f"{served.count} certificates served, the first {MAX_CHAIN} looked at: serve only the chain"
        yield Finding("oversized-chain", Severity.WARNING, detail)


def _reasons(unreached: Mapping[str, Unreached]) -> str:
    """`TCP: 192.0.2.1 refuses connections on port 443: does the service run?`"""
    return _some([f"{why.step.value}: {subject} {why}" for subject, why in unreached.items()])


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
