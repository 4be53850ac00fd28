"""The audit trail proves itself: whatever is edited, removed, moved or cut off is found, and the place is named."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from expiryd.audit.chain import Record, derive_key
from expiryd.audit.trail import Keeping, Query, Trail, search, verify

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = derive_key(b"k" * 32)
SMALL = Keeping(file_bytes=600)


def record(number: int, **more: object) -> Record:
    values: dict[str, object] = {"action": "look.ended", "item": f"tokens/T{number}", "entry": number}
    return Record(NOW + number * HOUR, "system", **{**values, **more})  # type: ignore[arg-type]  # by name


def written(directory: Path, count: int, keeping: Keeping = SMALL) -> Trail:
    trail = Trail(directory, KEY, keeping)
    trail.open(None, NOW)
    for number in range(1, count + 1):
        trail.append([record(number, detail={"how": "ö" * (number % 5)})])
    return trail


def head(trail: Trail) -> tuple[int, str]:
    return trail.end.entry, trail.end.hash


def problems(directory: Path, known: tuple[int, str] | None) -> list[str]:
    return [str(problem) for problem in verify(directory, KEY, known).problems]


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def test_a_trail_over_several_files_proves_itself(tmp_path: Path) -> None:
    trail = written(tmp_path, 20)
    proof = verify(tmp_path, KEY, head(trail))
    assert (proof.lines, list(proof.problems)) == (20, [])
    assert proof.files > 2
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}


def test_every_line_is_json_that_other_tools_read(tmp_path: Path) -> None:
    written(tmp_path, 1)
    line = json.loads(files(tmp_path)[0].read_text())
    assert {**line, "hash": "", "prev": line["prev"][:4]} == {
        "seq": 1,
        "at": "2030-01-01T01:00:00Z",
        "actor": "system",
        "action": "look.ended",
        "item": "tokens/T1",
        "detail": {"how": "ö"},
        "entry": 1,
        "prev": "0000",
        "hash": "",
    }


def test_who_has_not_the_key_cannot_make_a_chain(tmp_path: Path) -> None:
    forged = Trail(tmp_path, derive_key(b"guess" * 8))
    forged.open(None, NOW)
    forged.append([record(1)])
    assert problems(tmp_path, None) == ["audit-000001.jsonl:1: was changed: its hash is not that of its text"]


Damage = Callable[[list[bytes], int, int], list[bytes]]


def _edit(lines: list[bytes], at: int, other: int) -> list[bytes]:
    line = bytearray(lines[at])
    place = other % (len(line) - 1)
    line[place] = (line[place] ^ 1) if line[place] ^ 1 != 10 else line[place] ^ 2
    return [*lines[:at], bytes(line), *lines[at + 1 :]]


def _space(lines: list[bytes], at: int, _other: int) -> list[bytes]:
    return [*lines[:at], lines[at].replace(b'":', b'": ', 1), *lines[at + 1 :]]


def _remove(lines: list[bytes], at: int, _other: int) -> list[bytes]:
    return lines[:at] + lines[at + 1 :]


def _swap(lines: list[bytes], at: int, other: int) -> list[bytes]:
    swapped = list(lines)
    swapped[at], swapped[other % len(lines)] = lines[other % len(lines)], lines[at]
    return swapped


def _double(lines: list[bytes], at: int, _other: int) -> list[bytes]:
    return [*lines[: at + 1], *lines[at:]]


def _truncate(lines: list[bytes], at: int, _other: int) -> list[bytes]:
    return lines[:at]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 15),
    at=st.integers(0, 1000),
    other=st.integers(0, 1000),
    damage=st.sampled_from([_edit, _space, _remove, _swap, _double, _truncate]),
)
def test_any_line_that_is_edited_removed_moved_doubled_or_cut_off_is_found(
    count: int, at: int, other: int, damage: Damage
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        trail = written(directory, count)
        known = head(trail)
        paths = files(directory)
        path = paths[at % len(paths)]
        lines = path.read_bytes().splitlines(keepends=True)
        damaged = damage(lines, at % len(lines), other)
        assume(damaged != lines)
        path.write_bytes(b"".join(damaged))
        found = verify(directory, KEY, known).problems
        assert found
        after = paths[paths.index(path) :]
        assert found[0].file in {each.name for each in after}


@pytest.mark.parametrize("forged", ["é", "\\ud800"])
def test_a_hash_that_cannot_be_one_is_named_and_stops_no_proof(tmp_path: Path, forged: str) -> None:
    trail = written(tmp_path, 5, Keeping())
    path = files(tmp_path)[0]
    lines = path.read_text().splitlines(keepends=True)
    true_hash = json.loads(lines[2])["hash"]
    path.write_text("".join([*lines[:2], lines[2].replace(true_hash, forged), *lines[3:]]))
    assert problems(tmp_path, head(trail))[0] == f"{path.name}:3: is not a whole line of the trail"


@settings(max_examples=40, deadline=None)
@given(count=st.integers(10, 30), gone=st.integers(0, 100))
def test_a_whole_file_that_is_gone_is_found(count: int, gone: int) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        trail = written(directory, count)
        paths = files(directory)
        paths[gone % len(paths)].unlink()
        assert verify(directory, KEY, head(trail)).problems


def test_all_of_it_gone_is_found(tmp_path: Path) -> None:
    trail = written(tmp_path, 3)
    files(tmp_path)[0].unlink()
    assert problems(tmp_path, head(trail)) == [
        f"{tmp_path}: the trail is gone, but was written up to entry 3: its end is missing"
    ]


def test_a_file_put_back_from_an_older_copy_is_found(tmp_path: Path) -> None:
    trail = written(tmp_path, 2, Keeping())
    copy = files(tmp_path)[0].read_bytes()
    trail.append([record(3)])
    files(tmp_path)[0].write_bytes(copy)
    assert problems(tmp_path, head(trail)) == [
        "audit-000001.jsonl: the trail ends with entry 2, but was written up to entry 3: its end is missing"
    ]


# ── starting again ────────────────────────────────────────────────────────────────────────────────────


def again(directory: Path, known: tuple[int, str] | None, keeping: Keeping = SMALL) -> Trail:
    trail = Trail(directory, KEY, keeping)
    trail.open(known, NOW)
    return trail


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    known = head(written(tmp_path, 7))
    trail = again(tmp_path, known)
    assert head(trail) == known
    trail.append([record(8)])
    assert problems(tmp_path, head(trail)) == []


@pytest.mark.parametrize("kept", [1, 40, 100])
def test_a_torn_last_line_is_cut_off_and_that_is_on_record(tmp_path: Path, kept: int) -> None:
    trail = written(tmp_path, 3, Keeping())
    known = head(trail)
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    trail.append([record(4)])
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    resumed = again(tmp_path, known, Keeping())
    resumed.append([record(4)])
    assert problems(tmp_path, head(resumed)) == []
    actions = [(line["action"], line["detail"]) for line in search(tmp_path, Query())]
    assert actions[1] == ("trail.repaired", {"removed_bytes": kept})


def test_lines_that_the_store_knows_of_and_that_are_gone_stay_a_problem_for_ever(tmp_path: Path) -> None:
    trail = written(tmp_path, 5, Keeping())
    known = head(trail)
    path = files(tmp_path)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    resumed = again(tmp_path, known, Keeping())
    resumed.append([record(6)])
    assert problems(tmp_path, head(resumed)) == [
        "audit-000001.jsonl:4: lines were lost before this one: the store knows of entry 5, the files end with entry 3"
    ]


def test_lines_written_but_not_yet_known_to_the_store_are_no_problem(tmp_path: Path) -> None:
    trail = written(tmp_path, 3, Keeping())
    known = head(trail)
    trail.append([record(4), record(4), record(5)])
    resumed = again(tmp_path, known, Keeping())
    assert resumed.unmarked(known, 4) == {4: ("2030-01-01T04:00:00Z", 2), 5: ("2030-01-01T05:00:00Z", 1)}
    assert problems(tmp_path, known) == []


def test_how_much_of_an_entry_is_written_is_counted_over_files(tmp_path: Path) -> None:
    trail = written(tmp_path, 1, Keeping(file_bytes=300))
    for _ in range(5):
        trail.append([record(2)])
    assert len(files(tmp_path)) > 2
    assert again(tmp_path, None).unmarked(None, 2) == {2: ("2030-01-01T02:00:00Z", 5)}


def test_numbers_of_a_database_that_was_put_back_are_not_taken_for_those_written_before(tmp_path: Path) -> None:
    trail = written(tmp_path, 4)
    trail.append([record(2, action="daemon.started")])
    assert again(tmp_path, None).unmarked(None, 1) == {2: ("2030-01-01T02:00:00Z", 1)}


def test_a_disk_that_is_full_leaves_whole_lines(tmp_path: Path) -> None:
    trail = written(tmp_path, 2, Keeping())
    before = files(tmp_path)[0].read_bytes()
    with pytest.raises(OSError, match="too large"):
        _with_little_room(len(before) + 50, lambda: trail.append([record(3)]))
    assert files(tmp_path)[0].read_bytes() == before
    trail.append([record(3)])
    assert problems(tmp_path, head(trail)) == []


def _with_little_room(size: int, deed: Callable[[], object]) -> None:
    known = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        deed()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, known)


def test_what_a_repair_put_on_record_does_not_hide_which_entries_are_written(tmp_path: Path) -> None:
    trail = written(tmp_path, 1, Keeping())
    known = head(trail)
    trail.append([record(2), record(3)])
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):
        resumed = again(tmp_path, known, Keeping())
        assert resumed.end.entry == 2
        assert resumed.unmarked(known, 2) == {2: ("2030-01-01T02:00:00Z", 1)}


def test_a_line_that_is_being_written_while_it_is_proven_is_no_problem(tmp_path: Path) -> None:
    known = head(written(tmp_path, 2, Keeping()))
    with files(tmp_path)[0].open("ab") as file:
        file.write(b'{"seq":3,"at')
    assert problems(tmp_path, known) == []
    assert problems(tmp_path, None) == ["audit-000001.jsonl:3: is not a whole line of the trail"]


def test_a_line_of_any_length_is_found_again(tmp_path: Path) -> None:
    trail = written(tmp_path, 1, Keeping())
    trail.append([record(2, detail={"problems": "x" * 1_000_000})])
    with files(tmp_path)[0].open("ab") as file:
        file.write(b"y" * 700_000)
    resumed = again(tmp_path, head(trail), Keeping())
    resumed.append([record(3)])
    assert problems(tmp_path, head(resumed)) == []
    assert found(tmp_path, Query(action="look")) == [3, 2, 1]


# ── trimming and searching ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keeping", [Keeping(600, age=10 * HOUR), Keeping(600, total_bytes=1500)])
def test_what_is_trimmed_is_on_record_and_the_rest_proves_itself(tmp_path: Path, keeping: Keeping) -> None:
    trail = written(tmp_path, 20, keeping)
    before = len(files(tmp_path))
    gone = trail.trim(NOW + 20 * HOUR)
    assert 0 < gone < before
    assert problems(tmp_path, head(trail)) == []
    line = next(search(tmp_path, Query(action="trail.trimmed")))
    assert line["detail"]["files"][0] == "audit-000001.jsonl"
    assert line["detail"]["lines"][0] == 1
    trail.append([record(21)])
    assert trail.trim(NOW + 90 * HOUR) > 0
    assert problems(tmp_path, head(trail)) == []


def test_a_trim_that_was_interrupted_leaves_nothing_unproven(tmp_path: Path) -> None:
    keeping = Keeping(600, age=10 * HOUR)
    trail = written(tmp_path, 20, keeping)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    assert trail.trim(NOW + 20 * HOUR) > 2
    for path in [path for path in before if not path.exists()][1:]:
        path.write_bytes(before[path])  # as if it had died when the first of them was gone
    assert problems(tmp_path, head(trail)) == []
    resumed = again(tmp_path, head(trail), keeping)
    assert resumed.trim(NOW + 20 * HOUR) > 1
    assert problems(tmp_path, head(resumed)) == []


def test_more_than_was_trimmed_cannot_be_removed_unnoticed(tmp_path: Path) -> None:
    trail = written(tmp_path, 20, Keeping(600, age=10 * HOUR))
    trail.trim(NOW + 20 * HOUR)
    files(tmp_path)[0].unlink()
    assert problems(tmp_path, head(trail))[0].endswith(
        ":1: the lines before it are gone, and nothing says they were trimmed"
    )


def found(directory: Path, query: Query) -> Sequence[int]:
    return [line["entry"] for line in search(directory, query)]


def test_lines_are_found_by_time_actor_action_and_item_newest_first(tmp_path: Path) -> None:
    trail = written(tmp_path, 3)
    trail.append([Record(NOW + 4 * HOUR, "user:anna", "alert.acknowledged", "tokens/T1", {}, 4)])
    trail.append([Record(NOW + 5 * HOUR, "system", "message.delivered", "", {"items": ["tokens/T2"]}, 5)])
    assert found(tmp_path, Query()) == [5, 4, 3, 2, 1]
    assert found(tmp_path, Query(since=NOW + 2 * HOUR, until=NOW + 4 * HOUR)) == [3, 2]
    assert found(tmp_path, Query(actor="anna")) == found(tmp_path, Query(actor="user:anna")) == [4]
    assert found(tmp_path, Query(action="alert")) == found(tmp_path, Query(action="alert.acknowledged")) == [4]
    assert found(tmp_path, Query(item="tokens/T1")) == [4, 1]
    assert found(tmp_path, Query(item="tokens/T2")) == [5, 2]
    assert [line["seq"] for line in search(tmp_path, Query(), before=3)] == [2, 1]


def test_a_digest_that_names_only_some_of_its_items_is_found_by_each_of_them(tmp_path: Path) -> None:
    trail = written(tmp_path, 0)
    trail.append([record(number, action="alert.raised", detail={"event": number}) for number in range(1, 6)])
    many = {"items": ["tokens/T1"], "count": 3, "events": [[1, 2], [4, 4]]}
    trail.append([Record(NOW, "system", "message.delivered", "", many, 6)])
    assert found(tmp_path, Query(item="tokens/T1")) == [6, 1]
    assert found(tmp_path, Query(item="tokens/T4")) == [6, 4]
    assert found(tmp_path, Query(item="tokens/T3")) == [3]


@pytest.mark.parametrize("at", ["yesterday", "2030-01-01T00:00:00", ""])
def test_a_line_of_no_time_is_a_problem_and_stops_neither_search_nor_trim(tmp_path: Path, at: str) -> None:
    trail = written(tmp_path, 20, Keeping(600, age=HOUR))
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"2030-01-01T01:00:00Z", at.encode()))
    assert found(tmp_path, Query(since=NOW))[-1] == 2
    assert "audit-000001.jsonl:1: is not a whole line of the trail" in problems(tmp_path, head(trail))
    assert trail.trim(NOW + 90 * HOUR) > 0
