"""wsgi: applications behind the validator of the standard library, before a real reactor and real threads."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, List

import pytest

from lwsws.builtin.wsgi import GATHER
from lwsws.builtin.wsgi_answer import ROOM
from lwsws.core.options import Options
from lwsws.handlers.basicauth import BasicAuthHandler, PasswordFile
from lwsws.handlers.callback import CallbackHandler
from tests.builtin import wsgi_apps
from tests.builtin.wsgi_site import MODULE, Applications
from tests.net.support import spin
from tests.support.http_sessions import VHOST, post
from tests.support.waiting import wait_until

CHUNKED = "POST /call HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    """A request with these chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return CHUNKED.encode() + body + b"0\r\n\r\n"


# The environment.


def test_the_environment_of_a_plain_request(site: Applications) -> None:
    peer = site.serve("environment")
    fields = ("X-One: 1", "X-One: 2", "Cookie: a=1", "Cookie: b=2", "X_One: forged", "Proxy: evil")
    got = json.loads(site.get(peer, "/call/a%20b/%C3%A9/%25?x=%20&y", "GET", *fields).body)
    version = got.pop("SERVER_SOFTWARE")
    assert version.startswith("lwsws/")
    assert got == {
        "HTTP_COOKIE": "a=1; b=2", "HTTP_HOST": "localhost", "HTTP_X_ONE": "1, 2",
        "PATH_INFO": "/a b/\xc3\xa9/%", "QUERY_STRING": "x=%20&y", "REMOTE_ADDR": "192.0.2.7",
        "REQUEST_METHOD": "GET", "REQUEST_URI": "/call/a%20b/%C3%A9/%25?x=%20&y", "SCRIPT_NAME": "/call",
        "SERVER_NAME": "localhost", "SERVER_PORT": "7681", "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input_terminated": True, "wsgi.multiprocess": True, "wsgi.multithread": True,
        "wsgi.run_once": False, "wsgi.url_scheme": "http", "wsgi.version": [1, 0],
    }


def test_the_environment_of_a_body(site: Applications) -> None:
    peer = site.serve("environment")
    got = json.loads(site.ask(peer, post(b"abc", "Content-Type: text/x", "Authorization: Basic eDp5")).body)
    assert (got["CONTENT_TYPE"], got["CONTENT_LENGTH"]) == ("text/x", "3")
    assert "HTTP_CONTENT_TYPE" not in got and "HTTP_CONTENT_LENGTH" not in got
    assert got["HTTP_AUTHORIZATION"] == "Basic eDp5"
    assert (got["PATH_INFO"], got["QUERY_STRING"]) == ("", "")
    got = json.loads(site.ask(peer, chunked(b"abc", b"de")).body)
    assert got["CONTENT_LENGTH"] == "5" and "HTTP_TRANSFER_ENCODING" not in got


def test_the_host_of_an_absolute_target_counts(site: Applications) -> None:
    peer = site.serve("environment")
    got = json.loads(site.get(peer, "http://example.com:81/call").body)
    assert (got["HTTP_HOST"], got["REQUEST_URI"]) == ("example.com:81", "http://example.com:81/call")


