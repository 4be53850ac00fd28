"""Which items belong together, and what is said of one beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.script import START

from expiryd.core.kinship import MOST_PLACES, SERVED_NOT_STORED, STALE_COPY, SUPERSEDED, TOGETHER, Groups, Kinship
from expiryd.core.model import Generation, ItemId, ItemState, Lifetime, Observation, Served, Severity

DAY = timedelta(days=1)


class Known:
    """Items with a kinship over them. Every source was looked at to its end at `looked`."""

    def __init__(self) -> None:
        self.items: dict[ItemId, ItemState] = {}
        self.looked: datetime | None = START
        self.kinship = Kinship(self.items.get, lambda _: self.looked)

    def has(
        self,
        name: str,
        mark: str = "",
        *,
        ends: int | None = 100,
        issued: int | None = None,
        identity: str = "",
        past: Sequence[Generation] = (),
        served: Sequence[Served] = (),
        since: int = 0,
    ) -> ItemState:
        lifetime = Lifetime(
            None if ends is None else START + ends * DAY, issued_at=None if issued is None else START + issued * DAY
        )
        seen = Observation(name, "certificate", name, lifetime, mark, (), fingerprint=mark, identity=identity)
        seen = replace(seen, served=tuple(served))
        item = ItemId(name if "/" in name else f"files/{name}")
        state = ItemState(item, "files", seen, Severity.HEALTHY, START + since * DAY, past=tuple(past))
        self.kinship.update(self.items.get(item), state)
        self.items[item] = state
        return state

    def loses(self, name: str) -> None:
        self.kinship.update(self.items.pop(ItemId(f"files/{name}")), None)

    def says(self, state: ItemState, day: int = 0) -> list[str]:
        begun = state.past[-1].last_seen if state.past else state.first_seen
        seen = self.kinship.regard(state.id, state.observation, begun, START + day * DAY)
        return [f"{finding.code} {finding.severity.word}: {finding.detail}" for finding in seen.findings]


def was(mark: str, first: int, last: int, ends: int = 50) -> Generation:
    return Generation(mark, START + first * DAY, START + last * DAY, START + ends * DAY, mark)


# ── places ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_places_of_a_secret_are_found_until_they_hold_another() -> None:
    known = Known()
    for name in "cab":
        known.has(name, "old")
    assert known.kinship.places("old") == ["files/a", "files/b", "files/c"]
    known.has("b", "new")
    known.loses("a")
    assert known.kinship.places("old") == ["files/c"] and known.kinship.places("new") == ["files/b"]
    assert known.kinship.places("") == [] == known.kinship.places("unknown")


def test_of_very_many_places_some_are_named() -> None:
    known = Known()
    for number in range(MOST_PLACES + 50):
        known.has(f"{number:04}", "one")
    assert len(known.kinship.places("one")) == MOST_PLACES


def test_a_change_stirs_those_it_has_to_do_with_and_nobody_else() -> None:
    known = Known()
    for name, mark in (("a", "one"), ("b", "one"), ("c", "other")):
        known.has(name, mark)
    known.has("d", "d", identity="www")
    known.has("e", "e", identity="www")
    known.kinship.stirred()
    known.has("a", "new", past=[was("one", 0, 1)])
    assert known.kinship.stirred() == ["files/b"]
    known.has("e", "f", identity="www", ends=300)
    assert known.kinship.stirred() == ["files/d"]
    known.has("e", "f", identity="www", ends=300)
    assert known.kinship.stirred() == []


# ── stale copies ──────────────────────────────────────────────────────────────────────────────────────


def test_a_place_that_still_holds_what_another_has_replaced_is_stale() -> None:
    known = Known()
    copy = known.has("copy", "old")
    assert known.says(copy, 5) == []
    known.has("first", "new", past=[was("old", 0, 2)])
    assert known.says(copy, 5) == [
        "stale-copy warning: still holds what files/first replaced (2030-01-03 00:00 UTC): put the new one here too"
    ]


def test_nothing_is_said_of_a_place_that_was_not_looked_at_since() -> None:
    known = Known()
    copy = known.has("copy", "old")
    known.has("first", "new", past=[was("old", 0, 2)])
    assert known.says(copy, 1) == [] and known.says(copy, 2) != []


def test_what_came_after_the_rotation_is_no_copy_that_was_forgotten() -> None:
    known = Known()
    known.has("first", "new", past=[was("old", 0, 2)])
    assert known.says(known.has("backup", "old", since=3), 5) == []


def test_who_was_rolled_back_makes_nobody_stale() -> None:
    known = Known()
    known.has("first", "old", past=[was("old", 0, 1), was("new", 1, 4)])
    copy = known.has("copy", "new", since=2)
    assert known.says(copy, 5) == []


def test_in_an_archive_the_old_one_stays_beside_the_new_one() -> None:
    known = Known()
    archived = known.has("files/archive/cert1", "old", ends=20, identity="www", issued=0)
    known.has("files/live/cert", "new", past=[was("old", 0, 2)], ends=100, identity="www", issued=2)
    assert known.says(archived, 5)[0].startswith(STALE_COPY)
    known.has("files/archive/cert2", "new", since=2, ends=100, identity="www", issued=2)
    assert [said.partition(":")[0] for said in known.says(archived, 5)] == [f"{SUPERSEDED} info"]


# ── successors ────────────────────────────────────────────────────────────────────────────────────────


def test_a_later_thing_of_the_same_identity_supersedes_the_earlier() -> None:
    known = Known()
    old = known.has("old", "a", ends=10, issued=0, identity="www")
    new = known.has("new", "b", ends=100, issued=5, identity="www")
    assert known.says(old) == [f"{SUPERSEDED} info: replaced by files/new, which ends 2030-04-11 00:00 UTC"]
    assert known.says(new) == []
    known.loses("new")
    assert known.says(old) == []


def test_neither_a_copy_nor_one_issued_earlier_nor_one_of_unknown_end_supersedes() -> None:
    known = Known()
    old = known.has("old", "a", ends=10, issued=3, identity="www")
    known.has("copy", "a", ends=10, issued=3, identity="www")
    known.has("longer", "c", ends=100, issued=1, identity="www")
    known.has("undated", "d", ends=None, identity="www")
    assert known.says(old) == []


def test_of_several_the_one_that_ends_last_is_named() -> None:
    known = Known()
    old = known.has("old", "a", ends=10, identity="www")
    for number in (3, 9, 6):
        known.has(f"n{number}", f"{number}", ends=100 + number, identity="www")
    assert "files/n9" in known.says(old)[0]
    known.loses("n9")
    assert "files/n6" in known.says(old)[0]


# ── served, but not stored ────────────────────────────────────────────────────────────────────────────


def served(mark: str, ends: int, *addresses: str) -> Served:
    return Served(mark, START + ends * DAY, addresses)


def test_renewed_in_the_file_but_two_of_three_addresses_serve_the_old_one() -> None:
    known = Known()
    known.has("www.pem", "new", ends=90, identity="www", past=[was("old", 0, 2)])
    handed = [served("new", 90, "192.0.2.3"), served("old", 5, "192.0.2.1", "192.0.2.2")]
    site = known.has("web/www:443", "old", ends=5, identity="www", served=handed)
    assert known.says(site, 1) == [], "it was seen before the file changed"
    assert known.says(site, 3) == [
        "served-not-stored warning: 2 of 3 addresses (192.0.2.1, 192.0.2.2) serve a certificate that ends "
        "2030-01-06 00:00 UTC; newer is that in files/www.pem, which ends 2030-04-01 00:00 UTC: reload it"
    ]


def test_what_is_served_is_newer_than_what_is_stored() -> None:
    known = Known()
    known.has("www.pem", "old", ends=5, identity="www")
    site = known.has("web/www:443", "new", ends=90, identity="www", served=[served("new", 90, "192.0.2.1")], since=1)
    assert known.says(site, 3) == [], "the file was not looked at since"
    known.looked = START + 2 * DAY
    (said,) = known.says(site, 3)
    assert said.startswith(f"{SERVED_NOT_STORED} info: 192.0.2.1 serves a certificate that ends 2030-04-01")
    assert "older is that in files/www.pem" in said


def test_what_two_sources_show_within_a_minute_was_so_at_the_same_time() -> None:
    known = Known()
    known.has("www.pem", "new", ends=90, identity="www", past=[was("old", 0, 2)])
    site = known.has("web/www:443", "old", ends=5, identity="www", served=[served("old", 5, "192.0.2.1")])
    seen = [known.kinship.regard(site.id, site.observation, START, START + 2 * DAY - ago) for ago in (TOGETHER, DAY)]
    assert [bool(one.findings) for one in seen] == [True, False]


def test_what_is_stored_anywhere_is_stored_and_what_is_stored_nowhere_is_nobodys_to_compare() -> None:
    known = Known()
    site = known.has("web/www:443", "new", ends=90, identity="www", served=[served("new", 90, "192.0.2.1")])
    assert known.says(site, 3) == []
    known.has("keystore#1", "new", ends=90, identity="www")
    known.has("www.pem", "old", ends=5, identity="www")
    assert known.says(site, 3) == []


def test_an_endpoint_is_neither_a_stale_copy_nor_superseded() -> None:
    known = Known()
    known.has("first", "new", ends=90, past=[was("old", 0, 2)])
    site = known.has("web/www:443", "old", ends=5, served=[served("old", 5, "192.0.2.1")])
    assert known.says(site, 3) == []


# ── the index ─────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "x", "y", "z"])), max_size=60)


@given(STEPS)
def test_the_index_says_what_a_scan_would(steps: list[tuple[str, str]]) -> None:
    known, ends = Known(), dict[str, int]()
    for number, (name, mark) in enumerate(steps):
        ends[f"files/{name}"] = 1 + number * 7 % 60
        if not mark and f"files/{name}" in known.items:
            known.loses(name)
        else:
            known.has(name, mark, identity=f"i{mark}", ends=ends[f"files/{name}"])
        for one in "xyz":
            holders = sorted(item for item, state in known.items.items() if state.observation.fingerprint == one)
            assert known.kinship.places(one) == holders
            asking = Observation("asking", "certificate", lifetime=Lifetime(START), identity=f"i{one}", fingerprint="q")
            said = known.kinship.regard(ItemId("else/asking"), asking, START, START).findings
            last = max(holders, key=lambda item: (ends[item], item), default="")
            assert [finding.detail.split(",")[0] for finding in said] == ([f"replaced by {last}"] if last else [])


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("kl"), st.sampled_from("abc")), max_size=40))
def test_groups_are_sets_of_items_by_key(steps: list[tuple[bool, str, str]]) -> None:
    groups, model = Groups(), dict[str, set[str]](k=set(), l=set())
    for adds, key, item in steps:
        (groups.add if adds else groups.discard)(key, ItemId(item))
        (model[key].add if adds else model[key].discard)(item)
        assert {key: set(groups.of(key)) for key in "kl"} == model
