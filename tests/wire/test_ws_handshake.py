"""The opening handshake: who may have a WebSocket, and what is answered."""

from __future__ import annotations

from typing import List, Optional

import pytest

from lwsws.wire.headers import Headers, check_field
from lwsws.wire.request import Request
from lwsws.wire.ws_deflate import DeflateParams, DeflateSettings
from lwsws.wire.ws_handshake import (
    HandshakeRefused,
    accept_value,
    check_upgrade,
    negotiate_deflate,
    offered_subprotocols,
    origin_allowed,
    response_fields,
)

# RFC 6455 1.3.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = (
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)


def asking(*more: str, without: str = "", method: str = "GET", version: str = "1.1") -> Request:
    """The handshake of RFC 6455 1.2; the lines in `more` take the place of fields of the same name."""
    added = [(name, value.strip(" ")) for name, _, value in (line.partition(":") for line in more)]
    names = {without.lower(), *(name.lower() for name, _ in added)}
    kept = [(name, value) for name, value in FIELDS if name.lower() not in names]
    return Request(method, "/chat", version, Headers([*kept, *added]))


def refused(request: Request) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        check_upgrade(request)
    return caught.value


def test_the_example_of_rfc_6455_1_3() -> None:
    request = asking("Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat")
    assert check_upgrade(request) == accept_value(KEY) == ACCEPT
    assert offered_subprotocols(request) == ["chat", "superchat"]
    assert negotiate_deflate(request) is None
    assert response_fields(ACCEPT, "chat") == [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Protocol", "chat"),
    ]


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "UPGRADE", "upgrade ,,close"])
def test_connection_may_name_more(connection: str) -> None:
    assert check_upgrade(asking(f"Connection: {connection}")) == ACCEPT


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
def test_other_methods_are_405(method: str) -> None:
    error = refused(asking(method=method))
    assert (error.status, error.fields) == (405, [("Allow", "GET")])


def test_http_1_0_is_400() -> None:
    assert str(refused(asking(version="1.0"))) == "400: a WebSocket needs HTTP/1.1"


@pytest.mark.parametrize("framing", ["Content-Length: 1", "Transfer-Encoding: chunked"])
def test_a_body_is_400(framing: str) -> None:
    error = refused(asking(framing))
    assert (error.status, error.why) == (400, "a WebSocket handshake has no body")


def test_an_empty_body_is_none() -> None:
    assert check_upgrade(asking("Content-Length: 0")) == ACCEPT


@pytest.mark.parametrize("request_", [asking(without="connection"), asking("Connection: keep-alive")])
def test_upgrade_without_connection_is_400(request_: Request) -> None:
    assert refused(request_).status == 400


