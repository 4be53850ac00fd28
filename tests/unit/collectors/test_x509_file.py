"""Every certificate under the configured paths is an item, and what can't be seen is neither gone nor healthy."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.collectors.made import (
    END,
    START,
    authority,
    certificate,
    crl,
    crl_without_end,
    der,
    jks_store,
    key_pem,
    p12,
    pem,
)

from expiryd.api import Blind, CollectError, Observation, Reading, SecretError, SecretRef
from expiryd.collectors.x509_file import LARGEST_FILE, X509FileConfig, X509Files
from expiryd.testing import tools

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:PKCS#?12 bundle could not be parsed")
CANARY = "canary-51c9"
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Look:
    """One look: what was seen by id, what was not, and what was said at the end."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.error = ""

    @property
    def seen(self) -> dict[str, Observation]:
        return {each.id: each for each in self.readings if isinstance(each, Observation)}

    @property
    def blind(self) -> dict[str, str]:
        return {each.id: each.reason for each in self.readings if isinstance(each, Blind)}

    def codes(self, item: object) -> list[str]:
        return [found.code for found in self.seen[str(item)].findings]


def built(http: aiohttp.ClientSession, *paths: object, **keys: Any) -> X509Files:
    config = X509FileConfig.model_validate({"type": "x509-file", "path": [str(path) for path in paths], **keys})
    return config.build(tools(http, secrets={"PASSWORD": "pw", "WRONG": CANARY}))


async def look(collector: X509Files) -> Look:
    done = Look()
    try:
        async for reading in collector.look():
            done.readings.append(reading)
    except CollectError as error:
        done.error = str(error)
    assert len({each.id for each in done.readings}) == len(done.readings), "an id came twice"
    return done


@pytest.fixture
def at(http: aiohttp.ClientSession) -> Any:
    async def at(*paths: object, **keys: Any) -> Look:
        return await look(built(http, *paths, **keys))

    return at


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


# ── what an item is ───────────────────────────────────────────────────────────────────────────────────


async def test_a_file_with_one_certificate_is_an_item_by_its_path(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "www.pem", pem(certificate(names=["www.example.org", "b"])))
    done = await at(path)
    item = done.seen[str(path)]
    assert (item.kind, item.title) == ("certificate", "www.example.org") and not done.error
    assert item.lifetime is not None and (item.lifetime.not_before, item.lifetime.expires_at) == (START, END)
    assert item.generation.startswith("1234-")
    assert item.traits.labels == {"issuer": "Test CA", "serial": "1234", "sans": "www.example.org,b"}


async def test_copies_have_one_fingerprint_and_successors_one_identity(at: Any, tmp_path: Path) -> None:
    names = ["www.example.org", "b"]
    old, new = certificate(names=names), certificate(names=names[::-1], serial=2)
    paths = [write(tmp_path / f"{n}.pem", pem(one)) for n, one in enumerate((old, old, new, certificate("else")))]
    one, copy, later, other = [(await at(path)).seen[str(path)] for path in paths]
    assert one.fingerprint == copy.fingerprint != later.fingerprint and one.fingerprint
    assert one.identity == later.identity == "certificate ec b,www.example.org" != other.identity


async def test_an_authority_in_a_bundle_has_neither_and_one_with_a_file_of_its_own_has(at: Any, tmp_path: Path) -> None:
    authorities = [certificate("CA 1", authority=True), certificate("CA 2", authority=True)]
    bundle = write(tmp_path / "bundle.pem", b"".join(map(pem, authorities)))
    alone = write(tmp_path / "ca.pem", pem(authorities[0]))
    assert {(seen.fingerprint, seen.identity) for seen in (await at(bundle)).seen.values()} == {("", "")}
    own = (await at(alone)).seen[str(alone)]
    assert own.fingerprint and own.identity == "certificate ec ca 1"


