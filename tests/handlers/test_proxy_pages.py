"""Proxy mounts: what names a place of the origin names one of the mount for the client; also links."""

from __future__ import annotations

import gzip
import zlib
from typing import Callable, Dict, List

import pytest

from lwsws.handlers.proxy_html import STEP_BYTES
from lwsws.handlers.proxy_request import rewritable_codings
from tests.support.peer import Answer
from tests.support.proxy_site import OriginEnd, ProxySite

Make = Callable[..., ProxySite]

GET = b"GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE = b'<a href="/x">/x</a><img src=/i.png><a href="y"></a><script>"/s"</script>'
REWRITTEN = b'<a href="/p/x">/x</a><img src=/p/i.png><a href="y"></a><script>"/s"</script>'


def raw_deflate(data: bytes) -> bytes:
    """Without the wrapping of zlib."""
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


def answer(proxy: ProxySite, body: bytes, *fields: str, request: bytes = GET, piece: int = 0) -> Answer:
    """What a client gets when the origin answers with `body`, in chunks of `piece` bytes if that is given."""
    peer = proxy.connect()
    peer.send(request)
    origin = proxy.accept()
    origin.head()
    send(origin, body, *fields, piece=piece)
    return peer.answer(request.partition(b" ")[0].decode())


def send(origin: OriginEnd, body: bytes, *fields: str, piece: int = 0) -> None:
    """An answer of 200 with `body`."""
    framing = "Transfer-Encoding: chunked" if piece else f"Content-Length: {len(body)}"
    kind = [field for field in fields if field.startswith("Content-Type")] or ["Content-Type: text/html"]
    lines = ["HTTP/1.1 200 OK", framing, *kind, *(field for field in fields if field not in kind)]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    if not piece:
        origin.send(head + body)
        return
    origin.send(head)
    for begin in range(0, len(body), piece):
        part = body[begin:begin + piece]
        origin.send(b"%x\r\n%b\r\n" % (len(part), part))
    origin.send(b"0\r\n\r\n")


def test_links_of_a_page(proxy: ProxySite) -> None:
    found = answer(proxy, PAGE, 'ETag: "a"', "Accept-Ranges: bytes", "Content-MD5: x", "X-Kept: 1")
    assert found.body == REWRITTEN
    assert (found.get("etag"), found.get("x-kept")) == ('W/"a"', "1")
    assert found.get("accept-ranges") is None and found.get("content-md5") is None


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_page_in_pieces(proxy: ProxySite, piece: int) -> None:
    assert answer(proxy, PAGE, piece=piece).body == REWRITTEN


def test_links_with_the_name_of_the_origin(proxy: ProxySite) -> None:
    name = f"127.0.0.1:{proxy.ports[0]}"
    page = f'<a href="http://{name}/x"></a><a href="//{name}/y"></a><a href="http://other/z"></a>'.encode()
    assert answer(proxy, page).body == (
        b'<a href="/p/x"></a><a href="/p/y"></a><a href="http://other/z"></a>')


@pytest.mark.parametrize("coding, pack, unpack", [
    ("gzip", gzip.compress, gzip.decompress),
    ("x-gzip", lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]), gzip.decompress),
    ("deflate", zlib.compress, zlib.decompress),
    ("deflate", raw_deflate, zlib.decompress),
])
@pytest.mark.parametrize("piece", [0, 1])
def test_a_compressed_page(proxy: ProxySite, coding: str, pack: Callable[[bytes], bytes],
                           unpack: Callable[[bytes], bytes], piece: int) -> None:
    found = answer(proxy, pack(PAGE), f"Content-Encoding: {coding}", piece=piece)
    assert found.get("content-encoding") == coding
    assert unpack(found.body) == REWRITTEN


