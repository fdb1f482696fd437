"""The http role: rules of requests, handlers, deadlines, the access log."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List

import pytest

from lwsws.core.exchange import HttpError
from lwsws.net.output import FileSlice
from tests.support.handlers import BIG, GET_TEN, Collector, Faulty, Later
from tests.support.peer import Bench

# Rules of requests


@pytest.mark.parametrize("request_head, status", [
    ("GET http://localhost/ten.txt HTTP/1.1\nHost: other", 200),
    ("OPTIONS * HTTP/1.1\nHost: localhost", 200),
    ("OPTIONS /ten.txt HTTP/1.1\nHost: localhost", 204),
    ("GET /a/../ten.txt HTTP/1.1\nHost: localhost", 200),
    ("GET /ten.txt HTTP/1.1\nHost: localhost\nUpgrade: foo\nConnection: upgrade", 200),
    ("G /ten.txt HTTP/1.1\nHost: localhost", 501),
    ("get /ten.txt HTTP/1.1\nHost: localhost", 501),
    ("TRACE /ten.txt HTTP/1.1\nHost: localhost", 405),
    ("DELETE /ten.txt HTTP/1.1\nHost: localhost", 405),
])
def test_served_and_kept_alive(make: Callable[..., Bench], request_head: str, status: int) -> None:
    peer = make().connect()
    assert peer.ask(request_head).status == status
    assert peer.get("/ten.txt").status == 200


@pytest.mark.parametrize("request_head, status", [
    ("GET /ten.txt HTTP/1.1", 400),
    ("GET /ten.txt HTTP/1.1\nHost: a\nHost: a", 400),
    ("GET /ten.txt HTTP/1.1\nHost: a b", 400),
    ("GET /ten.txt HTTP/1.1\nHost : a", 400),
    ("GET /ten.txt", 400),
    ("GET /%zz HTTP/1.1\nHost: a", 400),
    ("GET /ten.txt HTTP/2.0\nHost: a", 505),
    ("CONNECT a:80 HTTP/1.1\nHost: a", 501),
    ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked", 501),
    ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 3", 400),
    ("POST / HTTP/1.1\nHost: a\nContent-Length: +3", 400),
    ("POST / HTTP/1.0", 411),
    ("GET / HTTP/1.1\nHost: a\nExpect: more", 417),
    ("GET /" + "a" * 9000 + " HTTP/1.1\nHost: a", 414),
    ("GET / HTTP/1.1\nHost: a\nX: " + "a" * 17000, 431),
    ("GET / HTTP/1.1\nHost: a" + "\nX: y" * 101, 431),
])
def test_refused_and_closed(make: Callable[..., Bench], request_head: str, status: int) -> None:
    """LESSONS 3.1 to 3.7: one answer, then nothing of what follows is read."""
    peer = make().connect()
    peer.send(request_head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + GET_TEN)
    answer = peer.answer()
    assert (answer.status, answer.get("Connection")) == (status, "close")
    assert str(status).encode() in answer.body
    assert peer.closed


def test_what_cannot_be_http_is_refused_at_its_first_byte(make: Callable[..., Bench]) -> None:
    peer = make().connect()
    peer.send(b"\x16")
    assert peer.answer().status == 400
    assert peer.closed


def test_head_limit_is_configurable(make: Callable[..., Bench]) -> None:
    bench = make({"max_head_bytes": 20000})
    assert bench.connect().get("/ten.txt", "X: " + "a" * 17000).status == 200
    assert bench.connect().get("/ten.txt", "X: " + "a" * 20000).status == 431


def test_strict_host_check(make: Callable[..., Bench]) -> None:
    peer = make(strict_host_check="1").connect()
    assert peer.get("/ten.txt").status == 200
    assert peer.get("/ten.txt", host="sub.localhost").status == 200
    assert peer.get("/ten.txt", host="other").status == 421
    assert peer.get("/ten.txt").status == 200


def test_reject_service_keywords(make: Callable[..., Bench]) -> None:
    bench = make({"reject_service_keywords": [{"scumbot": "404 Not Found", "teapot": "418"}]})
    peer = bench.connect()
    answer = peer.get("/ten.txt", "User-Agent: " + "a" * 500 + " scumbot/1")
    assert (answer.status, answer.get("Connection")) == (404, "close")
    assert peer.closed
    assert bench.connect().get("/ten.txt", "User-Agent: teapot").status == 418
    assert bench.connect().get("/ten.txt", "User-Agent: Scumbot").status == 200


def test_error_document(make: Callable[..., Bench]) -> None:
    peer = make(error_document_404="/gone.html").connect()
    answer = peer.get("/nope")
    assert (answer.status, answer.body, answer.get("Content-Type")) == (404, b"<p>gone", "text/html")
    assert peer.get("/ten.txt").status == 200


def test_error_document_that_is_missing_itself(make: Callable[..., Bench]) -> None:
    assert make(error_document_404="/nope.html").connect().get("/x").status == 404


def test_every_answer_has_date_and_configured_fields(make: Callable[..., Bench]) -> None:
    bench = make({"server_string": "srv/1"}, headers=[{"X-Frame-Options": "SAMEORIGIN"}], sts="1")
    peer = bench.connect()
    for answer in (peer.get("/ten.txt"), peer.get("/nope"), peer.ask("nonsense\n")):
        assert answer.get("Server") == "srv/1"
        assert answer.get("X-Frame-Options") == "SAMEORIGIN"
        assert answer.get("Strict-Transport-Security") == "max-age=15768000 ; includeSubDomains"
        assert answer.get("Date") == "Fri, 15 Jan 2027 08:00:00 GMT"


# Handlers


def test_fault_of_a_handler_is_500_and_serves_on(
    make: Callable[..., Bench], capfd: pytest.CaptureFixture[str]
) -> None:
    bench = make()
    bench.mount("/bug", Faulty(ZeroDivisionError("oops")))
    peer = bench.connect()
    answer = peer.get("/bug")
    assert answer.status == 500 and b"oops" not in answer.body
    assert "ZeroDivisionError: oops" in capfd.readouterr().err
    assert peer.get("/ten.txt").status == 200


def test_http_error_of_a_handler(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.mount("/busy", Faulty(HttpError(503, "too <busy>", [("Retry-After", "5")])))
    answer = bench.connect().get("/busy")
    assert (answer.status, answer.get("Retry-After")) == (503, "5")
    assert b"too &lt;busy&gt;" in answer.body


def test_answer_shorter_than_promised_is_cut_off(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    exchange = later.exchanges[0]
    exchange.start(200, [], 10)
    exchange.write(b"abc")
    with pytest.raises(Exception, match="7 bytes short"):
        exchange.finish()
    assert peer.receive().endswith(b"\r\n\r\nabc") and peer.eof


def test_streamed_answer_of_unknown_length(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    for version, framing in (("1.1", "chunked"), ("1.0", None)):
        peer = bench.connect()
        peer.send(f"GET /later HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        exchange = later.exchanges[-1]
        exchange.start(200, [], None)
        exchange.write(b"abc")
        exchange.write(b"defg")
        exchange.finish()
        answer = peer.answer()
        assert (answer.body, answer.get("Transfer-Encoding")) == (b"abcdefg", framing)
        assert peer.closed is (version == "1.0")


def test_handler_that_never_answers_is_503(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect()
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.advance(61)
    assert peer.answer().status == 503
    assert peer.closed and later.exchanges[0].closed


def test_consumer_hears_of_a_client_that_left(make: Callable[..., Bench]) -> None:
    bench, collector = make(), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab")
    peer.sock.close()
    bench.run()
    assert collector.was_aborted and collector.exchange.closed and not bench.context.connections


# Deadlines


def test_silent_connection_is_closed_without_a_word(make: Callable[..., Bench]) -> None:
    bench = make({"timeout_secs": 3})
    peer = bench.connect()
    bench.advance(5.9)
    assert not peer.closed
    bench.advance(0.2)
    assert peer.receive() == b""
    assert peer.closed


def test_request_head_has_an_absolute_deadline(make: Callable[..., Bench]) -> None:
    """LESSONS 3.8: a byte now and then does not help."""
    bench = make({"timeout_secs": 3})
    peer = bench.connect()
    for byte in b"GET / HTTP":
        peer.send(bytes([byte]))
        bench.advance(0.28)
    assert not peer.closed
    bench.advance(0.3)
    assert peer.answer().status == 408
    assert peer.closed


def test_head_deadline_begins_with_each_request_anew(make: Callable[..., Bench]) -> None:
    bench = make({"timeout_secs": 3})
    peer = bench.connect()
    peer.send(GET_TEN[:5])
    bench.advance(2)
    peer.send(GET_TEN[5:] + GET_TEN[:5])
    peer.answer()
    bench.advance(2)
    peer.send(GET_TEN[5:])
    assert peer.answer().status == 200


@pytest.mark.parametrize("key", ["keepalive-timeout", "keepalive_timeout", "keeplive-timeout"])
def test_idle_connection_is_closed_after_the_keepalive_time(make: Callable[..., Bench], key: str) -> None:
    bench = make(**{key: "20"})
    peer = bench.connect()
    for _ in range(2):
        peer.get("/ten.txt")
        bench.advance(19)
    assert not peer.closed
    bench.advance(2)
    assert peer.closed


def test_client_that_takes_nothing_is_cut_off(make: Callable[..., Bench]) -> None:
    bench = make({"send_timeout": 20})
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    for _ in range(4):
        bench.advance(15)
        assert bench.context.connections
        with pytest.raises(BlockingIOError):    # all that is on the way: then the server can send more
            while True:
                peer.sock.recv(65536)
        bench.run()
    bench.advance(21)
    bench.advance(10)
    assert not bench.context.connections


# The access log


def test_access_log_counts_what_was_sent(make: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make(access_log=str(tmp_path / "log"))
    peer = bench.connect()
    peer.get("/ten.txt?q")
    peer.get("/ten.txt?q")
    peer.ask("HEAD /ten.txt HTTP/1.1\nHost: localhost", method="HEAD")
    peer.get("/nope")
    peer.ask("bad\n")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        '"GET /ten.txt?q HTTP/1.1" 200 10 "-" "-"',
        '"GET /ten.txt?q HTTP/1.1" 200 10 "-" "-"',
        '"HEAD /ten.txt HTTP/1.1" 200 0 "-" "-"',
        lines[3].partition("] ")[2],
        lines[4].partition("] ")[2],
    ]
    assert '"GET /nope HTTP/1.1" 404 ' in lines[3] and '"-" 400 ' in lines[4]
    assert all(line.startswith("192.0.2.7 - - [") for line in lines)


def test_access_log_of_a_download_that_was_broken_off(make: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make(access_log=str(tmp_path / "log"))
    peer = bench.connect(buffer=4096)
    peer.sock.send(b"GET /big.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.run()
    assert not (tmp_path / "log").read_text()
    peer.sock.close()
    bench.run()
    sent = int((tmp_path / "log").read_text().split('" 200 ')[1].split()[0])
    assert 0 < sent < len(BIG)


# The client leaves


def test_file_slices_are_released_when_the_client_leaves(make: Callable[..., Bench], tmp_path: Path) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    peer = bench.connect(buffer=4096)
    peer.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    released: List[bool] = []
    with open(tmp_path / "www" / "big.txt", "rb") as file:
        exchange = later.exchanges[0]
        exchange.start(200, [], len(BIG), more=True)
        exchange.send_file(FileSlice(file.fileno(), 0, len(BIG), lambda: released.append(True)))
        exchange.finish()
        assert not released
        peer.sock.close()
        bench.run()
    assert released == [True]
