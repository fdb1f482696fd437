"""The ends of CGI programs: output, exit and client in each order; deadlines, and who is waited for."""

from __future__ import annotations

import functools
import re
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lwsws.handlers.cgi_exchange import EXIT_SECONDS, SILENCE_SECONDS
from lwsws.net.programs import KILL_SECONDS
from lwsws.net.transport import HIGH
from tests.support.cgi_site import TEXT, CgiSite
from tests.support.docroot import open_fds
from tests.support.peer import Peer

LAST_CHUNK = b"0\r\n\r\n"
TIMEOUT = 5.0   # the default of cgi-timeout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CgiSite]:
    """A mount of programs; none may be left at its end."""
    site = CgiSite(tmp_path)
    yield site
    site.close()


def wait_for(site: CgiSite, peer: Peer, data: bytes) -> None:
    site.wait(lambda: data in peer.receive(), f"{data!r}")


def complete(peer: Peer) -> bool:
    return peer.receive().endswith(LAST_CHUNK)


def output_ended(peer: Peer) -> bool:
    """Whether the server has seen the end of the program's output."""
    role: Any = peer.connection.role
    return bool(role.exchange.consumer._output_ended)


def ends_cut_off(peer: Peer) -> bool:
    return not peer.receive().endswith(LAST_CHUNK) and peer.eof


# The order of the ends.


@pytest.mark.parametrize("last, ending", [("exit 0", complete), ("exit 3", complete),
                                          ("kill -KILL $$", ends_cut_off)])
def test_output_ends_then_the_program(site: CgiSite, last: str,
                                          ending: Callable[[Peer], bool]) -> None:
    """Whether the answer is whole is not known before the program has ended."""
    site.script("p", f"{TEXT}; echo hello; exec >&-; read line < {site.fifo('go')}; {last}")
    peer = site.begin("/cgi/p")
    wait_for(site, peer, b"hello")
    site.wait(lambda: output_ended(peer), "the end of the output")
    assert not complete(peer) and not peer.eof
    site.tell("go")
    site.wait_end()
    assert ending(peer)


def test_output_ends_and_the_program_goes_on(site: CgiSite) -> None:
    """Not for ever does the client wait for that; and not for ever may it go on."""
    go = site.fifo("go")
    site.script("p", f"{TEXT}; echo hello; exec >&-; read line < {go}; read line < {go}")
    peer = site.begin("/cgi/p")
    wait_for(site, peer, b"hello")
    site.wait(lambda: output_ended(peer), "the end of the output")
    site.bench.advance(EXIT_SECONDS + 0.1)
    assert complete(peer)
    site.bench.advance(TIMEOUT - 0.2)
    assert site.handler.running == 1
    site.bench.advance(0.2)
    site.wait_end()


def test_the_program_ends_and_leaves_a_job_behind(site: CgiSite) -> None:
    """What the job writes still belongs to the answer, until it is silent; the job goes on."""
    go = site.fifo("go")
    site.script("p", f"{TEXT}; (read a < {go}; echo late; read a < {go}; echo > {site.directory}/done) &")
    peer = site.begin("/cgi/p")
    site.wait_end()
    site.bench.advance(SILENCE_SECONDS - 0.1)
    assert not complete(peer)
    site.tell("go")
    wait_for(site, peer, b"late\n")
    site.bench.advance(SILENCE_SECONDS - 0.1)
    assert not complete(peer)
    site.bench.advance(0.2)
    assert complete(peer) and site.alive == 0
    site.tell("go")
    site.wait((site.directory / "done").exists, "the job")


def test_a_length_ends_the_answer_before_the_program(site: CgiSite) -> None:
    """It may do something after its answer, and even write more."""
    go, done = site.fifo("go"), site.directory / "done"
    site.script("p", "printf 'Content-Type: a/b\\nContent-Length: 5\\n\\nhello'; "
                     f"read line < {go}; head -c 200000 /dev/zero; echo > {done}")
    peer = site.begin("/cgi/p")
    wait_for(site, peer, b"\r\n\r\nhello")
    assert peer.answer().body == b"hello" and site.handler.running == 1
    site.bench.advance(TIMEOUT - 1)
    site.tell("go")
    site.wait_end()
    assert done.exists() and peer.receive() == b""


