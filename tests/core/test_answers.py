"""The fast path: the same bytes as the slow path, for a quarter of a second at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from lwsws.core import answers
from tests.support.peer import Bench, Peer


@pytest.fixture
def docroot(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    (directory / "dir").mkdir(parents=True)
    (directory / "a.txt").write_text("first")
    (directory / "b.html").write_text("<p>b")
    (directory / "b.html.gz").write_bytes(b"not really gzip")
    (directory / "big.txt").write_bytes(b"x" * 200000)
    return directory


@pytest.fixture
def bench(tmp_path: Path, docroot: Path) -> Iterator[Bench]:
    (tmp_path / "pw").write_text("joe:secret\n")
    made = Bench(tmp_path, {
        "access-log": str(tmp_path / "log"), "headers": [{"X-A": "b"}],
        "mounts": [{"mountpoint": "/", "origin": f"file://{docroot}"},
                   {"mountpoint": "/private", "origin": f"file://{docroot}",
                    "basic-auth": str(tmp_path / "pw")},
                   {"mountpoint": "/there", "origin": ">http://other/", "append-path": "1"}]})
    yield made
    made.close()


def raw(peer: Peer, request: bytes) -> bytes:
    """All bytes that `request` brings; the connection is thrown away if the server closed it."""
    peer.send(request)
    peer.receive()
    data, peer.data = peer.data, b""
    return data


def remembered(bench: Bench) -> int:
    """How many answers are remembered, by bytes or by essence."""
    store: Any = bench.vhosts().answers
    return len(store._by_bytes) + len(store._by_essence)


REQUESTS = [
    "GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /a.txt HTTP/1.0\r\n\r\n",
    "GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HEAD /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-2\r\n\r\n",
    "GET /a.txt HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n",
    "GET /b.html HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n",
    "GET /dir HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /there/x?y HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


@pytest.mark.parametrize("request_text", REQUESTS)
def test_same_bytes_and_same_fate_from_all_paths(bench: Bench, request_text: str) -> None:
    request = request_text.encode()
    varied = request[:-2] + b"Cookie: other\r\n\r\n"
    peers = [bench.connect() for _ in range(4)]
    slow = raw(peers[0], request)                   # parsed, routed, opened
    assert slow.startswith(b"HTTP/1.1 ")
    by_essence = raw(peers[1], varied)              # parsed, then found by what it asks for
    raw(bench.connect(), request)                   # the second in a row is remembered by bytes
    raw(bench.connect(), request)
    by_bytes = raw(peers[2], request)
    assert slow == by_essence == by_bytes
    assert len({peer.eof for peer in peers[:3]}) == 1
    # A HEAD is written as a head of its own; conditions and ranges are remembered by bytes only, both times.
    by_bytes_only = "If-" in request_text or "Range" in request_text
    wanted = 0 if request_text.startswith("HEAD") else 2 if by_bytes_only else 1
    assert len(bench.vhosts().answers) == wanted


@pytest.mark.parametrize("field", [
    "Authorization: Basic am9lOnNlY3JldA==", "Range: bytes=0-1", "If-None-Match: *", "If-Match: no",
    "If-Modified-Since: Fri, 15 Jan 2038 08:00:00 GMT", "If-Unmodified-Since: Fri, 15 Jan 1999 08:00:00 GMT",
    "Accept-Encoding: br", "Connection: close"])
def test_fields_that_decide_are_not_overlooked(bench: Bench, field: str) -> None:
    """A remembered plain answer never stands in for a request that asks for something else."""
    head = "GET /b.html HTTP/1.1\r\nHost: localhost\r\n"
    expected = raw(bench.connect(), f"{head}{field}\r\n\r\n".encode())
    bench.vhosts().answers.forget()
    for _ in range(3):
        raw(bench.connect(), f"{head}\r\n".encode())
    assert raw(bench.connect(), f"{head}{field}\r\n\r\n".encode()) == expected


def test_host_and_target_are_part_of_what_is_asked(bench: Bench) -> None:
    peer = bench.connect()
    for target, host, location in (("/dir", "localhost", "http://localhost/dir/"), ("/dir", "localhost:81",
                                   "http://localhost:81/dir/"), ("/dir", "other", "/dir/"),
                                   ("/dir?x", "other", "/dir/?x")):
        assert peer.get(target, host=host).get("Location") == location


def test_the_fast_path_is_taken(bench: Bench, docroot: Path) -> None:
    """Seen by its staleness: a change shows only after the lifetime."""
    peer = bench.connect()
    assert peer.get("/a.txt").body == b"first"
    (docroot / "a.txt").write_text("second")
    assert peer.get("/a.txt").body == b"first"
    bench.advance(answers.LIFETIME + 0.01)
    assert peer.get("/a.txt").body == b"second"


def test_one_request_more_does_not_make_answers_live_longer(bench: Bench, docroot: Path) -> None:
    peer = bench.connect()
    peer.get("/a.txt")
    (docroot / "a.txt").write_text("second")
    bench.advance(answers.LIFETIME * 0.9)
    assert peer.get("/a.txt").body == b"first"
    bench.advance(answers.LIFETIME * 0.2)
    assert peer.get("/a.txt").body == b"second"


def test_access_log_has_a_line_for_each(bench: Bench, tmp_path: Path) -> None:
    peer = bench.connect()
    for _ in range(3):
        peer.get("/a.txt", "User-Agent: x")
    one = REQUESTS[0].encode()
    raw(peer, one * 5)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 8
    assert {line.partition("] ")[2] for line in lines[:3]} == {'"GET /a.txt HTTP/1.1" 200 5 "-" "x"'}
    assert {line.partition("] ")[2] for line in lines[3:]} == {'"GET /a.txt HTTP/1.1" 200 5 "-" "-"'}


def test_pipelined_remembered_answers_mixed_with_others(bench: Bench) -> None:
    peer = bench.connect()
    parts = [REQUESTS[0], REQUESTS[0], "GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n", REQUESTS[0],
             REQUESTS[1], REQUESTS[0]]
    first = raw(bench.connect(), "".join(parts).encode())
    second = raw(peer, "".join(parts).encode())
    assert first == second
    assert second.count(b"HTTP/1.1 200") == 4 and second.count(b"HTTP/1.1 404") == 1
    assert peer.eof     # nothing after Connection: close is answered


def test_request_cut_in_two_inside_a_pipeline(bench: Bench) -> None:
    peer = bench.connect()
    one = REQUESTS[0].encode()
    raw(peer, one)
    peer.send(one * 2 + one[:10])
    peer.send(one[10:] + one)
    assert peer.receive().count(b"first") == 4


def test_answers_behind_a_login_are_not_remembered(bench: Bench) -> None:
    peer = bench.connect()
    answer = peer.get("/private/a.txt", "Authorization: Basic am9lOnNlY3JldA==")
    assert answer.status == 200
    assert remembered(bench) == 0


def test_big_answers_and_errors_are_not_remembered(bench: Bench) -> None:
    peer = bench.connect()
    peer.get("/big.txt")
    peer.get("/nope")
    assert remembered(bench) == 0


def test_errors_after_the_file_was_found_are_not_remembered(bench: Bench) -> None:
    """Among them is "being changed at this moment", which the next request need not meet."""
    peer = bench.connect()
    assert peer.get("/b.html", "If-Match: nothing").status == 412
    assert peer.get("/b.html", "Range: bytes=99-").status == 416
    assert remembered(bench) == 0


def test_requests_with_a_body_are_not_remembered(bench: Bench) -> None:
    peer = bench.connect()
    peer.send(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab")
    assert peer.answer().status == 200
    assert remembered(bench) == 0


def test_memory_is_bounded(bench: Bench) -> None:
    store: Any = bench.vhosts().answers
    store._room.entries = 10
    peer = bench.connect()
    for number in range(30):
        assert peer.get(f"/a.txt?{number}").status == 200
    assert remembered(bench) == 10
    bench.advance(answers.LIFETIME + 0.01)
    assert remembered(bench) == 0


def test_big_requests_are_counted_or_not_kept(bench: Bench) -> None:
    """LESSONS 3.40: a crowd with big cookies holds no more memory than the limit says."""
    peer = bench.connect()
    for number in range(50):
        peer.get(f"/a.txt?{number}")
        peer.get(f"/a.txt?{number}", "Cookie: " + "a" * 15000)
    store: Any = bench.vhosts().answers
    assert remembered(bench) == 50
    held = sum(len(known.request) + len(known.payload) for known in store._by_essence.values())
    assert held <= store._size <= answers.MAX_BYTES


def test_close_after_a_remembered_answer_waits_for_a_client_that_still_sends(bench: Bench) -> None:
    """RFC 9112 9.6: a close with unread bytes could destroy the answer on its way."""
    request = REQUESTS[1].encode()
    for _ in range(3):
        raw(bench.connect(), request)
    assert len(bench.vhosts().answers) == 1
    peer = bench.connect()
    peer.send(request + REQUESTS[0].encode())
    assert peer.answer().body == b"first"
    peer.sock.send(REQUESTS[0].encode() * 10)   # a BrokenPipeError if it had closed at once
    assert peer.closed
    bench.advance(3)
    assert not bench.context.connections


def test_slow_reader_does_not_pile_up_remembered_answers(bench: Bench) -> None:
    """LESSONS 3.40: pipelining without reading is bounded by the output queue's high mark."""
    peer = bench.connect(buffer=4096)
    one = REQUESTS[0].encode()
    raw(peer, one)
    for _ in range(200):
        try:
            peer.sock.send(one * 500)
        except BlockingIOError:
            pass
        bench.run()
    assert peer.connection.transport.size < 1024 * 1024
