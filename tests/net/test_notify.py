"""What systemd is told, and what is taken from it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from lwsws.net import notify
from lwsws.net.notify import Notifier, given_sockets, monotonic_usec, watchdog_seconds

PID = 4711


class TestNotifier:
    """sd_notify(3)."""

    @pytest.fixture
    def systemd(self, tmp_path: Path) -> Iterator[socket.socket]:
        """Who listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(tmp_path / "notify"))
            sock.setblocking(False)
            yield sock

    def test_lines_come_in_one_datagram(self, systemd: socket.socket) -> None:
        notifier = Notifier(systemd.getsockname())
        assert notifier.tell("READY=1", "STATUS=caf\u00e9")
        assert notifier.tell("STOPPING=1")
        assert systemd.recv(100) == "READY=1\nSTATUS=caf\u00e9".encode()
        assert systemd.recv(100) == b"STOPPING=1"

    def test_an_abstract_socket(self) -> None:
        name = f"lwsws-test-notify-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind("\0" + name)
            assert Notifier("@" + name).tell("READY=1")
            assert sock.recv(100) == b"READY=1"

    @pytest.mark.parametrize("address", ["", "/nowhere/notify", "/", "@lwsws-nobody", "/a\0b", "/" * 200])
    def test_nobody_listens(self, address: str) -> None:
        assert not Notifier(address).tell("READY=1")

    def test_somebody_who_does_not_read(self, systemd: socket.socket) -> None:
        """It waits for nobody."""
        notifier = Notifier(systemd.getsockname())
        assert [notifier.tell("WATCHDOG=1") for _ in range(2000)][-1] is False

    def test_its_variables_are_not_inherited(self, systemd: socket.socket) -> None:
        address = systemd.getsockname()
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "A": "b"}
        assert Notifier.from_environment(environ).tell("READY=1")
        assert environ == {"A": "b"}
        assert not Notifier.from_environment(environ).tell("READY=1")

    @pytest.mark.parametrize("address", ["vsock:2:1234", "notify"])
    def test_other_kinds_of_addresses(self, address: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert not Notifier.from_environment({"NOTIFY_SOCKET": address}).tell("READY=1")
        assert f"NOTIFY_SOCKET {address!r} is no unix socket" in capfd.readouterr().err


@pytest.mark.parametrize("environ, seconds", [
    ({}, 0.0),
    ({"WATCHDOG_USEC": "30000000"}, 30.0),
    ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "4711"}, 1.5),
    ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "4712"}, 0.0),
    ({"WATCHDOG_USEC": "1"}, 1.0),
    ({"WATCHDOG_USEC": "999999"}, 1.0),
    ({"WATCHDOG_USEC": "0"}, 0.0),
    ({"WATCHDOG_USEC": "-5"}, 0.0),
    ({"WATCHDOG_USEC": "soon"}, 0.0),
    ({"WATCHDOG_USEC": "\u0661"}, 0.0),
    ({"WATCHDOG_USEC": "18446744073709551615"}, 0.0),   # systemd's "infinity"
    ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": ""}, 0.0),
])
def test_the_watchdog(environ: Dict[str, str], seconds: float) -> None:
    assert watchdog_seconds(environ, PID) == seconds


def test_the_clock_is_that_of_systemd() -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert before - 1e-5 <= monotonic_usec() / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)


class TestGivenSockets:
    """sd_listen_fds(3)."""

    @pytest.fixture(autouse=True)
    def _first_fd(self, monkeypatch: pytest.MonkeyPatch, _no_fd_leaks: None) -> None:
        """What is passed begins at a number that is free for a while, because 3 is pytest's."""
        monkeypatch.setattr(notify, "FIRST_FD", 200)

    def put(self, *sockets: socket.socket) -> Dict[str, str]:
        """As systemd starts us: with these, blocking and inheritable."""
        for index, sock in enumerate(sockets):
            os.dup2(sock.fileno(), 200 + index)
            sock.close()
        return {"LISTEN_PID": str(PID), "LISTEN_FDS": str(len(sockets))}

    def listening(self) -> socket.socket:
        """What it should pass."""
        return socket.create_server(("127.0.0.1", 0))

    def test_sockets_with_names(self, tmp_path: Path) -> None:
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        environ = self.put(self.listening(), unix)
        environ.update(LISTEN_FDNAMES="web:", LISTEN_PIDFDID="7", A="b")
        given = given_sockets(environ, PID)
        assert environ == {"A": "b"}
        assert [(one.name, one.sock.family, one.sock.fileno()) for one in given] == [
            ("web", socket.AF_INET, 200), ("", socket.AF_UNIX, 201)]
        for one in given:
            assert not one.sock.get_inheritable()
            assert not os.get_blocking(one.sock.fileno())
            one.sock.close()

    @pytest.mark.parametrize("names", [{}, {"LISTEN_FDNAMES": "web"}, {"LISTEN_FDNAMES": "a:b:c"}])
    def test_names_that_do_not_fit(self, names: Dict[str, str]) -> None:
        given = given_sockets({**self.put(self.listening(), self.listening()), **names}, PID)
        assert [one.name for one in given] == ["unknown", "unknown"]
        for one in given:
            one.sock.close()

    @pytest.mark.parametrize("change", [
        {"LISTEN_PID": "4712"}, {"LISTEN_PID": ""},
        {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"},
    ])
    def test_not_for_us(self, change: Dict[str, str]) -> None:
        """Its variables go all the same; its descriptors are none of our business."""
        environ = {**self.put(self.listening()), **change}
        assert given_sockets(environ, PID) == []
        assert environ == {}
        os.close(200)

    def not_listening(self) -> socket.socket:
        """Bound only."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        return sock

    def odd_sockets(self) -> List[socket.socket]:
        """Things that can stand in a .socket unit, and are of no use."""
        return [socket.socket(type=socket.SOCK_DGRAM), self.not_listening(),
                socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM)]

    def test_what_is_odd_is_closed(self, capfd: pytest.CaptureFixture[str]) -> None:
        given = given_sockets(self.put(*self.odd_sockets(), self.listening()), PID)
        assert [one.sock.fileno() for one in given] == [203]
        given[0].sock.close()
        errors = capfd.readouterr().err
        assert "descriptor 200 (unknown): not of stream type (ListenStream=)" in errors
        assert "descriptor 201 (unknown): not listening (Accept=no)" in errors
        assert "descriptor 202 (unknown): neither IP nor unix" in errors

    def test_what_is_no_socket(self, capfd: pytest.CaptureFixture[str]) -> None:
        fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(fd, 200)
        os.close(fd)
        assert given_sockets({"LISTEN_PID": str(PID), "LISTEN_FDS": "2"}, PID) == []
        errors = capfd.readouterr().err
        assert "no socket as descriptor 200 (unknown): Socket operation on non-socket" in errors
        assert "no socket as descriptor 201 (unknown): Bad file descriptor" in errors