def test_what_follows_the_length_waits_for_nobody(site: CgiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a client that has not taken the answer yet."""
    monkeypatch.setattr("lwsws.net.transport.HIGH", 10_000)
    go, done = site.fifo("go"), site.directory / "done"
    site.script("p", f"printf 'Content-Type: a/b\\nContent-Length: 60000\\n\\n'; read line < {go}; "
                     "dd if=/dev/zero bs=60000 count=1 2> /dev/null; head -c 300000 /dev/zero; "
                     f"echo > {done}")
    peer = site.bench.connect(buffer=4096)
    peer.send(b"GET /cgi/p HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(site, peer, b"\r\n\r\n")
    site.tell("go")
    site.wait(lambda: peer.connection.transport.is_high, "a full queue")
    site.wait(done.exists, "the program")
    assert len(site.answer(peer).body) == 60000


@pytest.mark.parametrize("begun", [False, True])
def test_the_client_goes_away(site: CgiSite, begun: bool) -> None:
    """The program, and what it has started, is ended."""
    pids = site.directory / "pids"
    head = f"{TEXT}; echo hello; " if begun else ""
    site.script("p", f"sleep 1000 & {head} echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait")
    peer = site.begin("/cgi/p")
    site.wait(pids.exists, "the program")
    if begun:
        wait_for(site, peer, b"hello")
    peer.connection.abort()
    site.wait_end()
    for pid in pids.read_text().split():
        site.wait(functools.partial(is_gone, pid), "the end of all of them")
    site.bench.advance(3)
    assert site.alive == 0


def is_gone(pid: str) -> bool:
    """Whether it does not run any more; nobody may have waited for it yet."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_the_client_goes_away_while_the_program_starts(tmp_path: Path) -> None:
    """As one in a chroot does, by a worker."""
    with closing(CgiSite(tmp_path, cgi_chroot="/")) as site:
        site.script("p", "sleep 1000")
        site.script("q", "").write_text("no program")
        for request in (b"GET /cgi/p", b"GET /cgi/p", b"GET /cgi/q"):
            peer = site.bench.connect()
            peer.sock.send(request + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            site.wait(lambda: site.handler.running, "the request")
            peer.connection.abort()
            site.wait_end()
        site.bench.advance(KILL_SECONDS)    # where one had begun by then
        site.wait(lambda: not site.alive, "the end of the programs")


def test_the_client_goes_away_with_half_a_body(site: CgiSite) -> None:
    site.script("p", "cat > /dev/null; sleep 1000")
    for framing, running in (("Content-Length: 10", 1), ("Transfer-Encoding: chunked", 0)):
        peer = site.bench.connect()
        peer.send(f"POST /cgi/p HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n5\r\nhe".encode())
        assert site.handler.running == running
        peer.connection.abort()
        site.wait_end()


def test_a_stubborn_program_is_killed(site: CgiSite) -> None:
    ready = site.directory / "ready"
    site.script("p", f"trap '' TERM; echo > {ready}; while :; do sleep 0.01; done")
    peer = site.begin("/cgi/p")
    site.wait(ready.exists, "the program")
    peer.connection.abort()
    site.bench.run()
    assert site.handler.running == 1
    site.bench.advance(2.1)
    site.wait_end()
    assert site.alive == 0


# Deadlines.


def test_a_program_that_does_nothing(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    site.script("p", "exec sleep 1000")
    peer = site.begin("/cgi/p")
    site.bench.advance(TIMEOUT - 0.1)
    assert peer.receive() == b""
    site.bench.advance(0.2)
    answer = peer.answer()
    assert (answer.status, answer.get("Connection")) == (504, "close")
    site.wait_end()
    assert re.search(r"/p: 504: .*\(cgi-timeout\)", capfd.readouterr().err)


def test_a_program_that_stops_in_its_answer(tmp_path: Path) -> None:
    site = CgiSite(tmp_path, cgi_timeout="30")
    site.script("p", f"{TEXT}; echo one; read line < {site.fifo('go')}; echo two; exec sleep 1000")
    peer = site.begin("/cgi/p")
    wait_for(site, peer, b"one")
    site.bench.advance(29)
    site.tell("go")
    wait_for(site, peer, b"two")
    site.bench.advance(29)
    assert not peer.eof
    site.bench.advance(2)
    assert ends_cut_off(peer)
    site.wait_end()
    site.close()


def test_no_time_passes_while_the_client_does_not_read(site: CgiSite) -> None:
    """And the program cannot get far ahead of it."""
    site.script("p", f"{TEXT}; head -c 3000000 /dev/zero")
    peer = site.begin("/cgi/p")
    transport = peer.connection.transport
    site.wait(lambda: transport.is_high, "a full queue")
    for _ in range(3):
        site.bench.advance(TIMEOUT * 2)
    assert transport.size < HIGH + 200_000
    site.wait(lambda: complete(peer), "the answer")
    assert len(peer.answer().body) == 3_000_000
    site.wait_end()


def test_no_time_passes_while_the_client_does_not_send(tmp_path: Path) -> None:
    site = CgiSite(tmp_path, cgi_timeout="1")
    site.script("p", f"head -c 10 > /dev/null; {TEXT}; echo done")
    peer = site.bench.connect()
    peer.send(b"POST /cgi/p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
    site.wait(lambda: site.alive, "the program")
    for _ in range(4):
        site.bench.advance(2)
        site.bench.advance(2)
        peer.send(b"x")
    peer.send(b"x" * 6)
    assert site.answer(peer).body == b"done\n"
    site.close()


def test_a_program_that_does_not_take_its_body(site: CgiSite) -> None:
    """Each piece that it takes is progress; none at all is not."""
    go = site.fifo("go")
    site.script("p", f"for i in 1 2 3; do read line < {go}; head -c 90000 > /dev/null; "
                     f"echo > {site.directory}/$i; done; exec sleep 1000")
    peer = site.bench.connect()
    peer.send(b"POST /cgi/p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
    site.wait(lambda: site.alive, "the program")
    for turn in "123":
        site.bench.advance(TIMEOUT - 0.5)
        site.tell("go")
        site.wait((site.directory / turn).exists, "a piece to be taken")
        site.bench.run()
    site.bench.advance(TIMEOUT - 0.5)
    assert peer.receive() == b""
    # What the pipe has taken is looked at only now and then.
    site.bench.advance(TIMEOUT)
    site.bench.advance(TIMEOUT)
    assert peer.answer().status == 504
    site.wait_end()


# stderr.


def test_stderr_goes_to_the_log(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    site.script("p", f"{TEXT}; printf 'one\\ntwo \\033[31m\\303\\251\\n\\n\\377end' >&2")
    site.get("/cgi/p")
    site.wait_end()
    prefix = f"conn 1: cgi {site.programs}/p: "
    lines = [line.partition(prefix)[2] for line in capfd.readouterr().err.splitlines() if prefix in line]
    assert lines == ["one", "two \\x1b[31m\u00e9", "\\xffend"]


def test_much_on_stderr(site: CgiSite, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines are cut, and so much is too much; the program is not held up by it."""
    site.script("p", f"{TEXT}; (head -c 5000 /dev/zero | tr '\\0' x; echo; yes | head -c 99999) >&2; echo ok")
    assert site.get("/cgi/p").body == b"ok\n"
    site.wait_end()
    site.bench.advance(2)
    lines = capfd.readouterr().err.splitlines()
    assert any(line.endswith(": " + "x" * 1024) for line in lines)
    assert len([line for line in lines if line.endswith(": y")]) < 70_000
    assert len([line for line in lines if "more of its stderr is not logged" in line]) == 1


def test_a_job_that_keeps_stderr(site: CgiSite) -> None:
    """It does not keep us from forgetting the program, and its pipe."""
    site.script("p", f"{TEXT}; (read line < {site.fifo('go')}) >&- &")
    peer = site.bench.connect()
    assert site.get("/cgi/nothing").status == 404   # the directory is open from now on
    before = open_fds()
    peer.send(b"GET /cgi/p HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert site.answer(peer).status == 200
    site.wait_end()
    assert site.alive == 0 and len(open_fds()) == len(before) + 1
    site.bench.advance(SILENCE_SECONDS + 0.1)
    assert open_fds() == before
    site.tell("go")
