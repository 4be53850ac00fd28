"""The harness itself: a server is there when the test starts and gone when it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .processes import Processes, free_port, node_file, program

pytestmark = pytest.mark.real


def test_a_server_listens_when_start_returns_and_is_gone_afterwards(tmp_path: Path) -> None:
    port = free_port()
    with Processes(tmp_path) as processes:
        server = processes.start(sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(port), port=port)
        assert server.listens(port)
    assert server.process.returncode is not None


def test_a_server_that_cannot_start_fails_the_test_in_its_own_words(processes: Processes) -> None:
    with pytest.raises(AssertionError, match="no such thing"):
        processes.start(sys.executable, "-c", "raise SystemExit('no such thing')", port=free_port())


def test_a_missing_program_fails_and_names_the_installer() -> None:
    with pytest.raises(pytest.fail.Exception, match="tests/real/install"):
        program("expiryd-no-such-server")


PROGRAMS = """
    promtool prometheus prometheus-alertmanager prometheus-blackbox-exporter
    postfix saslpasswd2 swaks nginx openssl slapd ldapsearch initdb postgres
    chromium node systemd-nspawn systemd-analyze nsenter logrotate
"""


@pytest.mark.parametrize("name", PROGRAMS.split())
def test_the_installer_brought(name: str) -> None:
    assert program(name)


@pytest.mark.parametrize("path", [".bin/prism", "@octokit/openapi/generated/api.github.com.json"])
def test_npm_brought(path: str) -> None:
    assert node_file(path)
