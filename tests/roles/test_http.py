"""The http role: order, keep-alive, ends of connections, bodies."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from tests.support.handlers import BIG, GET_TEN, Collector, Later
from tests.support.peer import Bench

# Keep-alive, order, ends


def test_keep_alive(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    for _ in range(3):
        answer = peer.get("/ten.txt")
        assert (answer.status, answer.body, answer.get("Connection")) == (200, b"0123456789", None)
    assert not peer.closed


def test_request_byte_by_byte(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    for index in range(len(GET_TEN)):
        peer.send(GET_TEN[index:index + 1])
    assert peer.answer().body == b"0123456789"


def test_pipelined_requests_are_answered_in_order(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    names = ["ten.txt", "big.txt", "nope", "ten.txt", "", "big.txt", "ten.txt"]
    peer.send(b"".join(f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for name in names))
    got = [peer.answer() for _ in names]
    assert [answer.status for answer in got] == [200, 200, 404, 200, 200, 200, 200]
    assert [len(answer.body) for answer in got if answer.status == 200] == [10, len(BIG), 10, 7, len(BIG), 10]


def test_answers_cannot_overtake_a_slow_one(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET_TEN)
    assert peer.receive() == b""
    later.exchanges[0].respond(200, [], b"slow")
    assert [peer.answer().body, peer.answer().body] == [b"slow", b"0123456789"]


def test_reading_pauses_when_too_much_is_pipelined(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    flood = GET_TEN * 20000
    sent = 0
    for _ in range(400):
        try:
            sent += peer.sock.send(flood[sent:sent + 65536])
        except BlockingIOError:
            pass
        bench.run()
    role: Any = peer.connection.role
    assert sent < len(flood) and role.reader.buffered <= 3 * 65536
    later.exchanges[0].respond(200, [], b"")
    peer.send(flood[sent:])
    assert peer.receive().count(b"\r\n\r\n0123456789") == 20000


@pytest.mark.parametrize("request_head, closes, connection", [
    ("GET /ten.txt HTTP/1.1\nHost: localhost", False, None),
    ("GET /ten.txt HTTP/1.1\nHost: localhost\nConnection: close", True, "close"),
    ("GET /ten.txt HTTP/1.1\nHost: localhost\nConnection: a, Close", True, "close"),
    ("GET /ten.txt HTTP/1.0", True, None),
    ("GET /ten.txt HTTP/1.0\nConnection: keep-alive", False, "keep-alive"),
    ("GET /nope HTTP/1.1\nHost: localhost\nConnection: close", True, "close"),
])
def test_fate_of_the_connection(
    make: Callable[..., Bench], request_head: str, closes: bool, connection: str
) -> None:
    peer = make().connect()
    answer = peer.ask(request_head)
    assert answer.get("Connection") == connection
    assert peer.closed is closes


def test_nothing_after_connection_close_is_answered(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.send(b"GET /ten.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" + GET_TEN)
    peer.answer()
    assert peer.closed


def test_half_closed_client_gets_its_answers(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.sock.send(GET_TEN * 2)
    peer.half_close()
    assert [peer.answer().body, peer.answer().body] == [b"0123456789"] * 2
    assert peer.closed


def test_half_close_before_a_slow_answer(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer.half_close()
    later.exchanges[0].respond(200, [], b"slow")
    assert peer.answer().body == b"slow"
    assert peer.closed


def test_eof_inside_a_request_is_400(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.send(b"GET / HT")
    peer.half_close()
    assert peer.answer().status == 400
    assert peer.closed


def test_eof_of_an_idle_client_closes(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.get("/")
    peer.half_close()
    assert peer.closed


# HEAD and bodies


def test_head_has_the_fields_and_no_body(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    for target in ("/ten.txt", "/big.txt", "/nope"):
        head = peer.ask(f"HEAD {target} HTTP/1.1\nHost: localhost", method="HEAD")
        got = peer.get(target)
        assert (head.status, head.fields) == (got.status, got.fields)
    assert peer.data == b""


def test_body_nobody_wants_is_read_to_its_end(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.send(b"POST /ten.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
    answer = peer.answer()
    assert (answer.status, answer.get("Allow"), answer.get("Connection")) == (405, "GET, HEAD, OPTIONS", None)
    peer.send(b"cde" + GET_TEN)
    assert peer.answer().body == b"0123456789"


def test_long_body_nobody_wants_closes_after_the_answer(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.send(b"POST /ten.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300000)
    answer = peer.answer()
    assert (answer.status, answer.get("Connection")) == (405, "close")
    assert peer.closed


def test_rest_of_a_body_has_a_deadline_of_its_own(make: Callable[..., Bench]) -> None:
    bench = make({"timeout_secs": 3})
    peer = bench.connect()
    peer.send(b"POST /ten.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n")
    peer.answer()
    for _ in range(2):
        bench.advance(1.4)
        peer.send(b"x")
        assert not peer.closed
    bench.advance(0.3)
    assert peer.closed


def test_no_100_for_a_body_nobody_wants(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    answer = peer.ask("PUT /ten.txt HTTP/1.1\nHost: localhost\nContent-Length: 5\nExpect: 100-continue")
    assert (answer.status, answer.get("Connection")) == (405, "close")
    assert peer.closed


def test_100_when_the_body_is_wanted(make: Callable[..., Bench]) -> None:
    bench, collector = make(), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    first = peer.ask("PUT /post HTTP/1.1\nHost: localhost\nContent-Length: 5\nExpect: 100-continue")
    assert (first.status, first.head) == (100, b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.send(b"abcde" + GET_TEN)
    assert [peer.answer().body, peer.answer().body] == [b"5", b"0123456789"]


def test_chunked_body(make: Callable[..., Bench]) -> None:
    bench, collector = make(), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
              b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: railer\r\n\r\n" + GET_TEN)
    assert [peer.answer().body, peer.answer().body] == [b"7", b"0123456789"]
    assert collector.body == b"abcdefg"


def test_body_over_the_limit_is_413(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.mount("/post", Collector(), max_body=10)
    peer = bench.connect()
    answer = peer.ask("POST /post HTTP/1.1\nHost: localhost\nContent-Length: 11")
    assert (answer.status, answer.get("Connection")) == (413, "close")
    assert peer.closed


def test_chunked_body_over_the_limit_is_413(make: Callable[..., Bench]) -> None:
    bench, collector = make(), Collector()
    bench.mount("/post", collector, max_body=10)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.send(b"8\r\n12345678\r\n8\r\n")
    peer.send(b"12345678\r\n0\r\n\r\n")
    assert peer.answer().status == 413
    assert peer.closed and collector.was_aborted and not collector.ended


def test_bad_chunk_is_400_and_nothing_more_is_read(make: Callable[..., Bench]) -> None:
    """LESSONS 3.3, 3.6."""
    bench, collector = make(), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
              b"zz\r\nabc\r\n0\r\n\r\n" + GET_TEN)
    assert peer.answer().status == 400
    assert peer.closed and not collector.ended


def test_stalled_body_is_408(make: Callable[..., Bench]) -> None:
    bench, collector = make({"timeout_secs": 3}), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab")
    bench.advance(2)
    peer.send(b"c")
    bench.advance(2)
    assert not peer.closed
    bench.advance(1.1)
    assert peer.answer().status == 408
    assert collector.was_aborted
    assert peer.closed