def test_a_password_that_the_server_asks_for_is_its_own(site: Applications, tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("user:pass\n")
    path.chmod(0o600)
    site.serve("environment")
    options = Options([("app", f"{MODULE}:environment")])
    inner = CallbackHandler(lambda: site.wsgi, VHOST, options, 0)
    site.bench.mount("/call", BasicAuthHandler(PasswordFile(str(path), site.bench.clock), inner))
    field = "Authorization: Basic dXNlcjpwYXNz"
    got = json.loads(site.get(site.bench.connect(), "/call", "GET", field).body)
    assert (got["AUTH_TYPE"], got["REMOTE_USER"]) == ("Basic", "user")
    assert "HTTP_AUTHORIZATION" not in got


# The body of a request.


@pytest.mark.parametrize("way, pieces", [
    ("read", ["ab\ncdef", "gh\n\nlast", ""]),
    ("readline", ["ab\n", "cde", "fgh\n", "\nlast"]),
    ("readlines", ["ab\n", "cdefgh\n", "\n", "last"]),
    ("iter", ["ab\n", "cdefgh\n", "\n", "last"]),
])
def test_the_ways_to_read_a_body(site: Applications, way: str, pieces: List[str]) -> None:
    peer = site.serve("lines")
    body = b"ab\ncdefgh\n\nlast"
    answer = site.ask(peer, post(body, target=f"/call/{way}") + post(b"", target="/call/iter"))
    assert json.loads(answer.body) == pieces
    site.until_over(peer)
    assert peer.answer().body == b"[]"


def test_a_slow_client_does_not_occupy_a_thread(site: Applications) -> None:
    peer = site.serve("length")
    request = post(bytes(GATHER - 1))
    peer.send(request[:-1])
    assert site.wsgi.gathered == GATHER - 2
    assert site.bench.workers.threads == 0
    assert site.ask(peer, request[-1:]).body == b"%d" % (GATHER - 1)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_is_read_while_it_comes(site: Applications, is_chunked: bool) -> None:
    peer = site.serve("length")
    size = GATHER + 900_000
    body = chunked(bytes(GATHER), bytes(900_000)) if is_chunked else post(bytes(size))
    site.send_all(peer, body[:-10])
    site.until_told("called")
    assert site.wsgi.gathered == 0
    assert site.ask(peer, body[-10:]).body == b"%d" % size


def test_a_client_waits_for_an_application_that_does_not_read(site: Applications) -> None:
    peer = site.serve("late")
    size = GATHER + 8_000_000
    left = memoryview(post(bytes(size)))
    for _ in range(20):
        with suppress(BlockingIOError):
            left = left[peer.sock.send(left):]
        site.bench.run()
    assert len(left) > 6_000_000
    wsgi_apps.gate.set()
    site.send_all(peer, left)
    site.until_over(peer)
    assert peer.answer().body == b"%d" % size


def test_a_client_that_trickles_does_not_keep_a_thread(site: Applications) -> None:
    """LESSONS 3.8: beyond what is gathered, ROOM bytes for each `timeout`."""
    peer = site.serve("length", ("timeout", "8"))
    site.send_all(peer, memoryview(post(bytes(GATHER + 5 * ROOM), announced=GATHER + 9 * ROOM)))
    role: Any = peer.connection.role

    def all_is_read() -> bool:
        site.bench.run()
        return not role.exchange.body_paused and role.reader.buffered == 0

    wait_until(all_is_read, "the application waits for more")
    for _ in range(4):      # the deadline of the body moves with each of these
        site.bench.advance(3)
        peer.send(bytes(1000))
    site.until_over(site.bench.connect())
    assert peer.receive() == b"" and peer.eof, peer.data


def test_a_client_that_hardly_reads_does_not_keep_a_thread(site: Applications) -> None:
    """The same for what it has to take (LESSONS 3.40)."""
    peer = site.serve("stream", ("timeout", "8"))
    peer.send(b"GET /call?20000 HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def much_waits() -> bool:
        site.bench.run()
        return peer.connection.transport.is_high

    wait_until(much_waits, "much waits to be sent")
    for _ in range(4):
        site.bench.advance(3)
        peer.sock.recv(1000)
    site.until_over(site.bench.connect())
    assert peer.connection.closed
    site.until_told("closed")


def test_many_bodies_do_not_fill_the_memory(site: Applications, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwsws.builtin.wsgi.GATHER_ALL", 100_000)
    first = site.serve("length")
    first.send(post(bytes(90_000), announced=90_001))
    assert site.wsgi.gathered == 90_000
    second = site.bench.connect()
    second.send(post(bytes(20_000), announced=20_001))
    assert site.wsgi.gathered == 90_000     # the second was given to the application at once
    site.until_told("called")
    first.send(b"x")
    second.send(b"x")
    site.until_over(first, second)
    assert (first.answer().body, second.answer().body) == (b"90001", b"20001")


def test_bodies_that_wait_for_a_thread_count_as_well(site: Applications) -> None:
    peers = [site.serve("late", threads="1"), site.bench.connect()]
    for peer in peers:
        peer.send(post(bytes(1000)))
    assert site.wsgi.gathered == 2000
    wsgi_apps.gate.set()
    site.until_over(*peers)
    assert [peer.answer().body for peer in peers] == [b"1000", b"1000"]
    assert site.wsgi.gathered == 0


def test_more_requests_than_can_wait(site: Applications) -> None:
    peer = site.serve("length")
    site.bench.workers.stop(10)     # takes none, as one that has too many
    answer = site.ask(peer, post(b"x"))
    assert (answer.status, answer.get("retry-after")) == (503, "1")


def test_a_client_who_leaves_before_the_body_is_complete(site: Applications,
                                                         capfd: pytest.CaptureFixture[str]) -> None:
    peer = site.serve("length")
    peer.send(post(bytes(GATHER + 1000), announced=GATHER + 2000))
    site.until_told("called")
    peer.sock.close()
    site.until_over(site.bench.connect())
    assert site.bench.workers.stop(10)      # the thread waits no more
    assert "Traceback" not in capfd.readouterr().err


# The answer.


def test_an_answer_bit_by_bit(site: Applications) -> None:
    peer = site.serve("stream")
    answer = site.get(peer, "/call?3")
    assert answer.head.startswith(b"HTTP/1.1 200 Fine\r\n") and answer.get("transfer-encoding") == "chunked"
    assert answer.body == b"".join(b"%1023d\n" % number for number in range(3))
    site.until_told("closed")


def test_a_large_answer_waits_for_its_client(site: Applications) -> None:
    peer = site.serve("stream")
    peer.send(b"GET /call?4000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    spin(site.bench.reactor, lambda: peer.connection.transport.is_high)
    assert wsgi_apps.told == []
    assert peer.connection.transport.size < 600 * 1024
    site.until_over(peer)
    assert len(peer.answer().body) == 4000 * 1024
    site.until_told("closed")


def test_a_client_who_leaves_ends_the_answer(site: Applications, capfd: pytest.CaptureFixture[str]) -> None:
    peer = site.serve("stream")
    peer.send(b"GET /call?100000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    spin(site.bench.reactor, lambda: peer.connection.transport.is_high)
    peer.connection.abort()
    site.until_told("closed")
    assert site.bench.workers.stop(10)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("method, length, body", [("GET", "5", b"hello"), ("HEAD", "5", b"")])
def test_a_length_of_the_application_is_kept(site: Applications, method: str, length: str,
                                             body: bytes) -> None:
    peer = site.serve("sized")
    for _ in range(2):
        answer = site.get(peer, "/call", method)
        assert (answer.status, answer.get("content-length"), answer.body) == (200, length, body)


def test_what_is_written_comes_before_what_is_given(site: Applications) -> None:
    peer = site.serve("written")
    assert site.get(peer).body == b"written, then given"
    answer = site.get(peer, "/call", "HEAD")
    assert (answer.status, answer.get("content-length")) == (200, None)
    assert site.get(peer).body == b"written, then given"


@pytest.mark.parametrize("status, length", [(200, "0"), (404, "0"), (500, "0"), (204, None), (304, None)])
def test_an_answer_without_a_body(site: Applications, status: int, length: str) -> None:
    """No error page of the server's in its place."""
    peer = site.serve("empty")
    answer = site.get(peer, f"/call?{status}")
    assert answer.head.startswith(b"HTTP/1.1 %d Nothing\r\n" % status)
    assert (answer.body, answer.get("content-length")) == (b"", length)
    assert site.get(peer, f"/call?{status}").status == status


def test_the_client_need_not_wait_for_close(site: Applications) -> None:
    peer = site.serve("waits")
    assert site.get(peer).body == b"ok"
    assert wsgi_apps.told == []
    wsgi_apps.gate.set()
    site.until_told("closed")
    assert wsgi_apps.told == ["done", "closed"]


def test_requests_side_by_side_and_one_after_the_other(site: Applications) -> None:
    peer = site.serve("waits", threads="2")
    others = [site.bench.connect() for _ in range(5)]
    for each in (peer, *others):
        each.send(b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
    wsgi_apps.gate.set()
    for _ in range(2):
        site.until_over(peer, *others)
    assert {each.answer().body for each in (peer, *others) for _ in range(2)} == {b"ok"}
    assert site.bench.workers.threads == 2


def test_no_answer_in_time(site: Applications) -> None:
    peer = site.serve("waits", ("timeout", "7"), threads="1")
    assert site.get(peer).body == b"ok"     # and keeps the only thread
    peer.send(b"GET /call HTTP/1.1\r\nHost: localhost\r\n\r\n")
    site.bench.advance(6)
    assert peer.receive() == b""
    site.bench.advance(2)
    assert peer.answer().status == 503