def test_a_page_that_is_large_when_inflated(proxy: ProxySite) -> None:
    """In steps, and whole, though it comes in one piece."""
    page = (PAGE + b" " * 10_000) * (20 * STEP_BYTES // 10_000)
    wanted = (REWRITTEN + b" " * 10_000) * (20 * STEP_BYTES // 10_000)
    packed = gzip.compress(page)
    assert len(packed) < 65_000
    peer = proxy.connect()
    peer.send(GET)
    send(proxy.accept(), packed, "Content-Encoding: gzip")
    for _ in range(20):     # a step for each pass, and little comes out
        proxy.bench.run()
    assert gzip.decompress(peer.answer().body) == wanted


@pytest.mark.parametrize("body", [
    gzip.compress(PAGE)[:-5], b"no gzip at all", gzip.compress(PAGE)[:20] + b"\0" * 50])
def test_a_damaged_page(proxy: ProxySite, body: bytes) -> None:
    """A 502, or an end before the end if something was passed on already."""
    assert answer(proxy, body, "Content-Encoding: gzip").status == 502
    peer = proxy.connect()
    peer.send(GET)
    send(proxy.accept(), body, "Content-Encoding: gzip", piece=9)
    assert not peer.receive().endswith(b"0\r\n\r\n") and peer.eof


@pytest.mark.parametrize("behind", [b"\0" * 9, b"x", b"\x1f"])
@pytest.mark.parametrize("piece", [0, 1])
def test_what_is_behind_the_end_of_a_compressed_page(proxy: ProxySite, behind: bytes, piece: int) -> None:
    for coding, pack, unpack in (("gzip", gzip.compress, gzip.decompress),
                                 ("deflate", zlib.compress, zlib.decompress)):
        found = answer(proxy, pack(PAGE) + behind, f"Content-Encoding: {coding}", piece=piece)
        assert unpack(found.body) == REWRITTEN
        proxy.pools[0].take().drop()  # type: ignore[union-attr]


def test_a_page_of_nothing(proxy: ProxySite) -> None:
    assert gzip.decompress(answer(proxy, b"", "Content-Encoding: gzip").body) == b""


def test_the_head_of_a_page(proxy: ProxySite) -> None:
    """The length is not known, for that of the origin is another one."""
    found = answer(proxy, b"", request=GET.replace(b"GET", b"HEAD"))
    assert (found.status, found.get("content-length")) == (200, None)


@pytest.mark.parametrize("fields", [
    ["Content-Encoding: br"], ["Cache-Control: private, no-transform"], ["Content-Encoding: gzip, gzip"],
    ["Content-Type: text/html; charset=UTF-16"]])
def test_pages_that_are_left_alone(proxy: ProxySite, fields: List[str]) -> None:
    found = answer(proxy, PAGE, 'ETag: "a"', *fields)
    assert (found.body, found.get("etag"), found.get("content-length")) == (PAGE, '"a"', str(len(PAGE)))


def test_rewriting_can_be_switched_off(make_proxy: Make) -> None:
    assert answer(make_proxy(proxy_rewrite_links="no"), PAGE).body == PAGE


def test_what_is_no_page_is_left_alone(proxy: ProxySite) -> None:
    peer = proxy.connect()
    peer.send(GET)
    proxy.accept().send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b"
                        % (len(PAGE), PAGE))
    assert peer.answer().body == PAGE


@pytest.mark.parametrize("accepted, wanted", [
    ("gzip, deflate, br, zstd", "gzip, deflate"), ("br", "identity"), ("*", "gzip"),
    ("gzip;q=0.5,br", "gzip;q=0.5"), ("x-gzip, identity;q=0", "gzip, identity;q=0"), ("", "identity")])
def test_codings_that_can_be_undone(proxy: ProxySite, accepted: str, wanted: str) -> None:
    assert rewritable_codings(accepted) == wanted
    peer = proxy.connect()
    peer.send(GET[:-2] + f"Accept-Encoding: {accepted}\r\n\r\n".encode())
    assert proxy.accept().fields()["accept-encoding"] == wanted


def test_all_codings_are_asked_for_where_nothing_is_rewritten(make_proxy: Make) -> None:
    proxy = make_proxy(proxy_rewrite_links="no")
    peer = proxy.connect()
    peer.send(GET[:-2] + b"Accept-Encoding: br, zstd\r\n\r\n")
    assert proxy.accept().fields()["accept-encoding"] == "br, zstd"


@pytest.mark.parametrize("keys, field, wanted", [
    ({}, "Location: /y", "/p/y"),
    ({}, "Location: http://127.0.0.1:PORT/y?q", "/p/y?q"),
    ({}, "Location: http://other/y", "http://other/y"),
    ({"proxy_keep_host": "1"}, "Location: http://localhost/y", "/p/y"),
    ({}, "Content-Location: /y", "/p/y"),
    ({}, "Set-Cookie: a=1; Path=/y", "a=1; Path=/p/y"),
    ({"location": "/base"}, "Set-Cookie: a=1; Path=/base/y; Secure", "a=1; Path=/p/y; Secure"),
])
def test_fields_that_name_places(make_proxy: Make, keys: Dict[str, str], field: str, wanted: str) -> None:
    proxy = make_proxy(**keys)
    name = field.partition(":")[0]
    found = answer(proxy, b"", field.replace("PORT", str(proxy.ports[0])))
    assert found.get(name) == wanted
