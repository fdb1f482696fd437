"""What origins may answer that a proxy cannot simply pass on, by target, for a StrictOrigin."""

from __future__ import annotations

from typing import Dict, Tuple

from tests.support.strict_origin import CLOSE, EARLY, RESET, Script

OK = b"HTTP/1.1 200 OK\r\n"

# All of these are to become a 502.
BAD_ANSWERS: Dict[str, Script] = {
    "/garbage": Script(b"\x00\xff garbage\r\n\r\n"),
    "/text": Script(b"<html>no head</html>", CLOSE),
    "/nothing": Script(b"", CLOSE),
    "/reset": Script(b"", RESET),
    "/half-a-head": Script(OK + b"Content-Le", CLOSE),
    "/version": Script(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "/status-99": Script(b"HTTP/1.1 99 x\r\nContent-Length: 2\r\n\r\nok"),
    "/status-600": Script(b"HTTP/1.1 600 x\r\nContent-Length: 2\r\n\r\nok"),
    "/two-lengths": Script(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    "/same-lengths": Script(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    "/odd-length": Script(OK + b"Content-Length: +2\r\n\r\nok"),
    "/length-and-chunks": Script(
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "/gzip-coding": Script(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "/chunks-in-1.0": Script(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "/folded": Script(OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    "/bare-lf": Script(OK + b"X: a\nY: b\r\nContent-Length: 2\r\n\r\nok"),
    "/bare-cr": Script(OK + b"X: a\rY: b\r\nContent-Length: 2\r\n\r\nok"),
    "/nul": Script(OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\nok"),
    "/space": Script(OK + b"Content-Length : 2\r\n\r\nok"),
    "/reason": Script(b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok"),
    "/switch": Script(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + OK),
    "/interims": Script(b"HTTP/1.1 102 x\r\n\r\n" * 11 + OK + b"Content-Length: 2\r\n\r\nok"),
    "/large-head": Script(OK + b"X: " + b"x" * 70000 + b"\r\nContent-Length: 2\r\n\r\nok"),
    "/many-fields": Script(OK + b"X: y\r\n" * 300 + b"Content-Length: 2\r\n\r\nok"),
}
# These break in the middle of a body: the client must not take what it gets for a whole answer.
CUT_ANSWERS: Dict[str, Script] = {
    "/short": Script(OK + b"Content-Length: 10\r\n\r\nshort", CLOSE),
    "/short-reset": Script(OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 50000, RESET),
    "/no-last-chunk": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE),
    "/half-a-chunk": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", CLOSE),
    "/bad-chunk": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n0\r\n\r\n"),
    "/long-chunk": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
    "/lf-chunk": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    "/bad-trailer": Script(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
}
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"
# By target, with the status and body that the client is to get: odd, but with one meaning only.  What would
# be an answer to the next request must not become one.
ODD_ANSWERS: Dict[str, Tuple[Script, int, bytes]] = {
    "/surplus": (Script(OK + b"Content-Length: 2\r\n\r\nok" + EVIL), 200, b"ok"),
    "/surplus-chunks": (Script(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EVIL), 200,
                        b"ok"),
    "/204-with-body": (Script(b"HTTP/1.1 204 x\r\n\r\n" + EVIL), 204, b""),
    "/304-with-body": (Script(b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n" + EVIL), 304, b""),
    "/no-reason": (Script(b"HTTP/1.1 201\r\nContent-Length: 2\r\n\r\nok"), 201, b"ok"),
    "/up-to-the-end": (Script(OK + b"\r\nall", CLOSE), 200, b"all"),
    "/1.0": (Script(b"HTTP/1.0 200 OK\r\n\r\nall", CLOSE), 200, b"all"),
    "/trailers": (Script(
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX: evil\r\n\r\n"), 200, b"ok"),
    "/100": (Script(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"), 200, b"ok"),
}
OTHER_ANSWERS = {
    "/too-large": Script(b"HTTP/1.1 413 x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", EARLY),
    "/hints": Script(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 99\r\n\r\n" + OK
                     + b"Content-Length: 2\r\n\r\nok"),
    "/head-with-body": Script(OK + b"Content-Length: 4\r\n\r\nevil" + EVIL),
}
