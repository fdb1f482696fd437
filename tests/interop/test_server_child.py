"""The harness of the interop tests itself: it tells a good child from a bad one."""

from __future__ import annotations

import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import procfs, programs
from tests.support.server import Server, ServerFailed, free_ports
from tests.support.waiting import wait_until

LISTENER = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(CODE))
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", PORT))
sock.listen()
print("listening", flush=True)
while True:
    sock.accept()[0].close()
"""


def child(port: int, code: int = 0) -> Server:
    """A stand-in for the server, which ends with `code` on SIGTERM."""
    script = LISTENER.replace("PORT", str(port)).replace("CODE", str(code))
    return Server(Path("unused"), [("127.0.0.1", port)], command=[sys.executable, "-c", script])


def test_a_good_child_is_ready_and_ends_well() -> None:
    with child(free_ports(1)[0]) as server:
        server.wait_for("listening")
        server.connect().close()
        assert server.process.poll() is None
    assert server.process.returncode == 0


def test_a_bad_exit_code_is_a_failure() -> None:
    with pytest.raises(ServerFailed, match="ended with 3"), child(free_ports(1)[0], code=3):
        pass


def test_a_child_that_ends_at_once_is_a_failure_that_shows_its_log() -> None:
    script = "import sys; sys.stderr.write('no such port'); sys.exit(1)"
    server = Server(Path("unused"), [("127.0.0.1", 1)], command=[sys.executable, "-c", script])
    with pytest.raises(ServerFailed, match="ended with 1:\nno such port"):
        server.__enter__()


def test_a_process_that_is_left_behind_is_a_failure_and_is_ended() -> None:
    (port,) = free_ports(1)
    script = "import os, time; os.fork() or time.sleep(1000)\n" + LISTENER.replace("PORT", str(port))
    command = [sys.executable, "-c", script.replace("CODE", "0")]
    server = Server(Path("unused"), [("127.0.0.1", port)], command=command)
    with pytest.raises(ServerFailed, match=r"left \[\d+\] behind"), server:
        (left,) = procfs.children(server.process.pid)
    wait_until(lambda: procfs.name(left) == "" or procfs.status(left)["State"][0] == "Z", "its end")


def test_sockets_are_passed_as_systemd_does() -> None:
    script = """
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
for fd, name in enumerate(os.environ["LISTEN_FDNAMES"].split(":"), 3):
    sock = socket.socket(fileno=fd)
    print(name, sock.getsockname()[1], os.environ["LISTEN_FDS"], flush=True)
"""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        server = Server(Path("unused"), [], command=[sys.executable, "-c", script],
                        sockets=[("web", one), ("other", two)])
        with closing(server):
            server.process.wait(10)
            assert server.log() == f"web {one.getsockname()[1]} 2\nother {two.getsockname()[1]} 2\n"


def test_a_failing_test_still_ends_its_child() -> None:
    server = child(free_ports(1)[0])
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert server.process.returncode is not None


def test_a_missing_program_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        programs.need("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        programs.need("no-such-program")
    assert programs.need("sh").endswith("/sh")
