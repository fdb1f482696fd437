"""Whether the first bytes begin an HTTP request: yes, no, or not to be told yet."""

from __future__ import annotations

import pytest

from lwsws.wire.first_bytes import begins_like_http
from lwsws.wire.request import METHODS
from tests.support.hellos import CHROMIUM, SSL2
from tests.support.wire_cases import GET, LEFTOVER, POST


def decided(data: bytes) -> int:
    """After how many bytes of `data` the answer is certain; from then on it must stay."""
    answers = [begins_like_http(data[:size]) for size in range(len(data) + 1)]
    first = next(size for size, answer in enumerate(answers) if answer is not None)
    assert all(answer is answers[-1] for answer in answers[first:])
    assert begins_like_http(data + LEFTOVER) is answers[-1]
    return first


@pytest.mark.parametrize(
    "data, size",
    [
        (GET, 5),
        (POST, 6),
        (b"\r\n" + GET, 7),
        (b"OPTIONS * HTTP/1.1\r\n", 9),
        (b"MKCALENDAR /x", 12),
        (b"GET http://a.test/", 11),
        (b"GET HTTPS://a.test/", 12),
        (b"\r\nMKCALENDAR https://a.test/", 21),
        (b"GET /" + b"x" * 100000, 5),
        (b"GET /\r\n", 5),  # HTTP/0.9, which the http role will refuse
    ],
)
def test_what_begins_a_request(data: bytes, size: int) -> None:
    assert begins_like_http(data) is True
    assert decided(data) == size


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_begins_one(method: str) -> None:
    data = f"{method} /".encode()
    assert begins_like_http(data) is True
    assert decided(data) == len(data)


@pytest.mark.parametrize(
    "data, size",
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", 2),  # S may become SEARCH
        (b"EHLO mail.example\r\n", 1),
        (b"* OK IMAP4rev1\r\n", 1),
        (b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n", 4),  # PRO may become PROPFIND
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 3),
        (b"CONNECT a.test:443 HTTP/1.1\r\n", 3),  # no method of this server
        (b"get / HTTP/1.1\r\n", 1),
        (b"GETS / HTTP/1.1\r\n", 4),
        (b"GET\t/", 4),
        (b"GET\r\n", 4),
        (b"GET  /", 5),
        (b"GET a.test/", 5),
        (b"GET ftp://a.test/", 5),
        (b"GET httpx", 9),
        (b"GET http:/a", 11),
        (b"GET ?x", 5),
        (b" GET /", 1),
        (b"\n", 1),
        (b"\rG", 2),
        (b"\r\n\r\n" + GET, 3),
        (b"\r\n\r\n\0\r\nQUIT\n", 3),
        (b"\0", 1),
        (CHROMIUM, 1),
        (SSL2, 1),
        (b"\xff" * 50, 1),
    ],
)
def test_what_does_not(data: bytes, size: int) -> None:
    assert begins_like_http(data) is False
    assert decided(data) == size


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"\r\nG", b"G", b"GET", b"GET ", b"GET https:/", b"P"])
def test_what_is_too_little(data: bytes) -> None:
    assert begins_like_http(data) is None
