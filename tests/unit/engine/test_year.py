"""A quarter in the life of a daemon, with outages and restarts: nothing is lost, nothing is said twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lived_year import live


@pytest.mark.timeout(120)
async def test_a_quarter_loses_nothing_and_says_nothing_twice(tmp_path: Path) -> None:
    year = await live(40, 90, tmp_path)
    assert (year.twice(), year.lost(), year.overdue, year.dead) == ([], [], 0, 0)
    assert year.told
    assert year.restarts == 2
    assert year.bytes < 5_000_000
    assert sum(sum(day.values()) for day in year.by_day()) == len(year.told)
