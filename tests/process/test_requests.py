"""The parent's end of the request channel: what a child gets, and what nobody gets who has taken one over."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from lwsws.net.keeper import LOG, READ
from lwsws.net.listening import Endpoint, Terms
from lwsws.net.regular_file import file_state
from lwsws.process.requests import MAX_FDS, MAX_READ, MAX_REFUSALS
from tests.process.asking import Asking, listen_fields, local
from tests.support.source import ROOT

EPERM = str(errno.EPERM)


@pytest.fixture(name="asking")
def make_asking() -> Iterator[Asking]:
    made = Asking()
    yield made
    made.close()


@pytest.fixture(name="place")
def make_place(tmp_path: Path) -> Path:
    """A directory that only we can change, whatever the umask is."""
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o755)
    return place


def sockets(asking: Asking) -> List[socket.socket]:
    """The sockets that came, now the caller's."""
    made = [socket.socket(fileno=fd) for fd in asking.files]
    asking.files.clear()
    return made


def refused(answer: List[str]) -> bool:
    return answer[:2] == ["fault", EPERM]


# Sockets.


def test_a_child_gets_a_socket_that_listens(asking: Asking) -> None:
    assert asking.ask(*listen_fields(local())) == ["ok", "1"]
    sock, = sockets(asking)
    with sock, socket.create_connection(sock.getsockname(), timeout=5) as client:
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getpeername() == client.getsockname()
    assert asking.claims == {local()}


def test_it_gets_the_same_again_after_the_seal(asking: Asking) -> None:
    asking.ask(*listen_fields(local()))
    asking.seal()
    assert asking.ask(*listen_fields(local())) == ["ok", "1"]
    one, other = sockets(asking)
    with one, other:
        assert one.getsockname() == other.getsockname()


def test_more_sockets_than_go_with_one_message(asking: Asking) -> None:
    # Many processes of an older generation have left their sockets to one.
    endpoint, count = local(), MAX_FDS + 1
    for sock in asking.store.take(endpoint, Terms(count), set(), 0):
        sock.close()
    asking.child.tell(listen_fields(endpoint))
    assert asking.requests.serve()
    messages = [asking.child.receive(), asking.child.receive()]
    assert [message and (message[0], len(message[1])) for message in messages] == [
        (["ok", str(count)], MAX_FDS), (["more"], 1)]
    asking.files += [fd for message in messages if message for fd in message[1]]


@pytest.mark.parametrize("terms", [Terms(processes=2), Terms(fastopen=5), Terms(uid=0), Terms(gid=0)])
def test_no_other_terms_after_the_seal(asking: Asking, terms: Terms) -> None:
    asking.ask(*listen_fields(local()))
    asking.seal()
    assert refused(asking.ask(*listen_fields(local(), terms)))
    assert len(asking.files) == 1


def test_no_other_address_after_the_seal(asking: Asking, tmp_path: Path) -> None:
    asking.ask(*listen_fields(local()))
    asking.seal()
    path = str(tmp_path / "socket")
    for endpoint in (local(1), local()._replace(host="127.0.0.2"), local()._replace(interface="lo"),
                     local()._replace(name="web"), Endpoint(int(socket.AF_UNIX), "", 0, path=path)):
        assert refused(asking.ask(*listen_fields(endpoint)))
    assert not os.path.exists(path)


def test_no_sockets_for_who_listens_no_longer(asking: Asking) -> None:
    asking.ask(*listen_fields(local()))
    asking.requests.retire()
    assert refused(asking.ask(*listen_fields(local())))


def test_what_is_not_wanted_after_all(asking: Asking) -> None:
    asking.ask(*listen_fields(local()))
    asking.seal()
    release = ["release", *listen_fields(local())[1:7]]
    other = ["release", *listen_fields(local(1))[1:7]]
    asking.claims.add(local(1))     # of another process
    for request in (release, release, other):
        assert asking.ask(*request) == ["ok", "0"]
    assert asking.claims == {local(1)}
    assert refused(asking.ask(*listen_fields(local())))
    asking.requests.settle()
    assert refused(asking.ask(*release))


def test_what_cannot_be_bound_may_be_asked_for_again(asking: Asking) -> None:
    absent = local()._replace(host="192.0.2.1")     # RFC 5737: nobody has it
    for _ in range(2):
        assert asking.ask(*listen_fields(absent))[:2] == ["fault", str(errno.EADDRNOTAVAIL)]
        asking.seal()


