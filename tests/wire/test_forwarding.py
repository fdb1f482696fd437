"""Fields on their way through a proxy: what is for one hop only, and what the origin is told of a client."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Tuple

import pytest

from lwsws.wire.errors import LocalProtocolError
from lwsws.wire.forwarding import Hop, end_to_end, loops, request_fields, request_head, response_fields
from lwsws.wire.headers import Headers

PLAIN = Hop("192.0.2.1", False, "a.example")
TRUSTED = PLAIN._replace(trusted=True)
NOTHING: FrozenSet[str] = frozenset()


def fields(*lines: str) -> Headers:
    """Header fields of lines "Name: value"."""
    return Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])


def passed(headers: Headers, hop: Hop = PLAIN) -> List[Tuple[str, str]]:
    """The client's own fields that go to the origin: without what we add."""
    added = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via")
    return [field for field in request_fields(headers, hop) if field[0] not in added]


def told(headers: Headers, hop: Hop = PLAIN) -> Dict[str, str]:
    """By lower-case name, all that the origin gets; no name twice."""
    items = request_fields(headers, hop)
    table = {name.lower(): value for name, value in items}
    assert len(table) == len(items)
    return table


# From one hop to the next


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
     "Trailer",
     "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "upgrade", "KEEP-ALIVE"],
)
def test_hop_by_hop_fields_go(name: str) -> None:
    headers = fields("A: 1", f"{name}: x", "B: 2")
    assert end_to_end(headers) == [("A", "1"), ("B", "2")]
    assert passed(headers) == [("A", "1"), ("B", "2")]
    assert response_fields(headers, NOTHING) == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize("connection", ["close, X-One,\tx-two ,", "x-one,X-TWO", ",,X-One, Keep-Alive,X-Two"])
def test_what_connection_names_goes(connection: str) -> None:
    """RFC 9110 7.6.1."""
    headers = fields("X-One: 1", f"Connection: {connection}", "x-two: 2", "X-Three: 3")
    assert end_to_end(headers) == [("X-Three", "3")]


def test_what_any_of_several_connection_fields_names_goes() -> None:
    headers = fields("Connection: X-One", "X-One: 1", "connection: x-two", "X-Two: 2", "A: b")
    assert end_to_end(headers) == [("A", "b")]


@pytest.mark.parametrize("connection", ["close", "keep-alive", "Keep-Alive", "Upgrade",
                                        "keep-alive, Upgrade"])
def test_usual_connections_take_nothing_else_away(connection: str) -> None:
    headers = fields(f"Connection: {connection}", "A: b", "Close: x" if "close" not in connection else "C: d")
    assert len(end_to_end(headers)) == 2


def test_order_spelling_and_repeats_are_kept() -> None:
    headers = fields("b: 2", "A: 1", "B: 3", "Cookie: x", "cookie: y")
    assert end_to_end(headers) == headers.items
    assert passed(headers) == headers.items
    assert response_fields(headers, NOTHING) == headers.items


# To the origin


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Expect", "Proxy", "X-Real-IP", "x-real-ip",
                                  "PROXY"])
def test_what_the_proxy_itself_decides_does_not_go_on(name: str) -> None:
    """LESSONS 3.12, 3.21: Proxy would become HTTP_PROXY in a program behind the origin."""
    assert passed(fields(f"{name}: x", "A: b")) == [("A", "b")]
    assert passed(fields(f"{name}: x", "A: b"), TRUSTED) == [("A", "b")]


@pytest.mark.parametrize("name", ["X_Real_IP", "X_Forwarded_For", "Content_Length", "a_b", "_", "X.Real.IP",
                                  "X~A", "A|b"])
@pytest.mark.parametrize("hop", [PLAIN, TRUSTED])
def test_names_that_collide_in_cgi_do_not_go_on(name: str, hop: Hop) -> None:
    """LESSONS 3.12."""
    assert passed(fields("A: b", f"{name}: 6.6.6.6"), hop) == [("A", "b")]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "Forwarded",
                                  "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded", "X-FORWARDED-FOR"])
def test_a_client_cannot_tell_who_it_is(name: str) -> None:
    """LESSONS 3.12 and 3.33."""
    values = told(fields(f"{name}: 6.6.6.6", f"{name}: 6.6.6.7"))
    assert "6.6.6" not in str(values)
    assert values["x-forwarded-for"] == "192.0.2.1"


def test_what_is_told_of_the_client() -> None:
    assert told(Headers([])) == {
        "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http", "x-forwarded-host": "a.example",
        "forwarded": "for=192.0.2.1;proto=http;host=a.example", "via": "1.1 lwsws"}


def test_connection_cannot_take_away_what_is_told() -> None:
    values = told(fields("Connection: X-Forwarded-For, Via, Forwarded, X-Forwarded-Proto"))
    assert len(values) == 5


