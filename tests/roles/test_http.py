"""The http role: order, keep-alive, limits, deadlines and ends of connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from lwsws.core.exchange import Exchange, HttpError
from lwsws.core.handler import Handler
from lwsws.net.output import FileSlice
from tests.support.peer import Bench

BIG = b"0123456789abcdef" * 60000

GET_TEN = b"GET /ten.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Makes a bench with a document root; vhost keys as keywords, global ones in `settings`."""
    docroot = tmp_path / "www"
    docroot.mkdir()
    (docroot / "index.html").write_text("<p>home")
    (docroot / "ten.txt").write_text("0123456789")
    (docroot / "big.txt").write_bytes(BIG)
    (docroot / "gone.html").write_text("<p>gone")
    made: List[Bench] = []

    def make_bench(settings: Any = None, **vhost: Any) -> Bench:
        mounts = [{"mountpoint": "/", "origin": f"file://{docroot}"}]
        bench = Bench(tmp_path, {"mounts": mounts, **{key.replace("_", "-"): value for key, value in vhost.items()}},
                      **(settings or {}))
        made.append(bench)
        return bench

    yield make_bench
    for bench in made:
        bench.close()


class Collector(Handler):
    """Takes the whole body and answers with its length; a consumer and a handler in one."""

    def __init__(self) -> None:
        self.exchange: Any = None
        self.body = b""
        self.ended = False
        self.was_aborted = False

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.take_body(self)

    def body_received(self, data: bytes) -> None:
        self.body += data

    def body_ended(self) -> None:
        self.ended = True
        self.exchange.respond(200, [("Content-Type", "text/plain")], str(len(self.body)).encode())

    def drained(self) -> None:
        """Nothing waits for room."""

    def aborted(self) -> None:
        self.was_aborted = True


class Later(Handler):
    """Keeps the exchange, so that the test answers it when it wants."""

    def __init__(self) -> None:
        self.exchanges: List[Exchange] = []

    def begin(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Faulty(Handler):
    """Raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def begin(self, exchange: Exchange) -> None:
        raise self.error


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
def test_fate_of_the_connection(make: Callable[..., Bench], request_head: str, closes: bool, connection: str) -> None:
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
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n")
    peer.send(b"12345678\r\n0\r\n\r\n")
    assert peer.answer().status == 413
    assert peer.closed and collector.was_aborted and not collector.ended


def test_bad_chunk_is_400_and_nothing_more_is_read(make: Callable[..., Bench]) -> None:
    """LESSONS 3.3, 3.6."""
    bench, collector = make(), Collector()
    bench.mount("/post", collector)
    peer = bench.connect()
    peer.send(b"POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n" + GET_TEN)
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
    assert peer.closed and collector.was_aborted


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


def test_fault_of_a_handler_is_500_and_serves_on(make: Callable[..., Bench], capfd: pytest.CaptureFixture[str]) -> None:
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
    assert peer.closed and peer.data == b""


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


# Stopping


def test_shutdown_closes_idle_connections_and_finishes_open_answers(make: Callable[..., Bench]) -> None:
    bench, later = make(), Later()
    bench.mount("/later", later)
    idle, fresh, busy = bench.connect(), bench.connect(), bench.connect()
    idle.get("/ten.txt")
    busy.send(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
    bench.context.stopping = True
    for connection in list(bench.context.connections):
        connection.role.shutdown()
    bench.run()
    assert idle.closed and fresh.closed and not busy.closed
    later.exchanges[0].respond(200, [], b"done")
    answer = busy.answer()
    assert (answer.body, answer.get("Connection")) == (b"done", "close")
    assert busy.closed


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