def test_names_that_are_no_addresses(asking: Asking) -> None:
    for host in ("no-such-literal", "\udcff", "\u00e4"):
        assert asking.ask(*listen_fields(local()._replace(host=host)))[0] == "fault"


# What is read.


def read(asking: Asking, path: object, limit: object = 100) -> List[str]:
    return asking.ask("read", str(path), str(limit))


def test_a_file_comes_sealed(asking: Asking, place: Path) -> None:
    (place / "key").write_bytes(b"secret")
    asking.allow(READ, place / "key")
    asking.seal()
    assert read(asking, place / "key") == ["ok", "1"]
    fd, = asking.files
    assert os.pread(fd, 100, 0) == b"secret"
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)


def test_only_what_was_allowed_is_read(asking: Asking, place: Path) -> None:
    (place / "key").write_text("secret")
    (place / "other").write_text("secret")
    asking.allow(READ, place / "key")
    asking.allow(LOG, place / "other")
    asking.seal()
    for path in ("other", "sub/../key", "./key", "../place/key", "key/", ""):
        assert refused(asking.ask("read", f"{place}/{path}", "100"))
    assert refused(asking.ask("state", f"{place}/other"))
    assert not asking.files


def test_nothing_is_allowed_after_the_seal(asking: Asking, place: Path) -> None:
    (place / "key").write_text("secret")
    asking.seal()
    assert refused(asking.ask("allow", READ, f"{place}/key"))
    assert refused(asking.ask("allow", LOG, f"{place}/key"))
    assert refused(read(asking, place / "key"))
    assert refused(asking.ask("log", f"{place}/key"))


def test_a_path_must_be_absolute(asking: Asking) -> None:
    assert asking.ask("allow", READ, "key") == ["fault", str(errno.EINVAL), "no absolute path"]


def test_what_cannot_be_read(asking: Asking, place: Path) -> None:
    os.mkfifo(place / "fifo")
    (place / "large").write_bytes(b"x" * 101)
    faults = {"missing": errno.ENOENT, "fifo": errno.EINVAL, "large": errno.EFBIG, ".": errno.EINVAL,
              "large/x": errno.ENOTDIR}
    for name, code in faults.items():
        asking.allow(READ, f"{place}/{name}")
        assert read(asking, f"{place}/{name}")[:2] == ["fault", str(code)], name


def test_the_state_is_that_of_the_file(asking: Asking, place: Path) -> None:
    for name in ("key", "missing"):
        asking.allow(READ, place / name)
    (place / "key").write_text("secret")
    for name in ("key", "missing"):
        state = file_state(str(place / name))
        assert asking.ask("state", str(place / name)) == ["ok", "0", *map(str, state)]


# Logs.


def test_a_log_is_appended_to(asking: Asking, place: Path) -> None:
    asking.allow(LOG, place / "a.log")
    asking.seal()
    assert asking.ask("log", str(place / "a.log")) == ["ok", "1"]
    assert os.stat(place / "a.log").st_mode & 0o7777 == 0o640 & ~os_umask()
    (place / "a.log").write_text("one\n")
    os.write(asking.files[0], b"two\n")
    assert (place / "a.log").read_text() == "one\ntwo\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(asking.files[0], 1)


def os_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_no_log_but_the_one_that_was_allowed(asking: Asking, place: Path) -> None:
    asking.allow(LOG, place / "a.log")
    asking.allow(READ, place / "b.log")
    asking.seal()
    for name in ("b.log", "x/../a.log", "a.log/"):
        assert refused(asking.ask("log", f"{place}/{name}"))
    assert os.listdir(place) == []


def test_a_log_needs_its_directory(asking: Asking, place: Path) -> None:
    answer = asking.ask("allow", LOG, f"{place}/no/a.log")
    assert answer[:2] == ["fault", str(errno.ENOENT)]


# Breaches.

LISTEN = listen_fields(local())


def with_field(at: int, text: str) -> List[str]:
    return [*LISTEN[:at], text, *LISTEN[at + 1:]]


@pytest.mark.parametrize("fields", [
    ["open", "/etc/shadow"], ["LISTEN", *LISTEN[1:]], ["ok", "0"], ["", ""], ["\udcff\ufffd"],
    ["listen"], LISTEN[:-1], [*LISTEN, ""], ["allow", READ], ["allow", "write", "/etc/shadow"],
    ["allow", "", "/"], ["release", *LISTEN[1:6]], ["release", "17", *LISTEN[2:7]], ["read", "/etc/passwd"],
    ["read", "/etc/passwd", "1", "1"], ["state"], ["log"], ["seal", ""],
])
def test_requests_that_are_none(asking: Asking, fields: List[str]) -> None:
    asking.breach(*fields)


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1_0", " 1", "1\n", "0x1", "\u0663", "\u00b2", "1e3",
                                  "1.0", "65536", "9" * 3000, "-", "--1"])