@pytest.mark.parametrize(
    "hop, addresses, forwarded",
    [
        (Hop("2001:db8::1", True, "a:8443"), "2001:db8::1", 'for="[2001:db8::1]";proto=https;host="a:8443"'),
        (Hop("fe80::1%eth0", False, "[::1]"), "fe80::1", 'for="[fe80::1]";proto=http;host="[::1]"'),
        (Hop("unix", False, ""), "unknown", "for=unknown;proto=http"),
        (Hop("", False, 'a"\\b'), "unknown", 'for=unknown;proto=http;host="a\\"\\\\b"'),
    ],
)
def test_peers_of_other_kinds(hop: Hop, addresses: str, forwarded: str) -> None:
    """RFC 7239 4 and 6."""
    values = told(Headers([]), hop)
    assert (values["x-forwarded-for"], values["forwarded"]) == (addresses, forwarded)
    assert values.get("x-forwarded-host", "") == hop.host


def test_a_trusted_proxy_is_believed() -> None:
    values = told(fields("X-Forwarded-For: 198.51.100.7", "x-forwarded-for: 198.51.100.8",
                         "X-Forwarded-Proto: https",
                         "X-Forwarded-Host: www.example", "X-Forwarded-Port: 443", "Forwarded: for=x"),
                         TRUSTED)
    assert values == {
        "x-forwarded-for": "198.51.100.7, 198.51.100.8, 192.0.2.1", "x-forwarded-proto": "https",
        "x-forwarded-host": "www.example", "x-forwarded-port": "443",
        "forwarded": "for=x, for=192.0.2.1;proto=http;host=a.example", "via": "1.1 lwsws"}


def test_a_trusted_proxy_need_not_say_anything() -> None:
    assert told(Headers([]), TRUSTED) == told(Headers([]))
    assert told(fields("X-Forwarded-For: "), TRUSTED)["x-forwarded-for"] == "192.0.2.1"


def test_via_grows() -> None:
    """RFC 9110 7.6.3: with the version of the message that came."""
    values = told(fields("Via: 1.0 fred", "Via: 1.1 lwsws (x)"), PLAIN._replace(version="1.0"))
    assert values["via"] == "1.0 fred, 1.1 lwsws (x), 1.0 lwsws"


@pytest.mark.parametrize(
    "via, count",
    [("", 0), ("1.1 fred", 0), ("1.1 lwsws", 1), ("1.1 lwsws, 1.0 lwsws (a),1.1\tlwsws", 3),
     ("1.1 lwsws.example", 0),
     ("lwsws", 0), ("1.1 fred (lwsws)", 0), (",".join(["1.1 lwsws"] * 500), 500)],
)
def test_loops_are_counted(via: str, count: int) -> None:
    assert loops(fields(f"Via: {via}")) == count


def test_no_via_no_loop() -> None:
    assert loops(Headers([])) == 0


# To the client


def test_configured_fields_replace_those_of_the_origin() -> None:
    headers = fields("Server: x", "A: 1", "X-Frame-Options: DENY", "server: y", "Content-Length: 5",
                     "Date: now")
    assert response_fields(headers, frozenset(("server", "x-frame-options"))) == [("A", "1"), ("Date", "now")]


def test_fields_of_the_origin_keep_their_names() -> None:
    headers = fields("a_b: 1", "Via: 1.1 x", "Set-Cookie: a=b", "Set-Cookie: c=d", "X-Real-IP: z")
    assert response_fields(headers, NOTHING) == headers.items


# The head


def test_a_request_head() -> None:
    assert request_head("GET", "/a?b", [("Host", "o"), ("X", "\xe9\t")]) == (
        b"GET /a?b HTTP/1.1\r\nHost: o\r\nX: \xe9\t\r\n\r\n")


@pytest.mark.parametrize(
    "method, target, field",
    [
        ("GET", "/ HTTP/1.1\r\nX: y", ("A", "b")), ("GET", "/a b", ("A", "b")), ("GET", "", ("A", "b")),
        ("GET", "/\x00", ("A", "b")), ("GET", "/\u0100", ("A", "b")), ("G T", "/", ("A", "b")),
        ("", "/", ("A", "b")),
        ("GET\r\n", "/", ("A", "b")), ("GET", "/\n", ("A", "b")), ("GET", "/", ("A", "b\r\nC: d")),
        ("GET", "/", ("A", "b\nc")), ("GET", "/", ("A\r\nB", "c")), ("GET", "/", ("A", "\x00")),
        ("GET", "/", ("A", "\u0100")),
    ],
)
def test_nothing_can_be_smuggled_into_a_head(method: str, target: str, field: Tuple[str, str]) -> None:
    """LESSONS 3.9."""
    with pytest.raises(LocalProtocolError):
        request_head(method, target, [field])
