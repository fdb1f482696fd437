"""Proxy mounts: WebSockets and other protocols that begin with an upgrade pass through."""

from __future__ import annotations

from typing import Callable, Optional

import pytest

from tests.support.proxy_site import OK, ProxySite

Make = Callable[..., ProxySite]

UPGRADE = (b"GET /p/sock?a=b HTTP/1.1\r\nHost: localhost\r\n"
           b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")


def asking(names: bytes) -> bytes:
    """The request for other protocols."""
    return UPGRADE.replace(b"Upgrade: WebSocket", b"Upgrade: " + names)


def test_bytes_pass_both_ways(proxy: ProxySite) -> None:
    """Those that came behind the request, and behind the answer, too; and each end by itself."""
    peer = proxy.connect()
    peer.send(UPGRADE + b"early")
    origin = proxy.accept()
    head = origin.head()
    assert head.startswith("GET /sock?a=b HTTP/1.1\r\n")
    assert "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
    assert "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in head
    assert origin.receive() == b""
    origin.send(SWITCH + b"first")
    answer = peer.answer()
    assert answer.status == 101
    assert [name for name, _ in answer.fields] == ["Upgrade", "Connection", "Sec-WebSocket-Accept"]
    assert peer.receive() == b"first"
    assert origin.receive() == b"early"
    peer.send(b"to")
    origin.send(b"fro")
    assert (origin.receive(), peer.receive()) == (b"earlyto", b"firstfro")
    assert proxy.bench.context.onward == 1
    proxy.bench.advance(3600)   # silence is no fault here
    peer.half_close()
    assert origin.receive() == b"earlyto" and origin.eof
    origin.send(b"!")
    origin.close()
    assert peer.receive() == b"firstfro!" and peer.eof
    assert proxy.bench.context.onward == 0


def test_a_refusal_is_an_answer_like_others(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(UPGRADE)
    proxy.accept().send(OK.replace(b"200 OK", b"403 No"))
    assert peer.answer().status == 403
    peer.send(b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not peer.eof


@pytest.mark.parametrize("field", [b"", b"Upgrade: other\r\n", b"Upgrade: websocket, other\r\n"])
def test_a_switch_to_something_else(proxy: ProxySite, field: bytes) -> None:
    peer = proxy.connect()
    peer.send(UPGRADE)
    proxy.accept().send(SWITCH.replace(b"Upgrade: websocket\r\n", field))
    assert peer.answer().status == 502


@pytest.mark.parametrize("request_, wanted", [
    (asking(b"h2c"), None),
    (asking(b"h2c, TLS/1.0, foo/2"), "foo/2"),
    (asking(b"foo").replace(b"keep-alive, Upgrade", b"close"), None),
    (asking(b"foo").replace(b"HTTP/1.1", b"HTTP/1.0"), None),
    (asking(b"foo").replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"), None),
])
def test_what_may_be_asked_for(proxy: ProxySite, request_: bytes, wanted: Optional[str]) -> None:
    """LESSONS 3.11: h2c would lead all further requests past us."""
    peer = proxy.connect()
    peer.send(request_)
    fields = proxy.accept().fields()
    assert fields.get("upgrade") == wanted
    assert fields.get("connection") == (None if wanted is None else "Upgrade")
    assert "http2-settings" not in fields


def test_a_client_that_goes_away_ends_both(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(UPGRADE)
    origin = proxy.accept()
    origin.head()
    origin.send(SWITCH)
    peer.connection.abort()
    assert origin.closed
    assert proxy.bench.context.onward == 0


def test_upgrades_can_be_forbidden(make_proxy: Make) -> None:
    proxy = make_proxy(no_ws_upgrades="1")
    mount = proxy.bench.vhosts().default.routes.match("/p/x")
    assert mount is not None
    mount.no_ws_upgrades = True
    peer = proxy.connect()
    peer.send(UPGRADE)
    assert peer.answer().status == 403
    peer.send(asking(b"foo"))
    assert "upgrade" not in proxy.accept().fields()