def test_ports_that_are_none(asking: Asking, text: str) -> None:
    assert "in the place of a number" in asking.breach(*with_field(3, text))


@pytest.mark.parametrize("at, text", [
    (1, "17"), (1, "-1"), (7, "0"), (7, "1025"), (8, "-1"), (9, "-2"), (9, str(2 ** 32 - 1)), (10, "root")])
def test_other_numbers_that_are_none(asking: Asking, at: int, text: str) -> None:
    asking.breach(*with_field(at, text))


def test_more_is_never_read(asking: Asking) -> None:
    asking.breach("read", "/etc/passwd", str(MAX_READ + 1))


def test_what_the_configuration_says(asking: Asking) -> None:
    assert asking.ask("config", "4", "10", "3") == ["ok", "0"]
    assert asking.configured == [(4, 10, 3)]
    asking.seal()
    assert refused(asking.ask("config", "1", "0", "1"))
    assert asking.configured == [(4, 10, 3)]


def test_why_it_cannot_serve_is_one_line_of_text(asking: Asking) -> None:
    asking.seal()
    assert asking.ask("fault", "a\nMAINPID=1\x1b[2J" + "x" * 1000) == ["ok", "0"]
    assert asking.faults == ["a?MAINPID=1?[2J" + "x" * 385]


@pytest.mark.parametrize("numbers", ["0 0 1", "257 0 1", "1 -1 1", "1 999999999 1", "1 0 x", "1 0 "])
def test_numbers_that_no_configuration_has(asking: Asking, numbers: str) -> None:
    assert "in the place of a number" in asking.breach("config", *numbers.split(" "))


def test_who_asks_again_and_again_for_what_he_may_not_have(asking: Asking) -> None:
    asking.seal()
    for _ in range(MAX_REFUSALS):
        assert refused(read(asking, "/etc/shadow"))
    assert "'/etc/shadow'" in asking.breach("read", "/etc/shadow", "1")


def test_who_does_not_take_his_answers(asking: Asking) -> None:
    for _ in range(100_000):
        asking.child.tell(["seal"])
        if not asking.requests.serve():
            break
    assert asking.requests.breached == "it does not take its answers"


def test_one_request_at_a_time(asking: Asking) -> None:
    """So that nobody can keep the parent from all others."""
    for _ in range(2):
        asking.child.tell(["seal"])
    asking.child.set_timeout(0)
    assert asking.requests.serve()
    assert asking.child.receive() == (["ok", "0"], [])
    with pytest.raises(BlockingIOError):
        asking.child.receive()
    assert asking.requests.serve()
    assert asking.requests.serve()      # nothing waits
    assert asking.child.receive() == (["ok", "0"], [])


def test_the_end_of_a_child_is_no_breach(asking: Asking) -> None:
    asking.child.tell(["seal"])
    asking.child.close()
    while asking.requests.serve():
        pass
    assert asking.requests.breached == ""


def test_nothing_stays_open(asking: Asking, place: Path) -> None:
    (place / "key").write_text("secret")
    asking.allow(READ, place / "key")
    asking.allow(LOG, place / "a.log")
    asking.ask(*LISTEN)     # what the store keeps
    before = len(os.listdir("/proc/self/fd")) - len(asking.files)
    for fields in (LISTEN, ["read", f"{place}/key", "100"], ["log", f"{place}/a.log"],
                   ["read", f"{place}/key", "1"], ["state", f"{place}/key"]):
        asking.ask(*fields)
    asking.breach("read", f"{place}/key", "")
    assert len(os.listdir("/proc/self/fd")) - len(asking.files) == before


def test_the_parent_need_not_load_much_for_it() -> None:
    script = ("import sys\n"
              "before = set(sys.modules)   # what this system's Python loads by itself\n"
              "import lwsws.process.requests\n"
              "loaded = set(sys.modules) - before\n"
              "print(*{name.partition('.')[0] for name in loaded} & "
              "{'ssl', 'json', 'ctypes', 'hashlib', 'threading', 'subprocess', 'tempfile'},"
              "*(name for name in loaded if name.startswith(('lwsws.c', 'lwsws.h', 'lwsws.s'))))")
    told = subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT)
    assert told.split() == []