@pytest.mark.parametrize("request_", [
    asking(without="sec-websocket-version"),
    *(asking(f"Sec-WebSocket-Version: {number}") for number in ("", "8", "014", "013", "13 ,", "+13", "13a")),
    asking("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
    asking("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"),
])
def test_other_versions_are_426_and_told_ours(request_: Request) -> None:
    error = refused(request_)
    assert error.status == 426
    assert ("Sec-WebSocket-Version", "13") in error.fields
    # RFC 9110 15.5.22: a 426 has to say which protocols there are.
    assert ("Upgrade", "websocket") in error.fields
    assert ("Connection", "Upgrade") in error.fields


@pytest.mark.parametrize("request_", [
    asking(without="sec-websocket-key"),
    asking(f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY}"),
    *(asking(f"Sec-WebSocket-Key: {key}") for key in (
        "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZQ=", KEY + "=",
        "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZWU=", "dGhlIHNhbXBsZSBub25_ZQ==", KEY + ", x",
        "dGhlIHNhbXBsZSBub25jZQ==\xa0", "\u0663GhlIHNhbXBsZSBub25jZQ==")),
])
def test_a_key_that_is_not_16_bytes_of_base64_is_400(request_: Request) -> None:
    error = refused(request_)
    assert error.status == 400
    assert "Sec-WebSocket-Key" in error.why


@pytest.mark.parametrize("last", "AQgw")
def test_the_last_character_of_a_key_has_two_bits(last: str) -> None:
    key = "a" * 21 + last + "=="
    assert check_upgrade(asking(f"Sec-WebSocket-Key: {key}")) == accept_value(key)


@pytest.mark.parametrize("lines, names", [
    ([], []),
    ([""], []),
    (["chat"], ["chat"]),
    (["a, b ,,\tc"], ["a", "b", "c"]),
    (["a, b", "c"], ["a", "b", "c"]),
    (["Chat, chat"], ["Chat", "chat"]),
    (["lws-mirror-protocol"], ["lws-mirror-protocol"]),
])
def test_subprotocols_are_in_the_order_of_the_client(lines: List[str], names: List[str]) -> None:
    assert offered_subprotocols(asking(*(f"Sec-WebSocket-Protocol: {line}" for line in lines))) == names


@pytest.mark.parametrize("lines", [["a b"], ["a;b"], ['"a"'], ["a/b"], ["\xfc"], ["a, a"], ["a", "b, a"]])
def test_subprotocols_that_are_no_tokens_or_repeated_are_400(lines: List[str]) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        offered_subprotocols(asking(*(f"Sec-WebSocket-Protocol: {line}" for line in lines)))
    assert caught.value.status == 400


def offering(*values: str) -> Request:
    return asking(*(f"Sec-WebSocket-Extensions: {value}" for value in values))


@pytest.mark.parametrize("values, answer", [
    (["permessage-deflate"], "permessage-deflate"),
    # What browsers send.
    (["permessage-deflate; client_max_window_bits"], "permessage-deflate; client_max_window_bits=12"),
    # The first offer that can be accepted; others may stand around it.
    (["foo, permessage-deflate; x, permessage-deflate; server_max_window_bits=10, permessage-deflate"],
     "permessage-deflate; server_max_window_bits=10"),
    (["permessage-deflate; server_max_window_bits=8", "permessage-deflate"], "permessage-deflate"),
    (["foo"], None),
    (["PERMESSAGE-DEFLATE"], None),
    (["permessage-deflate; x"], None),
    ([""], None),
])
def test_the_first_fitting_offer_is_accepted(values: List[str], answer: Optional[str]) -> None:
    params = negotiate_deflate(offering(*values))
    assert (None if params is None else str(params)) == answer


def test_the_settings_count() -> None:
    settings = DeflateSettings(window_bits=9, client_window_bits=10, no_context_takeover=True)
    params = negotiate_deflate(offering("permessage-deflate; client_max_window_bits"), settings)
    assert params == DeflateParams(True, True, None, 10, window_bits=9)


@pytest.mark.parametrize("value", ["permessage-deflate;", "a b", "permessage-deflate; a=\"b c\""])
def test_malformed_extensions_are_400(value: str) -> None:
    with pytest.raises(HandshakeRefused, match="Sec-WebSocket-Extensions") as caught:
        negotiate_deflate(offering(value))
    assert caught.value.status == 400


def test_the_answer_names_the_extension() -> None:
    fields = response_fields(ACCEPT, params=DeflateParams(client_max_window_bits=12))
    assert fields[3:] == [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=12")]
    for name, value in fields:
        check_field(name, value)


@pytest.mark.parametrize("origin, allowed, may", [
    (None, ["http://a.test"], True),
    (None, [], True),
    ("http://a.test", ["http://a.test"], True),
    ("http://a.test", ["http://b.test", "http://a.test"], True),
    ("HTTP://A.Test", ["http://a.test"], True),
    ("http://a.test", ["Http://A.TEST"], True),
    ("http://a.test:80", ["http://a.test"], True),
    ("http://a.test", ["http://a.test:80"], True),
    ("https://a.test:443", ["https://a.test"], True),
    ("https://a.test:8443", ["https://a.test:8443"], True),
    ("http://[::1]:80", ["http://[::1]"], True),
    ("null", ["null"], True),
    ("http://a.test", [], False),
    ("null", ["http://a.test"], False),
    ("", ["http://a.test"], False),
    ("https://a.test", ["http://a.test"], False),
    ("http://a.test:443", ["http://a.test"], False),
    ("https://a.test:80", ["https://a.test"], False),
    ("http://a.test:8080", ["http://a.test"], False),
    ("http://a.test.evil.test", ["http://a.test"], False),
    ("http://evil-a.test", ["http://a.test"], False),
    ("http://sub.a.test", ["http://a.test"], False),
    ("http://a.test/", ["http://a.test"], False),
    ("http://a.test@evil.test", ["http://a.test"], False),
    ("http://evil.test, http://a.test", ["http://a.test"], False),
    ("http://a.test http://a.test", ["http://a.test"], False),
    ("a.test", ["http://a.test"], False),
])
def test_origins(origin: Optional[str], allowed: List[str], may: bool) -> None:
    assert origin_allowed(origin, allowed) is may
