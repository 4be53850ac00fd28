"""What systemd hears from the daemon, received on real datagram sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expiryd.systemd import Service, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Service]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@expiryd-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.settimeout(5)
        yield receiver, Service.of({"NOTIFY_SOCKET": address})


def test_each_call_is_one_datagram_in_the_words_of_sd_notify(manager: tuple[socket.socket, Service]) -> None:
    receiver, service = manager
    said = [
        (service.ready("214 items: 2 critical"), b"READY=1\nSTATUS=214 items: 2 critical"),
        (service.status("next look ci-tokens in 3 min"), b"STATUS=next look ci-tokens in 3 min"),
        (service.reloading(12.5), b"RELOADING=1\nMONOTONIC_USEC=12500000"),
        (service.stopping("draining"), b"STOPPING=1\nSTATUS=draining"),
        (service.watchdog(), b"WATCHDOG=1"),
    ]
    for delivered, datagram in said:
        assert delivered
        assert receiver.recv(4096) == datagram


def test_a_line_break_in_the_status_does_not_become_an_assignment(manager: tuple[socket.socket, Service]) -> None:
    receiver, service = manager
    service.status("next look evil\nMAINPID=1\r\nERRNO=5")
    assert receiver.recv(4096) == b"STATUS=next look evil MAINPID=1 ERRNO=5"


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="not under systemd"),
        pytest.param({"NOTIFY_SOCKET": ""}, id="empty"),
        pytest.param({"NOTIFY_SOCKET": "/nowhere/notify"}, id="nobody there"),
        pytest.param({"NOTIFY_SOCKET": "@expiryd-nobody-listens"}, id="nobody there, abstract"),
        pytest.param({"NOTIFY_SOCKET": "/" + "x" * 200}, id="longer than an address may be"),
        pytest.param({"NOTIFY_SOCKET": "/a\0b"}, id="NUL in the path"),
        pytest.param({"NOTIFY_SOCKET": "vsock:2:1"}, id="a kind of address it does not know"),
    ],
)
def test_without_a_listener_nothing_is_said_and_nothing_raises(environ: dict[str, str]) -> None:
    service = Service.of(environ)
    assert not service.ready("up")
    assert not service.watchdog()


def test_a_manager_that_does_not_read_costs_a_bounded_wait(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        service = Service(address)
        assert not all(service.watchdog() for _ in range(5000))


def test_the_watchdog_is_fed_twice_in_the_time_it_allows() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000"}) == timedelta(seconds=15)
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, pid=42) == timedelta(seconds=15)


def test_a_watchdog_meant_for_another_process_is_left_alone() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"}, pid=42) is None


@pytest.mark.parametrize("usec", ["", "0", "-5", "1.5", "soon", "٣"])
def test_no_watchdog_without_a_whole_number_of_microseconds(usec: str) -> None:
    assert watchdog_interval({"WATCHDOG_USEC": usec}) is None


@given(st.text(st.characters(exclude_categories=()), max_size=2000))
def test_any_status_arrives_as_one_assignment(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        address = f"@expiryd-test-{uuid4()}"
        receiver.bind("\0" + address[1:])
        assert Service(address).status(text)
        assert b"\n" not in receiver.recv(1 << 20)
