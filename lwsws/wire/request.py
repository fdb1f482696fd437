"""One request head, interpreted: where it goes, how long its body is, and what becomes of the connection.

Everything that takes more than one line to decide is decided here, once, and the same for all that look
at the request later: target and host, body framing, keep-alive, the expectation.  A request that leaves
room for two readings is refused; a server in front of this one might take the other (RFC 9112 11.2).
"""

from __future__ import annotations

from typing import Optional

from lwsws.wire.errors import RemoteProtocolError, excerpt
from lwsws.wire.headers import Headers, check_coding, content_length, keeps_alive
from lwsws.wire.target import parse_host, parse_target

# RFC 9110 9.1 and 15.6.2: a method not known to the server is 501; one not allowed here is 405, said by
# the handler.  These are the registered methods that a handler (CGI, proxy) may meet.
METHODS = frozenset((
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "ACL", "COPY", "LOCK", "MKCALENDAR",
    "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "REPORT", "SEARCH", "UNLOCK"))

# Methods whose request has no meaning without a body (RFC 1945 7.2.2 wants a length for each).
_METHODS_WITH_BODY = ("POST", "PUT", "PATCH")

# Fields that make no sense in a request that takes the place of another: what they are about, a body or a
# change of the protocol, belongs to the other one.
_FIELDS_OF_OTHER = frozenset(("content-encoding", "content-language", "content-length", "content-location",
                              "content-range", "content-type", "expect", "http2-settings", "trailer",
                              "transfer-encoding", "upgrade"))


class Request:
    """The head of one request.  RemoteProtocolError if it contradicts itself or breaks a rule.

    `target` is as it was sent; `form`, `path` and `query` are what `parse_target` made of it.  `host` is
    the Host field, or the authority of a target in absolute-form ("" if neither); `host_name` is its name
    in lower case without a dot at the end, `host_port` its port.  `content_length` is 0 without a body and
    None for a chunked one.  `raw` is the head as the reader received it, empty if no reader did.
    """

    __slots__ = (
        "chunked",
        "content_length",
        "expect_continue",
        "form",
        "headers",
        "host",
        "host_name",
        "host_port",
        "keep_alive",
        "method",
        "path",
        "query",
        "raw",
        "target",
        "version",
    )

    def __init__(self, method: str, target: str, version: str, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.raw = b""
        self.form, self.path, self.query, authority = parse_target(method, target)
        get = headers.table.get
        self._read_host(get("host"), authority)
        self._read_framing(get("transfer-encoding"), get("content-length"))
        self.keep_alive = keeps_alive(version, get("connection"))
        expectation = get("expect")
        self.expect_continue = expectation is not None and self._expects_continue(expectation)

    @property
    def has_body(self) -> bool:
        """Whether at least one byte of a body, or its chunked framing, follows the head."""
        return self.content_length != 0

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.target!r}, {self.version!r}, {self.headers!r})"

    def redirected(self, target: str) -> Request:
        """The request for `target` instead, without a body; RemoteProtocolError if that is no target.

        A method other than HEAD becomes GET, and fields that describe a body or an upgrade go.
        """
        items = [item for item in self.headers.items if item[0].lower() not in _FIELDS_OF_OTHER]
        return Request("HEAD" if self.method == "HEAD" else "GET", target, self.version, Headers(items))

    def _read_host(self, host: Optional[str], authority: Optional[str]) -> None:
        if host is None:
            # RFC 9112 3.2: 400 for any HTTP/1.1 request that lacks a Host field ...
            if self.version != "1.0":
                raise RemoteProtocolError(400, "no Host header")
            host = ""
        try:
            # ... and for more than one, or an invalid one.  Two of them make a value with ", ", so no host.
            name, port = parse_host(host)
            # RFC 9112 3.2.2: the host of the target replaces the one of the Host field.
            if authority is not None:
                host = authority
                name, port = parse_host(host)
        except ValueError as error:
            several = len(self.headers.all("host")) > 1
            raise RemoteProtocolError(400, "more than one Host header" if several else str(error)) from None
        self.host = host
        # "a.example." is the same name written in full.
        self.host_name = name.removesuffix(".")
        self.host_port = port

    def _read_framing(self, coding: Optional[str], length: Optional[str]) -> None:
        """How long the body is (RFC 9112 6.3); any doubt is an error, since guesses differ (11.2)."""
        self.chunked = coding is not None
        self.content_length: Optional[int] = None
        if coding is not None:
            check_coding(coding, length, self.version)
        elif length is not None:
            self.content_length = content_length(length)
        elif self.version == "1.0" and self.method in _METHODS_WITH_BODY:
            raise RemoteProtocolError(411, f"{self.method} in HTTP/1.0 needs a Content-Length")
        else:
            self.content_length = 0

    def _expects_continue(self, expectation: str) -> bool:
        # RFC 9110 10.1.1: MAY respond with 417 to any expectation other than 100-continue.
        if expectation.lower() != "100-continue":
            raise RemoteProtocolError(417, f"the expectation {excerpt(expectation)} is not supported")
        # MUST ignore it in HTTP/1.0; without a body there is nothing to wait for.
        return self.version == "1.1" and self.has_body