async def test_the_leaf_of_a_chain_has_the_path_with_and_without_chain_in_any_order(at: Any, tmp_path: Path) -> None:
    leaf, chain = pem(certificate()), [pem(authority("R3")), pem(authority("Root"))]
    for bundle in ([leaf], [leaf, *chain], [*chain, leaf]):
        path = write(tmp_path / "fullchain.pem", b"".join(bundle))
        done = await at(path)
        assert done.seen[str(path)].title == "www.example.org"
        assert set(done.seen) - {str(path)} == {f"{path}#{name}" for name in ("R3", "Root")[: len(bundle) - 1]}


async def test_a_bundle_of_many_names_each_in_any_order_and_after_renewal(at: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.pem"
    first = [certificate("a"), certificate("b", serial=2), authority("CA")]
    second = [authority("CA", serial=9), certificate("b", serial=7), certificate("a", serial=8)]
    ids = set()
    for bundle in (first, second):
        write(path, b"".join(map(pem, bundle)))
        done = await at(path)
        ids.add(frozenset(done.seen))
    assert ids == {frozenset({f"{path}#a", f"{path}#b", f"{path}#CA"})}


async def test_of_several_with_one_name_the_newest_has_it_and_a_repeated_one_counts_once(
    at: Any, tmp_path: Path
) -> None:
    old, new = authority("CA", serial=1), authority("CA", serial=2, end=END + timedelta(days=365))
    for bundle in ([old, new, old], [new, old]):
        path = write(tmp_path / "ca.pem", b"".join(map(pem, bundle)))
        done = await at(path)
        assert done.seen[f"{path}#CA"].generation.startswith("2-")
        assert done.seen[f"{path}#CA~2"].generation.startswith("1-") and len(done.seen) == 2


async def test_keystore_entries_go_by_their_alias(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "trust.jks", jks_store())
    done = await at(path)
    assert set(done.seen) == {str(path), f"{path}#Intermediate", f"{path}#root"}
    assert done.seen[f"{path}#root"].title == "Root"


async def test_a_java_keystore_of_today_is_pkcs12_whatever_its_name(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "server.jks", p12("pw"))
    assert (await at(path, password={"env": "PASSWORD"})).seen[str(path)].title == "www.example.org"


async def test_a_list_is_an_item_that_ends_with_its_next_update(at: Any, tmp_path: Path) -> None:
    one, two = write(tmp_path / "ca.crl", der(crl())), write(tmp_path / "endless.crl", crl_without_end())
    done = await at(tmp_path)
    assert done.seen[str(one)].kind == "crl" and done.seen[str(one)].title == "CRL of Test CA"
    assert done.codes(two) == ["no-next-update"] and not done.error


async def test_a_list_beside_its_authority_has_a_name_of_its_own(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "ca.pem", pem(authority()) + pem(crl()))
    assert set((await at(path)).seen) == {str(path), f"{path}#CRL of Test CA"}


@pytest.mark.skipif(not ROOTS.exists(), reason="needs the system's certificates")
async def test_the_systems_roots_are_all_items(at: Any) -> None:
    done = await at(ROOTS)
    assert len(done.seen) == ROOTS.read_bytes().count(b"-----BEGIN CERT") and not done.error
    assert all(item.startswith(f"{ROOTS}#") and each.lifetime for item, each in done.seen.items())


# ── which files ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_directory_is_walked_and_files_without_certificates_are_passed_over(at: Any, tmp_path: Path) -> None:
    wanted = [write(tmp_path / name, pem(certificate())) for name in ("a.pem", "b/c.crt", "b/.d/e.cer", "b/noending")]
    wanted.append(write(tmp_path / "b/cacerts", jks_store()))
    for name, data in {
        "key.pem": key_pem(),
        "README": b"text",
        "x.conf": b"-----BEGIN X-----",
        "b/x.bin": b"0" * 99,
    }.items():
        write(tmp_path / name, data)
    os.mkfifo(tmp_path / "fifo.pem")
    done = await at(tmp_path)
    assert {item for item in done.seen if "#" not in item} == {str(path) for path in wanted}
    assert not done.blind and not done.error


async def test_globs_match_as_in_a_shell_and_two_stars_any_depth(at: Any, tmp_path: Path) -> None:
    for name in ("live/a/cert.pem", "live/b/cert.pem", "live/b/other.pem", "live/b/deep/er/cert.pem"):
        write(tmp_path / name, pem(certificate()))
    for pattern, expected in {
        "live/*/cert.pem": ["a/cert.pem", "b/cert.pem"],
        "live/**/cert.pem": ["a/cert.pem", "b/cert.pem", "b/deep/er/cert.pem"],
        "live/[b]/?ther.pem": ["b/other.pem"],
        "live/b/**": ["b/cert.pem", "b/deep/er/cert.pem", "b/other.pem"],
        "live/**/**/deep/**/*.pem": ["b/deep/er/cert.pem"],
    }.items():
        assert sorted((await at(tmp_path / pattern)).seen) == [f"{tmp_path}/live/{name}" for name in expected], pattern


async def test_a_name_with_wildcards_in_it_that_exists_is_itself(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "*.example.org[1].pem", pem(certificate()))
    assert list((await at(path)).seen) == [str(path)]


async def test_excluded_paths_are_neither_read_nor_entered(at: Any, tmp_path: Path) -> None:
    kept = write(tmp_path / "kept.pem", pem(certificate()))
    write(tmp_path / "archive/old.pem", pem(certificate()))
    write(tmp_path / "kept.pem.bak", pem(certificate()))
    assert list((await at(tmp_path, exclude=["*/archive", "*.bak"])).seen) == [str(kept)]


async def test_a_file_is_looked_at_once_under_its_most_lasting_name(at: Any, tmp_path: Path) -> None:
    real = write(tmp_path / "..2030_01_01/tls.crt", pem(certificate()))
    (tmp_path / "..data").symlink_to("..2030_01_01")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    (tmp_path / "5ed36f99.0").symlink_to("tls.crt")
    os.link(real, tmp_path / "..2030_01_01/hard.crt")
    assert list((await at(tmp_path)).seen) == [f"{tmp_path}/tls.crt"]
    assert list((await at(tmp_path, real)).seen) == [str(real)], "what was named keeps its name"


async def test_every_named_path_is_an_item_even_when_they_are_one_file(at: Any, tmp_path: Path) -> None:
    real = write(tmp_path / "fullchain3.pem", pem(certificate()))
    (tmp_path / "fullchain.pem").symlink_to(real)
    assert set((await at(tmp_path / "fullchain.pem", real)).seen) == {str(tmp_path / "fullchain.pem"), str(real)}


async def test_links_in_circles_end(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a/b.pem", pem(certificate()))
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to("self")
    for pattern in (tmp_path, tmp_path / "**/*.pem", tmp_path / "*/*"):
        assert list((await at(pattern)).seen) == [str(path)]


async def test_a_renewed_target_behind_a_link_is_a_new_generation_of_the_same_item(at: Any, tmp_path: Path) -> None:
    link = tmp_path / "live.pem"
    generations = []
    for serial in (1, 2):
        link.unlink(missing_ok=True)
        link.symlink_to(write(tmp_path / f"archive{serial}.pem", pem(certificate(serial=serial))))
        generations.append((await at(link)).seen[str(link)].generation[:2])
    assert generations == ["1-", "2-"]


async def test_names_that_are_no_text_become_printable_ids(at: Any, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\n\x1b[31m.pem"
    Path(os.fsdecode(path)).write_bytes(pem(certificate()))
    (item,) = (await at(tmp_path)).seen
    assert item.isprintable() and item.encode() and r"\xff" in item


# ── what can't be seen ────────────────────────────────────────────────────────────────────────────────


async def test_a_missing_path_is_blind_among_others_and_the_whole_source_alone(at: Any, tmp_path: Path) -> None:
    good = write(tmp_path / "good.pem", pem(certificate()))
    done = await at(good, tmp_path / "missing.pem")
    assert list(done.seen) == [str(good)] and list(done.blind) == [f"{tmp_path}/missing.pem"]
    assert "missing.pem: there is no such file" in done.error
    alone = await at(tmp_path / "missing.pem")
    assert alone.readings == [] and alone.error.count("missing.pem") == 1


async def test_a_pattern_or_directory_that_leads_to_nothing_is_said_beside_what_was_seen(
    at: Any, tmp_path: Path
) -> None:
    good = write(tmp_path / "good.pem", pem(certificate()))
    (tmp_path / "empty").mkdir()
    done = await at(good, tmp_path / "*.crt", tmp_path / "empty", "/no/such/place/*.pem")
    assert list(done.seen) == [str(good)]
    for part in ("*.crt leads to no certificate", "empty leads to no", "/no/such/place/*.pem leads to no"):
        assert part in done.error


async def test_paths_that_overlap_count_for_each_other(at: Any, tmp_path: Path) -> None:
    write(tmp_path / "good.pem", pem(certificate()))
    assert not (await at(tmp_path, tmp_path / "*.pem", tmp_path / "good.pem")).error


async def test_what_is_no_file_or_too_large_is_blind_by_name(at: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "huge.pem").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "circle.pem").symlink_to("circle.pem")
    done = await at(tmp_path / "fifo", tmp_path / "huge.pem", tmp_path / "circle.pem")
    assert {Path(item).name for item in done.blind} == {"fifo", "huge.pem", "circle.pem"} and not done.seen
    assert f"larger than the {LARGEST_FILE:,} bytes" in done.blind[f"{tmp_path}/huge.pem"]
    assert done.error


async def test_a_large_file_of_another_kind_in_a_directory_is_no_matter(at: Any, tmp_path: Path) -> None:
    write(tmp_path / "good.pem", pem(certificate()))
    with (tmp_path / "image.iso").open("wb") as file:
        file.write(b"\x30\x82\x01\x00\x30")
        file.truncate(2**30)
    assert not (await at(tmp_path)).error


async def test_a_link_into_nowhere_that_promises_a_certificate_is_blind(at: Any, tmp_path: Path) -> None:
    write(tmp_path / "good.pem", pem(certificate()))
    (tmp_path / "gone.pem").symlink_to("/no/such/file.pem")
    (tmp_path / "5ed36f99.0").symlink_to("/no/such/file.pem")
    done = await at(tmp_path)
    assert list(done.blind) == [f"{tmp_path}/gone.pem"] and "link to nothing" in done.error


async def test_a_file_that_vanishes_between_listing_and_reading_is_passed_over(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    for number in range(70):
        write(tmp_path / f"{number:03}.pem", pem(certificate()))
    collector = built(http, tmp_path)
    seen = []
    async for reading in collector.look():
        assert isinstance(reading, Observation)
        seen.append(reading.id)
        (tmp_path / "069.pem").unlink(missing_ok=True)
    assert len(seen) == 69


@pytest.fixture
def open_tree() -> Iterator[Path]:
    """A directory which others may enter, unlike tmp_path."""
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


async def without_root(looking: Awaitable[Look]) -> Look:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        return await looking
    finally:
        os.seteuid(os.getuid())


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
async def test_a_directory_that_can_not_be_listed_or_entered_is_blind(at: Any, open_tree: Path, mode: int) -> None:
    good = write(open_tree / "good.pem", pem(certificate()), 0o644)
    secret = write(open_tree / "private/key.pem", pem(certificate())).parent
    secret.chmod(mode)
    done = await without_root(at(open_tree))
    secret.chmod(0o700)
    assert list(done.seen) == [str(good)] and list(done.blind) == [str(secret)]
    assert "let the user that runs expiryd enter it" in done.error


async def test_an_unreadable_file_is_blind_when_it_may_be_meant(
    http: aiohttp.ClientSession, at: Any, open_tree: Path
) -> None:
    write(open_tree / "good.pem", pem(certificate()), 0o644)
    write(open_tree / "shadow", b"root:*:1::::::", 0)
    tree = built(http, open_tree)
    odd = write(open_tree / "cacerts", pem(certificate("b")), 0o644)
    assert not (await without_root(look(tree))).error, "nobody said that a file called shadow should be readable"
    odd.chmod(0)
    assert list((await without_root(look(tree))).blind) == [str(odd)], "it held a certificate before"
    assert list((await without_root(at(open_tree / "*s"))).blind) == [str(odd)], "a pattern leads to it"
    (open_tree / "good.pem").chmod(0)
    assert f"{open_tree}/good.pem" in (await without_root(at(open_tree))).blind, "its name promises one"


# ── what is not in order ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"", b"\x00\x01garbage" * 50, b"<html>404</html>"])
async def test_garbage_with_the_name_of_a_certificate_is_a_finding(at: Any, tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "server.crt", data)
    for pattern in (path, tmp_path, tmp_path / "*"):
        done = await at(pattern)
        assert done.codes(path) == ["not-a-certificate"] and done.seen[str(path)].lifetime is None and not done.error


async def test_a_named_key_without_certificate_is_a_finding_a_found_one_is_not(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "privkey.pem", key_pem())
    write(tmp_path / "cert.pem", pem(certificate()))
    assert (await at(path)).codes(path) == ["not-a-certificate"]
    assert list((await at(tmp_path / "*.pem")).seen) == [f"{tmp_path}/cert.pem"]
    path = write(tmp_path / "server.crt", key_pem())
    assert (await at(tmp_path)).codes(path) == ["not-a-certificate"], "this name promises more than a key"


async def test_a_broken_certificate_costs_no_other_and_has_an_item_of_its_own(at: Any, tmp_path: Path) -> None:
    broken = pem(certificate()).replace(b"\nM", b"\nQ", 1)
    path = write(tmp_path / "chain.pem", pem(certificate("leaf")) + broken + pem(authority("CA")))
    done = await at(path)
    assert set(done.seen) == {str(path), f"{path}#malformed", f"{path}#CA"}
    assert done.codes(f"{path}#malformed") == ["malformed"] and done.codes(path) == []
    assert "1 of 3 entries" in done.seen[f"{path}#malformed"].findings[0].detail
    write(path, broken + pem(authority("CA")))
    done = await at(path)
    assert done.codes(path) == ["malformed"] and done.seen[str(path)].lifetime is None and f"{path}#CA" in done.seen


async def test_a_wrong_or_missing_password_is_blind_and_never_told(at: Any, tmp_path: Path) -> None:
    path, good = write(tmp_path / "a.p12", p12("pw")), write(tmp_path / "b.pem", pem(certificate()))
    for keys, words in (({}, "needs a password"), ({"password": {"env": "WRONG"}}, "wrong password")):
        done = await at(tmp_path, **keys)
        assert list(done.seen) == [str(good)] and words in done.blind[str(path)] and words in done.error
        assert str(path) in done.error and CANARY not in repr(done.readings) + done.error


async def test_a_wrong_java_password_is_a_finding_beside_the_dates(at: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jks", jks_store())
    done = await at(path, password={"env": "WRONG"})
    assert done.codes(path) == ["wrong-password"] and done.seen[str(path)].lifetime is not None
    assert CANARY not in repr(done.readings)


async def test_a_password_that_can_not_be_read_costs_only_what_needs_it(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    write(tmp_path / "a.pem", pem(certificate()))

    async def refuse(ref: SecretRef) -> Any:
        raise SecretError(f"{ref}: there is no such secret")

    given = tools(http)
    given = type(given)(**{name: getattr(given, name) for name in given.__slots__} | {"secret": refuse})
    config = X509FileConfig.model_validate({"type": "x509-file", "path": str(tmp_path), "password": {"env": "GONE"}})
    done = await look(config.build(given))
    assert len(done.seen) == 1 and "env GONE: there is no such secret" in done.error


@pytest.mark.parametrize(
    ("name", "data"),
    [("haproxy.pem", key_pem() + pem(certificate())), ("a.p12", p12("pw")), ("a.jks", jks_store())],
)
async def test_a_private_key_that_others_may_read_is_a_finding(at: Any, tmp_path: Path, name: str, data: bytes) -> None:
    path = write(tmp_path / name, data, 0o640)
    done = await at(path, password={"env": "PASSWORD"})
    assert "unsafe-permissions" in done.codes(path)
    assert sum("unsafe-permissions" in done.codes(item) for item in done.seen) == 1, "told once per file"
    path.chmod(0o600)
    assert "unsafe-permissions" not in (await at(path, password={"env": "PASSWORD"})).codes(path)


async def test_a_readable_certificate_and_a_key_behind_a_link_are_in_order(at: Any, tmp_path: Path) -> None:
    public = write(tmp_path / "cert.pem", pem(certificate()), 0o644)
    write(tmp_path / "real", key_pem() + pem(certificate()))
    (tmp_path / "link.pem").symlink_to("real")
    done = await at(public, tmp_path / "link.pem")
    assert done.codes(public) == [] and done.codes(tmp_path / "link.pem") == []


async def test_nothing_of_a_private_key_is_in_any_output(at: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.pem", key_pem() + pem(certificate()), 0o666)
    done = await at(tmp_path)
    assert key_pem().split(b"\n")[1].decode() not in repr(done.readings)


# ── as a whole ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_thousand_files_do_not_hold_up_the_loop(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    data = pem(certificate())
    for number in range(1000):
        write(tmp_path / f"{number // 100}/{number}.pem", data)
    gaps, done = [0.0], False

    async def watch() -> None:
        while not done:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        seen = [reading async for reading in built(http, tmp_path).look()]
        done = True
    assert len(seen) == 1000
    assert len(gaps) > 10, "the loop has to turn while files are read"
    assert sorted(gaps)[-3] < 0.25, "a busy machine may stall; the collector must not"


async def test_a_look_that_is_given_up_leaves_nothing_behind(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    for number in range(200):
        write(tmp_path / f"{number}.pem", pem(certificate()))
    collector = built(http, tmp_path)
    looking = collector.look()
    assert isinstance(await anext(looking), Observation)
    await looking.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert len((await look(collector)).seen) == 200


async def test_two_looks_at_once_do_not_disturb_each_other(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path / f"{number}.pem", pem(certificate()))
    collector = built(http, tmp_path)
    assert [len(done.seen) for done in await asyncio.gather(look(collector), look(collector))] == [100, 100]


def test_a_config_without_path_or_with_unknown_keys_is_refused() -> None:
    for wrong in ({}, {"path": []}, {"path": ""}, {"path": "x", "paths": "y"}, {"path": "x", "password": "plain"}):
        with pytest.raises(ValidationError):
            X509FileConfig.model_validate({"type": "x509-file", **wrong})


GOOD = pem(certificate("good"))
SOUND = {"a.pem": pem(certificate()), "b.der": der(certificate()), "c.p12": p12("pw"), "d.jks": jks_store()}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_mutated_files_never_cost_their_neighbours(
    tmp_path: Path, http: aiohttp.ClientSession, data: st.DataObject
) -> None:
    tree = tmp_path / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name, content in SOUND.items():
        mutated = bytearray(content)
        for _ in range(data.draw(st.integers(1, 3))):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        write(tree / name, bytes(mutated) + (b"\n" + GOOD if name == "a.pem" else b""))
    write(tree / "e.pem", GOOD)
    done = await look(built(http, tree, password={"env": "PASSWORD"}))
    assert sum(each.title == "good" for each in done.seen.values()) == 2
    assert all(str(tree / name) in "".join(each.id for each in done.readings) for name in ("a.pem", "c.p12", "d.jks"))
