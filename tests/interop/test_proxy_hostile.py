"""Reverse proxy: clients that want to smuggle requests past it, and origins that answer as they please.

In front of an origin that forgives nothing (tests/support/strict_origin.py) stands a real server.  Whatever
a client sends, the origin must get well-formed requests only, and those the client has a right to; whatever
an origin sends, a client must get the answer to its own request, or an error, and never half of one for all.
"""

from __future__ import annotations

import random
import re
import socket
from typing import Iterator, List, NamedTuple, Sequence, Tuple

import pytest

from lwsws.wire.http1_request import Request, RequestReader
from lwsws.wire.http1_response import ResponseReader
from tests.fuzz.test_http1_request_fuzz import random_input
from tests.fuzz.test_http1_response_fuzz import random_input as random_answer_input
from tests.support.answer_cases import read_answer
from tests.support.bad_answers import BAD_ANSWERS, CUT_ANSWERS, ODD_ANSWERS, OTHER_ANSWERS
from tests.support.client import Client
from tests.support.fuzzing import CASES, told
from tests.support.server import Server, site_server
from tests.support.strict_origin import CLOSE, Script, Seen, StrictOrigin
from tests.support.waiting import wait_until
from tests.support.wire_cases import transcribe

HOST = b"Host: localhost\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Site(NamedTuple):
    """A server whose "/" is the origin's "/", and whose "/p" is the origin's "/inner"."""

    server: Server
    origin: StrictOrigin

    def send(self, data: bytes) -> bytes:
        """What a client gets that sends `data` and reads until the server closes; the record begins anew."""
        self.origin.forget()
        with Client(self.server.connect()) as client:
            client.send(data)
            return client.rest()

    def check(self) -> None:
        """The origin has had nothing but requests, and answers go to who asked for them."""
        assert self.origin.faults == []
        assert "/smuggled" not in self.origin.targets()
        with Client(self.server.connect()) as client:
            for number in range(2):
                assert client.get(f"/check{number}").body == b"/check%d" % number
        assert self.origin.faults == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    odd = {target: script for target, (script, _, _) in ODD_ANSWERS.items()}
    with StrictOrigin({**BAD_ANSWERS, **CUT_ANSWERS, **odd, **OTHER_ANSWERS}) as origin:
        url = f"http://127.0.0.1:{origin.port}"
        mounts = [{"mountpoint": "/", "origin": f"{url}/"}, {"mountpoint": "/p", "origin": f"{url}/inner"}]
        with site_server(tmp_path_factory.mktemp("conf"), [{"mounts": mounts}]) as server:
            yield Site(server, origin)


def statuses(received: bytes) -> List[int]:
    """Of all answers in `received`."""
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] ([0-9]{3})[ \r]", received)]


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = [b"POST /first HTTP/" + version, HOST[:-2], *fields, b"", body]
    return b"\r\n".join(lines)


