"""A year in the life of a daemon (tests/lived_year.py), timed, counted and drawn.

It must lose nothing, say nothing twice and leave a small database. `--picture FILE` draws the messages by day.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.lived_year import DAY, START, Year, live

_COLOURS = {"healthy": "#3fa66b", "info": "#4a9fc4", "warning": "#e0a526", "critical": "#d9603b", "expired": "#9e2a3f"}
_WORDS = {"healthy": "good news", "info": "info", "warning": "warning", "critical": "critical", "expired": "expired"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 920, 300, 44, 56, 34


def draw(year: Year, title: str) -> str:
    """Messages by day as SVG, one bar a day, in the colours of their severities."""
    days = year.by_day()
    most = max(max((sum(day.values()) for day in days), default=1), 1)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if most / s <= 6)
    high, wide = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT - 12) / len(days)
    scale = high / (-(-most // step) * step)
    floor = _TOP + high
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="11">',
        f"<title>{title}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600" fill="#222">{title}</text>',
    ]
    for place, (word, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + place * 92
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="43" fill="#555">{_WORDS[word]}</text>')
    for count in range(0, -(-most // step) * step + 1, step):
        line = floor - count * scale
        parts.append(f'<path d="M{_LEFT} {line:.1f}H{_WIDTH - 12}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{line + 4:.1f}" text-anchor="end" fill="#777">{count}</text>')
    for number, day in enumerate(days):
        x, y = _LEFT + number * wide, float(floor)
        date = START + number * DAY
        if date.day == 1:
            parts.append(f'<path d="M{x:.1f} {floor}v5" stroke="#999"/>')
            parts.append(f'<text x="{x + 3:.1f}" y="{floor + 17}" fill="#777">{date:%b}</text>')
        for word, colour in _COLOURS.items():
            if day[word]:
                tall = day[word] * scale
                y -= tall
                parts.append(
                    f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide * 0.85:.2f}" height="{tall:.2f}" fill="{colour}"/>'
                )
    return "\n".join([*parts, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--picture", type=Path)
    asked, _ = parser.parse_known_args()
    with TemporaryDirectory(prefix="expiryd-year-") as directory:
        year = asyncio.run(live(asked.items, asked.days, Path(directory)))
    by = Counter(one.notifier for one in year.told)
    print(
        f"{asked.items} items, {asked.days} days: {year.looks} looks, {year.restarts} restarts in {year.seconds:.1f} s"
    )
    print(f"messages: {len(year.told)} ({', '.join(f'{count} to {name}' for name, count in by.items())})")
    print(f"events told: {sum(len(one.events) for one in year.told)}; moments: {year.moments}; dead: {year.dead}")
    print(f"database: {year.bytes / 1e6:.1f} MB; audit trail: {year.trail_bytes / 1e6:.1f} MB; waiting: {year.waiting}")
    twice, lost = year.twice(), year.lost()
    for what, found in (("said twice", twice), ("lost", lost)):
        print(f"{what}: {len(found)} {found[:3] if found else ''}")
    if asked.picture:
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        asked.picture.write_text(draw(year, f"Messages by day: {asked.items} credentials, three receivers, one year"))
    return 1 if twice or lost or year.overdue or year.dead else 0


if __name__ == "__main__":
    sys.exit(main())
