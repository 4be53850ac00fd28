"""What a change of generation means: renewed, rotated, rolled back, or two that take turns."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.scenario import at, want
from tests.unit.core.script import START, Act, World, delivers, moment, play, sees, shows

from expiryd.core.generations import FLAPPING, ROLLED_BACK, SETTLED, since
from expiryd.core.model import MOST_REMEMBERED, Basis, Lifetime, Observation

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def holds(name: str, ends: str | None = None, span: str | None = None) -> Act:
    """A look sees this credential, which carries its end, or has one by rule, or none."""
    lifetime = Lifetime(expires_at=moment(ends)) if ends else None
    if span:
        lifetime = Lifetime(basis=Basis.POLICY, span=moment(span) - START)
    return shows(Observation("TOKEN", "token", "TOKEN", lifetime, name, fingerprint=f"f-{name}"))


def codes(world: World) -> set[str]:
    assert world.state is not None
    return {finding.code for finding in world.state.observation.findings}


# ── renewed and rotated ───────────────────────────────────────────────────────────────────────────────


def test_a_renewal_says_how_long_it_took_since_the_first_notice_and_remembers_it() -> None:
    world = play(
        at("0s", holds("A", "6d"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        at("3d", holds("B", "90d")),
        want("1d", "1d", "repeated expiry critical"),
        want("3d", "3d", "renewed expiry healthy"),
    )
    assert world.state is not None and world.state.took == (3 * DAY,)
    assert world.events[-1].detail == "renewed 3 days after the first notice"
    (was,) = world.state.past
    assert (was.name, was.first_seen, was.last_seen, was.fingerprint) == ("A", START, START + 3 * DAY, "f-A")
    assert was.expires_at == START + 6 * DAY and since(world.state) == START + 3 * DAY


def test_a_renewal_that_nobody_was_told_to_make_took_no_time() -> None:
    world = play(
        at("0s", holds("A", "6d")),
        want("0s", "0s", "raised expiry critical"),
        at("3d", holds("B", "90d")),
        want("3d", "3d", "renewed expiry healthy"),
    )
    assert world.state is not None and world.state.took == ()
    assert world.events[-1].detail == "renewed"


def test_another_credential_whose_end_is_not_known_is_rotated_and_not_renewed() -> None:
    world = play(
        at("0s", holds("A", "6d"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        at("3h", holds("B")),
        want("3h", "3h", "resolved expiry healthy"),
    )
    assert world.events[-1].detail == "rotated 3 hours after the first notice, to one whose end is not known"


def test_another_that_ends_sooner_is_a_matter_of_its_own() -> None:
    world = play(
        at("0s", holds("A", "6d"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        at("3h", holds("B", "5d")),
        want("3h", "3h", "resolved expiry critical", "raised expiry critical"),
    )
    assert world.events[-2].detail.endswith(", to one that ends no later")


def test_only_the_last_generations_are_remembered() -> None:
    looks = [at(f"{2 * n}d", holds(f"G{n}", f"{100 + n}d")) for n in range(12)]
    world = play(*looks)
    assert world.state is not None
    assert [was.name for was in world.state.past] == [f"G{n}" for n in range(3, 11)]


def test_a_date_alone_is_no_credential_that_could_come_back() -> None:
    world = play(at("0s", sees(ends="100d")), at("1h", sees(ends="200d")), at("2h", sees(ends="100d")))
    assert world.state is not None and world.state.past == () and codes(world) == set()


# ── rolled back ───────────────────────────────────────────────────────────────────────────────────────


def test_an_earlier_generation_that_is_back_is_told_until_a_newer_one_is_seen() -> None:
    world = play(
        at("0s", holds("A", "100d")),
        at("3d", holds("B", "200d")),
        at("6d", holds("A", "100d")),
        want("6d", "6d", f"raised {ROLLED_BACK} warning"),
        at("9d", holds("B", "200d")),
        want("9d", "9d", f"resolved {ROLLED_BACK} healthy"),
    )
    detail = world.events[0].detail
    assert detail.startswith("A, first seen 2030-01-01 00:00 UTC, is back in the place of B, first seen 2030-01-04")


def test_a_third_generation_ends_a_rollback_too() -> None:
    play(
        at("0s", holds("A", "100d")),
        at("3d", holds("B", "200d")),
        at("6d", holds("A", "100d")),
        want("6d", "6d", f"raised {ROLLED_BACK} warning"),
        at("9d", holds("C", "300d")),
        want("9d", "9d", f"resolved {ROLLED_BACK} healthy"),
    )


def test_what_was_hidden_for_a_while_is_not_back() -> None:
    world = play(at("0s", holds("A")), at("1d", holds("")), at("5d", holds("A")), at("6d", holds("A")))
    assert codes(world) == set()


def test_a_credential_that_is_back_has_no_new_life_by_rule() -> None:
    world = play(
        at("0s", holds("A", span="90d")),
        at("10d", holds("B", span="90d")),
        at("30d", holds("C", span="90d")),
        at("60d", holds("B", span="90d")),
        want("60d", "60d", "raised expiry info", f"raised {ROLLED_BACK} warning"),
    )
    assert world.state is not None and world.state.observation.lifetime is not None
    assert world.state.observation.lifetime.expires_at == moment("100d")


# ── two that take turns ───────────────────────────────────────────────────────────────────────────────


def test_while_a_new_certificate_is_rolled_out_nothing_is_closed_and_raised_each_time() -> None:
    """A content network serves old and new in turn; the monitor forgets neither (uptime-kuma#5374)."""
    turns = [at(f"{hour}h", holds("AB"[hour % 2], ("5d", "95d")[hour % 2])) for hour in range(3, 20)]
    world = play(
        at("0s", holds("A", "5d"), delivers()),
        want("0s", "0s", "raised expiry critical"),
        at("1h", holds("B", "95d")),
        want("1h", "1h", "renewed expiry healthy"),
        at("2h", holds("A", "5d"), delivers()),
        want("2h", "2h", "raised expiry critical", f"raised {FLAPPING} info"),
        *turns,
        at("30h", holds("B", "95d")),
        want("26h", "26h", "repeated expiry critical"),
        at("44h", holds("B", "95d")),
        at("45h", holds("B", "95d")),
        want("44h", "45h", "renewed expiry healthy", f"resolved {FLAPPING} healthy"),
        at("90h", holds("B", "95d")),
    )
    assert world.state is not None and world.state.generation == "B" and codes(world) == set()
    assert len(world.state.took) == 1, "one renewal, however often it was seen"


def test_when_the_old_one_stays_it_was_a_rollback() -> None:
    world = play(
        at("0s", holds("A", "100d")),
        at("1h", holds("B", "190d")),
        at("2h", holds("A", "100d")),
        want("2h", "2h", f"raised {FLAPPING} info"),
        at("20h", holds("A", "100d")),
        at("28h", holds("A", "100d")),
        want("28h", "28h", f"raised {ROLLED_BACK} warning", f"resolved {FLAPPING} warning"),
    )
    assert world.state is not None and world.state.generation == "A"


def test_the_one_that_ends_sooner_is_judged_whichever_is_seen() -> None:
    world = play(
        at("0s", holds("A", "95d")),
        at("1h", holds("B", "5d")),
        want("1h", "1h", "raised expiry critical"),
        at("2h", holds("A", "95d")),
        want("2h", "2h", f"raised {FLAPPING} info"),
    )
    assert world.state is not None and world.state.generation == "B"
    assert world.state.observation.fingerprint == "f-B"


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 60)), min_size=1, max_size=40))
def test_whatever_takes_turns_the_memory_stays_small_and_in_order(looks: list[tuple[str, int]]) -> None:
    world = World()
    ends = {"A": "20d", "B": "200d", "C": "300d"}
    for name, hours in looks:
        world.pass_to(world.now + hours * HOUR)
        holds(name, ends[name])(world)
        state = world.state
        assert state is not None
        names = [was.name for was in state.past]
        assert len(names) == len(set(names)) <= MOST_REMEMBERED
        assert [was.last_seen for was in state.past] == sorted(was.last_seen for was in state.past)
        assert all(was.first_seen <= was.last_seen <= world.now for was in state.past)
        assert len(codes(world)) <= 1
        if codes(world) != {FLAPPING}:
            assert state.generation == name


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 12)), min_size=1, max_size=60))
def test_turns_within_a_day_are_told_once_each_way(looks: list[tuple[str, int]]) -> None:
    world = World()
    for name, hours in looks:
        world.pass_to(world.now + hours * HOUR)
        holds(name, {"A": "5d", "B": "95d"}[name])(world)
    for later in (13, 26, 27):
        world.pass_to(world.now + later * HOUR)
        holds(looks[-1][0], {"A": "5d", "B": "95d"}[looks[-1][0]])(world)
    assert codes(world) <= {ROLLED_BACK}
    assert world.state is not None and world.state.generation == looks[-1][0]
    flaps = [line for _, line in world.heard if FLAPPING in line]
    switches = sum(one[0] != other[0] for one, other in pairwise(looks))
    assert len(flaps) % 2 == 0 and (len(flaps) <= 2 * (1 + sum(h for _, h in looks) * HOUR // SETTLED))
    assert not flaps or switches >= 2
