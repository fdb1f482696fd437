"""HTML on its way through a proxy mount: the links in it are rewritten, also where it is compressed.

A page is changed piece by piece: inflated if it is compressed, through the `LinkRewriter`, and compressed
again in the same coding.  A small piece can inflate to a thousand times its size, so one step makes no more
than STEP_BYTES of it; as long as `pending`, the next step is due before anything else is fed.
"""

from __future__ import annotations

import zlib
from typing import Any, Callable, Optional, Union

from lwsws.wire.errors import RemoteProtocolError
from lwsws.wire.headers import Headers, tokens
from lwsws.wire.html_links import LinkRewriter

# A few milliseconds' work, at most 20 if there is nothing but tags.
STEP_BYTES = 32 * 1024

# Fast: that the page is smaller than plain is what counts here.
LEVEL = 1
# zlib.compressobj: the window of 32 KiB, in a gzip or a zlib wrapping (RFC 1950, RFC 1952), or in none.
GZIP, ZLIB, RAW = 31, 15, -15

# What a gzip member begins with (RFC 1952 2.3.1), and how many bytes tell what there is.
GZIP_MAGIC = b"\x1f\x8b"
MAGIC_BYTES = 2

# In these the letters of a tag are not the bytes of ASCII.
WIDE = ("utf-16", "utf-32")

HTML, XHTML = "text/html", "application/xhtml+xml"
# RFC 9110 8.4.1.3: "x-gzip" is the same.
CODINGS = {"": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class Plain:
    """The body as it is."""

    __slots__ = ("_links",)

    pending = False

    def __init__(self, links: LinkRewriter) -> None:
        self._links = links

    def feed(self, data: bytes) -> bytes:
        """What becomes of the next piece, as far as that is known."""
        return self._links.feed(data)

    def go_on(self) -> bytes:
        """The next step of the last piece, if `pending`."""
        return b""

    def finish(self) -> bytes:
        """The rest."""
        return self._links.finish()


class Compressed:
    """A body in gzip or deflate, which it is when it comes out as well.

    `deflate` is meant to be in a zlib wrapping; some send it without one, and clients take both (RFC 9110
    8.4.1.2).  RemoteProtocolError 502 if the data are damaged.
    """

    __slots__ = ("pending", "_links", "_inflate", "_deflate", "_is_gzip", "_left", "_is_whole", "_is_first")

    def __init__(self, links: LinkRewriter, coding: str) -> None:
        """`coding` is "gzip" or "deflate"."""
        self.pending = False
        self._links = links
        self._is_gzip = coding == "gzip"
        self._inflate: Any = None
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP if self._is_gzip else ZLIB)
        self._left = b""            # not inflated yet
        self._is_whole = True       # as far as it came
        self._is_first = True       # nothing was inflated yet

    def feed(self, data: bytes) -> bytes:
        """As above."""
        self._left += data
        return self.go_on()

    def go_on(self) -> bytes:
        """As above."""
        if self._inflate is None and not self._begin():
            return b""
        try:
            plain = self._inflate.decompress(self._left, STEP_BYTES)
        except zlib.error:
            raise RemoteProtocolError(502, "the compressed page is damaged") from None
        self._is_whole = self._inflate.eof
        if self._is_whole:
            self._left, self._inflate = self._inflate.unused_data, None
        else:
            self._left = self._inflate.unconsumed_tail
        # With all input used some output may still be inside: then exactly so much came out.
        self.pending = bool(self._left) or len(plain) == STEP_BYTES
        return self._deflate.compress(self._links.feed(plain))

    def finish(self) -> bytes:
        """As above."""
        if not self._is_whole:
            raise RemoteProtocolError(502, "the compressed page ends too early")
        return self._deflate.compress(self._links.finish()) + self._deflate.flush()

    def _begin(self) -> bool:
        """Begin to inflate, if enough is there.

        RFC 1952 2.2: a gzip file may have several members.  What else is behind the end is padding.
        """
        self.pending = False
        if len(self._left) < MAGIC_BYTES:
            return False
        if not self._is_first and not (self._is_gzip and self._left.startswith(GZIP_MAGIC)):
            self._left = b""
            return False
        self._is_first = False
        if not self._is_gzip:
            self._inflate = zlib.decompressobj(ZLIB if is_zlib(self._left) else RAW)
        else:
            self._inflate = zlib.decompressobj(GZIP)
        return True


HtmlBody = Union[Plain, Compressed]


def is_zlib(begin: bytes) -> bool:
    """Whether data that begin so are in a zlib wrapping: method 8, a check over both bytes (RFC 1950 2.2)."""
    return begin[0] & 0x0F == 8 and (begin[0] << 8 | begin[1]) % 31 == 0


def media_type(headers: Headers) -> str:
    """What kind of thing a body is (RFC 9110 8.3.1), in lower case; "" if nothing is said."""
    return (headers.get("content-type") or "").partition(";")[0].strip(" \t").lower()


def is_html(status: int, headers: Headers) -> bool:
    """Whether an answer is a page whose links may be rewritten: no part of one, none that must stay as it is
    (RFC 9110 7.7), and none in which a letter has more than one byte."""
    if media_type(headers) not in (HTML, XHTML) or status in (204, 206, 304):
        return False
    said = (headers.get("content-type") or "").lower()
    if any(name in said for name in WIDE):
        return False
    return "no-transform" not in tokens(headers.get("cache-control") or "")


def html_body(headers: Headers, new_url: Callable[[bytes], bytes]) -> Optional[HtmlBody]:
    """What the body of a page goes through; None if its coding is none that can be undone."""
    coding = CODINGS.get((headers.get("content-encoding") or "").lower())
    if coding is None:
        return None
    links = LinkRewriter(new_url, xml=media_type(headers) == XHTML)
    return Compressed(links, coding) if coding else Plain(links)
