"""The environment of CGI programs: each variable, and that nothing else is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

import pytest

from lwsws.config.model import MountConfig
from lwsws.config.origin import Origin
from lwsws.handlers.cgi_program import Script
from lwsws.handlers.cgi_variables import PATH, Variables
from tests.support.handlers import Later
from tests.support.peer import Bench

SCRIPT = Script("/srv/caf\u00e9", "/c", "/a b/\u20ac", ("/srv/caf\u00e9",))

# RFC 3875 4.1, and what programs have come to expect.
ALWAYS = {
    b"GATEWAY_INTERFACE": b"CGI/1.1",
    b"SERVER_SOFTWARE": b"test/1",
    b"SERVER_PROTOCOL": b"HTTP/1.1",
    b"SERVER_NAME": b"localhost",
    b"SERVER_ADDR": b"unix",
    b"SERVER_PORT": b"7681",
    b"REQUEST_METHOD": b"GET",
    b"REQUEST_URI": b"/c/%61?x=%20&&y",
    b"REQUEST_SCHEME": b"http",
    b"QUERY_STRING": b"x=%20&&y",
    b"SCRIPT_NAME": b"/c",
    b"SCRIPT_FILENAME": "/srv/caf\u00e9".encode(),
    b"SCRIPT_PATH": "/srv/caf\u00e9".encode(),
    b"PATH_INFO": "/a b/\u20ac".encode(),
    b"REMOTE_ADDR": b"192.0.2.7",
    b"REMOTE_PORT": b"4711",
    b"REDIRECT_STATUS": b"200",
    b"PATH": PATH.encode(),
    b"HTTP_HOST": b"localhost",
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A site."""
    bench = Bench(tmp_path, {"mounts": []})
    yield bench
    bench.close()


def exchange_of(bench: Bench, request: bytes, address: Any = ("192.0.2.7", 4711)) -> Any:
    """The exchange of `request`, as a handler gets it."""
    later = Later()
    bench.mount("", later)
    bench.connect(address).send(request)
    return later.exchanges[0]


def get(target: str = "/c/%61?x=%20&&y", *fields: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", "")).encode("latin-1")


def make(exchange: Any, length: Any = None, **keys: Any) -> Mapping[bytes, bytes]:
    mount = MountConfig("/c", Origin("cgi", "cgi", "/srv"), **keys)
    return Variables(mount, "test/1", 7681).make(exchange, SCRIPT, length)


def test_all_of_it(bench: Bench) -> None:
    """Above all, nothing of our own environment."""
    assert make(exchange_of(bench, get())) == ALWAYS


@pytest.mark.parametrize("request_, changed", [
    (get("/c"), {b"REQUEST_URI": b"/c", b"QUERY_STRING": b""}),
    (get("/c?"), {b"REQUEST_URI": b"/c?", b"QUERY_STRING": b""}),
    (get("/c/\xe4\xb8\xad?\xff"), {b"REQUEST_URI": b"/c/\xe4\xb8\xad?\xff", b"QUERY_STRING": b"\xff"}),
    (get("http://b.example:81/c?q", "X: 1"), {
        b"REQUEST_URI": b"/c?q", b"QUERY_STRING": b"q", b"HTTP_X": b"1", b"HTTP_HOST": b"b.example:81",
        b"SERVER_NAME": b"b.example"}),
    (get("http://b.example"), {
        b"REQUEST_URI": b"/", b"QUERY_STRING": b"", b"HTTP_HOST": b"b.example",
        b"SERVER_NAME": b"b.example"}),
    (b"GET /c HTTP/1.0\r\n\r\n", {
        b"REQUEST_URI": b"/c", b"QUERY_STRING": b"", b"SERVER_PROTOCOL": b"HTTP/1.0", b"HTTP_HOST": None}),
    (b"GET /c HTTP/1.1\r\nHost: A.Example.:90\r\n\r\n", {
        b"REQUEST_URI": b"/c", b"QUERY_STRING": b"", b"SERVER_NAME": b"a.example",
        b"HTTP_HOST": b"A.Example.:90"}),
    (get("/c", "Content-Type: a/b; c=d", "Proxy: http://evil.example/", "X_Host: evil"), {
        b"REQUEST_URI": b"/c", b"QUERY_STRING": b"", b"CONTENT_TYPE": b"a/b; c=d"}),
    (get("/c", "Authorization: Basic eDp5", "Cookie: a=\xe9"), {
        b"REQUEST_URI": b"/c", b"QUERY_STRING": b"", b"HTTP_AUTHORIZATION": b"Basic eDp5",
        b"HTTP_COOKIE": b"a=\xe9"}),
])
def test_what_the_request_says(bench: Bench, request_: bytes, changed: Dict[bytes, Any]) -> None:
    wanted = {name: value for name, value in {**ALWAYS, **changed}.items() if value is not None}
    assert make(exchange_of(bench, request_)) == wanted


def test_a_body(bench: Bench) -> None:
    request = get().replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")
    exchange = exchange_of(bench, request)
    assert make(exchange, 5) == {**ALWAYS, b"REQUEST_METHOD": b"PUT", b"CONTENT_LENGTH": b"5"}
    assert make(exchange, 0)[b"CONTENT_LENGTH"] == b"0"


def test_a_password_is_not_passed_on(bench: Bench) -> None:
    exchange = exchange_of(bench, get("/c", "Authorization: Basic eDp5"))
    exchange.user = "caf\u00e9"
    environment = make(exchange, basic_auth="/etc/passwords")
    assert environment[b"REMOTE_USER"] == "caf\u00e9".encode()
    assert environment[b"AUTH_TYPE"] == b"Basic"
    assert b"HTTP_AUTHORIZATION" not in environment


def test_tls(bench: Bench) -> None:
    exchange = exchange_of(bench, get())
    exchange.secure = True
    assert make(exchange) == {**ALWAYS, b"HTTPS": b"on", b"REQUEST_SCHEME": b"https"}


@pytest.mark.parametrize("address", ["", b"", None])
def test_a_unix_socket(bench: Bench, address: Any) -> None:
    environment = make(exchange_of(bench, get(), address))
    assert environment[b"REMOTE_ADDR"] == b"unix"
    assert b"REMOTE_PORT" not in environment


def test_a_client_behind_a_load_balancer(bench: Bench) -> None:
    """Its port is not that of the connection."""
    exchange = exchange_of(bench, get())
    exchange.conn.peer = "198.51.100.1"
    environment = make(exchange)
    assert environment[b"REMOTE_ADDR"] == b"198.51.100.1"
    assert b"REMOTE_PORT" not in environment


def test_the_configuration_wins(bench: Bench) -> None:
    pairs = (("PATH", "/opt"), ("A", "b c"), ("HTTPS", "no\u00e9"))
    environment = make(exchange_of(bench, get()), cgi_env=pairs)
    assert environment == {**ALWAYS, b"PATH": b"/opt", b"A": b"b c", b"HTTPS": "no\u00e9".encode()}


def test_a_redirected_request_keeps_what_was_asked_for(bench: Bench) -> None:
    exchange = exchange_of(bench, get())
    exchange.request = exchange.request.redirected("/other?z")
    environment = make(exchange)
    assert environment[b"REQUEST_URI"] == ALWAYS[b"REQUEST_URI"]
    assert environment[b"QUERY_STRING"] == b"z"
