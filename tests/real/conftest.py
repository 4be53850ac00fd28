"""What every real-server test may use; see `processes` for the functions behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Processes


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that servers running as another user can reach too, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="expiryd-real-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Servers for one test. For a longer life use `with Processes(directory) as …` in a fixture of your own scope."""
    with Processes(tmp_path) as running:
        yield running