REFUSED: Sequence[bytes] = (
    # LESSONS 3.1
    *(post(b"Content-Length: " + length, body=b"hello")
      for length in (b"+5", b"-5", b"5, 5", b"5,5", b"0x5", b"5_0", b"5 5", b"\xb2", b"", b"5;", b"9" * 20)),
    post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    post(b"Content-Length: 0", b"content-length: 44", body=HIDDEN),
    post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    # LESSONS 3.2
    *(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n")
      for coding in (b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"xchunked",
                     b"chunked;q=1", b"",
                     b"\x0bchunked", b"chunked\x0c", b"\xa0chunked", b"'chunked'", b"chunked,")),
    post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"),
    # LESSONS 3.4
    post(b"Content-Length : 5", body=b"hello"),
    post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    post(b"X: a", b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    post(b"X: a\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    post(b"X: a\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    post(b"X: a\x00b", b"Content-Length: 0"),
    post(b": a", b"Content-Length: 0"),
    post(b"Content Length: 5", body=b"hello"),
    post(b"Transfer-Encoding\x00: chunked", body=b"0\r\n\r\n"),
    post(b"Transfer-Encoding", body=b""),
    b"GET /first HTTP/1.1\r\nHost: localhost\n\r\n",
    b"GET /first HTTP/1.1\nHost: localhost\n\n",
    b"GET  /first HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /first x HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /first\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /first#x HTTP/1.1\r\n" + HOST + b"\r\n",
    b" GET /first HTTP/1.1\r\n" + HOST + b"\r\n",
    # LESSONS 3.5
    b"GET /first HTTP/1.1\r\n\r\n",
    b"GET /first HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n",
    b"GET /first HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    b"GET /first HTTP/1.1\r\nHost: local host\r\n\r\n",
    b"GET /first HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    b"GET /first HTTP/1.1\r\nHost: localhost/first\r\n\r\n",
    b"GET http://a@b/first HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /first HTTP/1.2\r\n" + HOST + b"\r\n",
    b"GET /first HTTP/2.0\r\n" + HOST + b"\r\n",
    b"GET /first HTTP/0.9\r\n" + HOST + b"\r\n",
    b"GET /first\r\n",
    # LESSONS 3.7
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /first HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 17000 + b"\r\n\r\n",
    b"GET /first HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 101 + b"\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    post(b"Expect: 200-maybe", b"Content-Length: 5", body=b"hello"),
)


@pytest.mark.parametrize("data", REFUSED)
def test_what_has_two_readings_never_gets_to_the_origin(site: Site, data: bytes) -> None:
    """LESSONS 3.1 to 3.7; and nothing that is pipelined behind it does."""
    received = site.send(data + HIDDEN)
    assert len(statuses(received)) == 1
    assert statuses(received)[0] in (400, 411, 414, 417, 431, 501, 505)
    assert (site.origin.targets(), site.origin.broken) == ([], 0)
    site.check()


BAD_CHUNKS = (
    b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;\rx\r\nhello\r\n", b"\r\n0\r\n\r\n",
    b"g\r\n", b"f" * 17 + b"\r\n",
    b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: y\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"2\r\nok\r\n0\r\n" + b"X: " + b"y" * 5000 + b"\r\n\r\n", b"1\r\nx\r\n+0\r\n\r\n",
    b"1\r\nx\r\n0_0\r\n\r\n",
)


@pytest.mark.parametrize("chunks", BAD_CHUNKS)
@pytest.mark.parametrize("before", [b"", b"3\r\nabc\r\n"])
def test_a_request_with_bad_chunks_is_never_completed(site: Site, chunks: bytes, before: bytes) -> None:
    """LESSONS 3.3: its beginning may have gone to the origin; its end must not come."""
    received = site.send(post(b"Transfer-Encoding: chunked", body=before + chunks + HIDDEN))
    assert len(statuses(received)) <= 1
    assert set(statuses(received)) <= {400, 431}
    assert site.origin.targets() == []
    site.check()


def test_a_request_that_is_cut_off_is_never_completed(site: Site) -> None:
    chunked = post(b"Transfer-Encoding: chunked", body=b"5\r\nhel")
    for data in (post(b"Content-Length: 9", body=b"half"), chunked):
        site.origin.forget()
        with Client(site.server.connect()) as client:
            client.send(data)
        wait_until(lambda: site.origin.broken == 1, "the origin to see the end")
        assert site.origin.targets() == []
        site.check()


def forwarded(site: Site, data: bytes) -> Seen:
    """The one request that the origin gets of `data`, which has to be answered with 200."""
    received = site.send(data)
    assert statuses(received) == [200]
    assert len(site.origin.seen) == 1
    site.check()
    return next(request for request in site.origin.seen if not request.target.startswith("/check"))


LAST = b"Connection: close"


@pytest.mark.parametrize(
    "fields, body, expected",
    [
        ((b"Content-Length: 5",), b"hello", b"hello"),
        ((b"Content-Length:\t005 ",), b"hello", b"hello"),
        ((b"Transfer-Encoding: ChunKed",), b"5;x=y\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", b"hello"),
        ((b"Transfer-Encoding:\tchunked\t",), b"05\r\nhello\r\n000\r\n\r\n", b"hello"),
        # A body that looks like a request is a body.
        ((b"Content-Length: %d" % len(HIDDEN),), HIDDEN, HIDDEN),
        # Fields that say how long the body is are never taken away by Connection (RFC 9110 7.6.1).
        ((b"Content-Length: 5", b"Connection: Content-Length, Host"), b"hello", b"hello"),
        ((b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding"), b"5\r\nhello\r\n0\r\n\r\n",
         b"hello"),
        # Copies of them with underscores go nowhere (LESSONS 3.12).
        ((b"Content-Length: 5", b"Content_Length: 0", b"Transfer_Encoding: chunked"), b"hello", b"hello"),
        ((b"Content-Length: 0",), b"", b""),
        ((), b"", b""),
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"GET", b"DELETE"])
def test_bodies_get_to_the_origin_as_they_are(
    site: Site, method: bytes, fields: Tuple[bytes, ...], body: bytes, expected: bytes
) -> None:
    seen = forwarded(site, post(*fields, LAST, body=body).replace(b"POST", method, 1))
    assert (seen.method, seen.target, seen.body) == (method.decode(), "/first", expected)
    assert seen.values("host") == [f"127.0.0.1:{site.origin.port}"]
    assert not [name for name, _ in seen.fields if "_" in name]


def test_what_a_client_says_of_itself_is_not_believed(site: Site) -> None:
    """LESSONS 3.12, 3.21, 3.33."""
    seen = forwarded(site, post(
        b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6", b"X-Real-IP: 6.6.6.6",
        b"x-real_ip: 6.6.6.6",
        b"Forwarded: for=6.6.6.6", b"Proxy: http://6.6.6.6", b"X-Forwarded-Proto: 6.6.6.6",
        b"Content-Length: 0",
        b"X-Forwarded-Host: 6.6.6.6", b"Connection: X-Forwarded-For, X-Real-IP, close"))
    assert "6.6.6" not in str(seen.fields)
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]


def test_hop_by_hop_fields_and_h2c_stay_here(site: Site) -> None:
    """LESSONS 3.11; RFC 9110 7.6.1."""
    seen = forwarded(site,
                     b"GET /first HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings, X-A, close\r\n" + HOST +
                     b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQC\r\nTE: trailers\r\nX-A: 1\r\nX-B: 2\r\n"
                     b"Keep-Alive: timeout=5\r\nProxy-Authorization: x\r\nProxy-Connection: close\r\n\r\n")
    names = [name for name, _ in seen.fields]
    assert not {"upgrade", "http2-settings", "te", "x-a", "keep-alive", "proxy-authorization",
                "proxy-connection"} & set(names)
    assert "x-b" in names


@pytest.mark.parametrize(
    "target, origin_target",
    [
        (b"/p/a%0d%0aX:%20y", "/inner/a%0D%0AX:%20y"), (b"/p/%20HTTP/1.1", "/inner/%20HTTP/1.1"),
        (b"/p", "/inner"),
        (b"/p/%2e%2e/x", "/x"), (b"/p/..%2fx", "/x"), (b"/p/../x", "/x"),
        (b"/p/a/..//./b?q=%0d", "/inner/b?q=%0d"),
        (b"/p/..;/x", "/inner/..;/x"), (b"/p/%252e%252e/x", "/inner/%252e%252e/x"),
        (b"/p/\xc3\xbc", "/inner/%C3%BC"),
        (b"/p%2f..%2fx", "/x"), (b"/px", "/px"), (b"http://evil.example/p/x", "/inner/x"),
        (b"/p/..%5cx", "/inner/..%5Cx"),
    ],
)
def test_targets(site: Site, target: bytes, origin_target: str) -> None:
    """LESSONS 3.13, 3.14: the origin gets the path that the mount was chosen by, encoded again."""
    data = b"GET %b HTTP/1.1\r\n%b%b\r\n\r\n" % (target, HOST, LAST)
    assert forwarded(site, data).target == origin_target


def test_pipelined_requests_get_their_own_answers(site: Site) -> None:
    chunked = post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    requests = b"".join(b"GET /n%d HTTP/1.1\r\n%b\r\n%b" % (number, HOST, chunked) for number in range(5))
    received = site.send(requests + b"HEAD /last HTTP/1.1\r\n" + HOST + LAST + b"\r\n\r\n" + HIDDEN)
    assert statuses(received) == [200] * 11
    bodies = re.findall(rb"\r\n\r\n(/[a-z0-9]+)", received)
    assert bodies == [part for number in range(5) for part in (b"/n%d" % number, b"/first")]
    assert site.origin.targets() == [body.decode() for body in bodies] + ["/last"]
    site.check()


def test_random_requests(site: Site) -> None:
    """What the origin sees of damaged requests is, in order, what our own reader makes of them."""
    arrived = 0
    for number in range(CASES // 20):
        data = random_input(random.Random(f"proxy {number}"))
        with told(f"case {number}: {data!r}"):
            site.origin.forget()
            with Client(site.server.connect()) as client:
                client.send(data + b"\r\n\r\n\x00")
                client.sock.shutdown(socket.SHUT_WR)
                client.rest()
            expected = [(request.method, body) for request, body in read(data)]
            arrived += len(site.origin.seen)
            for request in site.origin.seen:
                assert (request.method, request.body) in expected
                del expected[: expected.index((request.method, request.body)) + 1]
            assert site.origin.faults == []
    assert arrived > CASES // 100
    site.check()


def read(data: bytes) -> List[Tuple[Request, bytes]]:
    """The requests in `data` that are complete, with their bodies."""
    seen = transcribe(RequestReader(), [data + b"\r\n\r\n\x00"], eof=True)
    return list(zip(seen.requests, seen.bodies))[: seen.ended]


# Origins


@pytest.mark.parametrize("target", BAD_ANSWERS)
def test_an_answer_that_is_none(site: Site, target: str) -> None:
    """RFC 9110 15.6.3; LESSONS 3.9."""
    site.origin.forget()
    with Client(site.server.connect()) as client:
        answer = client.get(target)
        while answer.status < 200:
            answer = client.answer()
        assert answer.status == 502
        assert client.get("/next").body == b"/next"
    site.check()


@pytest.mark.parametrize("target", CUT_ANSWERS)
def test_half_an_answer_is_not_taken_for_a_whole(site: Site, target: str) -> None:
    received = site.send(b"GET %b HTTP/1.1\r\n%b%b\r\n\r\n" % (target.encode(), HOST, LAST))
    head, _, body = received.partition(b"\r\n\r\n")
    if statuses(head) != [502]:
        length = re.search(rb"\r\ncontent-length: ([0-9]+)", head, re.IGNORECASE)
        assert len(body) < int(length.group(1)) if length else not body.endswith(b"0\r\n\r\n")
        assert length is not None or b"chunked" in head
    site.check()


@pytest.mark.parametrize("target", ODD_ANSWERS)
def test_odd_answers_end_where_they_end(site: Site, target: str) -> None:
    """No byte that follows an answer is taken for the next one (RFC 9112 11.1)."""
    _, status, body = ODD_ANSWERS[target]
    received = site.send(b"GET %b HTTP/1.1\r\n%b%b\r\n\r\n" % (target.encode(), HOST, LAST))
    assert statuses(received) == [status]
    assert b"evil" not in received
    assert plain_body(received) == body
    for _ in range(3):
        site.check()


def test_random_answers(site: Site) -> None:
    """A client gets what our own reader makes of a damaged answer, or an error, or an end that tells."""
    whole = 0
    for number in range(CASES // 20):
        data = random_answer_input(random.Random(f"proxy {number}"))
        with told(f"case {number}: {data!r}"):
            site.origin.scripts["/random"] = Script(data, CLOSE)
            received = site.send(b"GET /random HTTP/1.1\r\n%b%b\r\n\r\n" % (HOST, LAST))
            sent = read_answer(ResponseReader("GET"), [data], eof=True)
            got = read_answer(ResponseReader("GET"), [received], eof=True)
            if not sent.ended:
                assert not got.ended or got.response.status == 502
                continue
            assert (got.response.status, got.body, got.ended) == (sent.response.status, sent.body, True)
            whole += 1
    assert whole > CASES // 100
    site.check()


def plain_body(received: bytes) -> bytes:
    """The body of one answer, its chunks undone."""
    head, _, body = received.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return body
    return b"".join(re.findall(rb"[1-9a-f][0-9a-f]*\r\n(.*?)\r\n", body, re.DOTALL))


def test_the_answer_to_head_has_no_body(site: Site) -> None:
    received = site.send(b"HEAD /head-with-body HTTP/1.1\r\n" + HOST + LAST + b"\r\n\r\n")
    assert statuses(received) == [200]
    assert received.endswith(b"\r\n\r\n")
    assert b"evil" not in received
    site.check()


def test_an_answer_that_does_not_wait_for_the_body(site: Site) -> None:
    with Client(site.server.connect()) as client:
        client.send(b"POST /too-large HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999\r\n\r\n" + b"x" * 999)
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"big")
    site.check()


def test_early_hints_are_passed_on(site: Site) -> None:
    received = site.send(b"GET /hints HTTP/1.1\r\n" + HOST + LAST + b"\r\n\r\n")
    assert statuses(received) == [103, 200]
    interim = received.partition(b"\r\n\r\n")[0]
    assert b"Link: </a>" in interim
    # RFC 9110 8.6: MUST NOT be sent with a 1xx.
    assert b"Content-Length" not in interim
    # A client of HTTP/1.0 knows no such answers.
    assert statuses(site.send(b"GET /hints HTTP/1.0\r\n" + HOST + b"\r\n")) == [200]
