"""One moment of time that two processes share, and the moment up to which the daemon has judged everything."""

from __future__ import annotations

import mmap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import Struct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS = Struct("<q")


class TimeFile:
    """Sixteen mapped bytes: `now`, set by the test, and `beat_at`, set by the daemon."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(16))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)

    @property
    def now(self) -> datetime:
        return self._read(0)

    @now.setter
    def now(self, moment: datetime) -> None:
        self._write(0, moment)

    @property
    def beat_at(self) -> datetime:
        return self._read(8)

    @beat_at.setter
    def beat_at(self, moment: datetime) -> None:
        self._write(8, moment)

    def close(self) -> None:
        self._map.close()

    def _read(self, offset: int) -> datetime:
        return _EPOCH + timedelta(microseconds=_MICROS.unpack_from(self._map, offset)[0])

    def _write(self, offset: int, moment: datetime) -> None:
        _MICROS.pack_into(self._map, offset, (moment - _EPOCH) // timedelta(microseconds=1))
