"""What a FalseCa may be told to answer instead of what is right, and the HTTPS server that says it.

    ca.answers[("POST", "/new-order")] = [rate_limited("3600"), Altered({"finalize": "http://127.0.0.1/f"})]

A Canned answer is said as it is, and nothing is done for the request; an Altered one is the right one, after
all has been done for it, with some members of its JSON and some header fields changed.
"""

from __future__ import annotations

import base64
import http.server
import json
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from tests.support.certificates import Pair

JSON = "application/json"
PROBLEM = "application/problem+json"
CHAIN = "application/pem-certificate-chain"
ERROR = "urn:ietf:params:acme:error:"

# What to do: send all; send half of the body, and close; close without a word; nothing, ever.
ANSWER, CUT, CLOSE, NEVER = "answer", "cut", "close", "never"


class Seen(NamedTuple):
    """A request.  What is no JWS has no `protected` and no `payload`; the payload of POST-as-GET is ""."""

    method: str
    path: str
    headers: List[Tuple[str, str]]
    protected: Optional[Dict[str, Any]]
    payload: Any
    body: bytes

    def values(self, name: str) -> List[str]:
        """Of all header fields with this name."""
        return [value for each, value in self.headers if each.lower() == name.lower()]


class Canned(NamedTuple):
    """An answer; `nonce` tells whether a fresh Replay-Nonce goes with it, if it has none itself."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    then: str = ANSWER
    nonce: bool = True


class Altered(NamedTuple):
    """The right answer with these changes; without any it lets one request pass.

    None takes a member of the JSON object, or a header field, away.  A function is called with what there is,
    if there is something, and gives what is there instead.
    """

    changes: Mapping[str, Any] = {}
    headers: Mapping[str, Any] = {}
    status: int = 0  # if it is another one

    def of(self, answer: Canned) -> Canned:
        """`answer` with the changes."""
        body = answer.body
        if self.changes:
            body = json.dumps(changed(json.loads(body), self.changes)).encode()
        headers = changed(answer.headers, self.headers)
        return answer._replace(status=self.status or answer.status, headers=headers, body=body)


Answer = Union[Canned, Altered]
# By method, and by path or the first part of the path, which is what kind of resource it is.
Table = Dict[Tuple[str, str], Sequence[Answer]]


def changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> Dict[str, Any]:
    """`table` with the changes of an Altered."""
    made = dict(table)
    for name, value in changes.items():
        if not callable(value):
            made[name] = value
        elif name in made:
            made[name] = value(made[name])
    return {name: value for name, value in made.items() if value is not None}


def problem_body(kind: str, detail: str, status: int, **more: Any) -> Dict[str, Any]:
    """A problem document; its `kind` is one of RFC 8555, such as badNonce."""
    return {"type": ERROR + kind, "detail": detail, "status": status, **more}


def problem(kind: str, status: int = 400, detail: str = "", headers: Optional[Mapping[str, str]] = None,
            **more: Any) -> Canned:
    """An answer that is a problem document, with `more` members."""
    body = problem_body(kind, detail or f"as the test wants it: {kind}", status, **more)
    return Canned(status, {"Content-Type": PROBLEM, **(headers or {})}, json.dumps(body).encode())


def rate_limited(retry_after: str = "3600") -> Canned:
    """Too much was asked for; `retry_after` are seconds, or a date as in HTTP; "" is none."""
    return problem("rateLimited", 429, headers={"Retry-After": retry_after} if retry_after else {})


def bad_nonce() -> Canned:
    """The nonce is refused, and there is another one."""
    return problem("badNonce")


def server_internal(retry_after: str = "") -> Canned:
    """The CA has a fault."""
    return problem("serverInternal", 500, headers={"Retry-After": retry_after} if retry_after else {})


def order_not_ready() -> Canned:
    """The order cannot be finalized."""
    return problem("orderNotReady", 403)


def rejected_identifier(*names: str) -> Canned:
    """No certificate for these names, each with a problem of its own."""
    parts = [
        {**problem_body("rejectedIdentifier", f"not for {name}", 403), "identifier": identifier(name)}
        for name in names
    ]
    return problem("rejectedIdentifier", 403, subproblems=parts)


def garbage(status: int = 200) -> Canned:
    """Something that says it is JSON, and is not."""
    return Canned(status, {"Content-Type": JSON}, b'{"status": "valid", \xff\0')


def html_error(status: int = 502) -> Canned:
    """What a proxy in front of a CA says while that is down; there is no nonce in it."""
    body = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>\r\n"
    return Canned(status, {"Content-Type": "text/html"}, body, nonce=False)


def huge(size: int = 5 << 20, content_type: str = JSON) -> Canned:
    """Far more than any answer has; it would be good JSON."""
    return Canned(200, {"Content-Type": content_type}, b'{"x": "%b"}' % (b"x" * (size - 9)))


def never() -> Canned:
    """No answer, on a connection that stays open."""
    return Canned(then=NEVER)


def closed() -> Canned:
    """No answer, and the connection closes."""
    return Canned(then=CLOSE)


def no_chain(body: bytes = b"-----BEGIN NOTHING-----\nnothing\n-----END NOTHING-----\n") -> Canned:
    """Something that says it is a chain of certificates, and is not."""
    return Canned(200, {"Content-Type": CHAIN}, body)


def invalid_order(kind: str = "unauthorized", status: int = 403, **more: Any) -> Altered:
    """The right order, but it has become invalid, with this error."""
    error = problem_body(kind, "as the test wants it: this order is invalid", status, **more)
    return Altered({"status": "invalid", "error": error, "certificate": None}, {"Retry-After": None})


def plain(url: str) -> str:
    """For an Altered: the URL with http: for https:."""
    return url.replace("https:", "http:", 1)


def elsewhere(url: str) -> str:
    """For an Altered: the URL on another host."""
    return "https://ca.invalid/" + url.partition("://")[2].partition("/")[2]


def identifier(name: str) -> Dict[str, str]:
    """A DNS name as ACME writes it."""
    return {"type": "dns", "value": name}


def encode64(data: bytes) -> str:
    """base64url without the = at the end."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode64(text: str) -> bytes:
    """The opposite of encode64(); ValueError for anything that it does not give."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode64(data) != text:
        raise ValueError(f"not base64url: {text!r}")
    return data


def decode_jws(body: bytes) -> Tuple[Optional[Dict[str, Any]], Any]:
    """Protected header and payload of a JWS, or None and None; its signature is not looked at."""
    try:
        jws = json.loads(body)
        protected = json.loads(decode64(jws["protected"]))
        decode64(jws["signature"])
        payload = json.loads(decode64(jws["payload"])) if jws["payload"] else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
    return (protected, payload) if isinstance(protected, dict) else (None, None)


class HttpsServer(http.server.ThreadingHTTPServer):
    """On a port of 127.0.0.1, a thread for each connection; `respond` gives the answer to each request."""

    daemon_threads = False  # those of connections end with stop(), and it waits for them

    def __init__(self, pair: Pair, respond: Callable[[Seen], Canned]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond = respond
        self.faults: List[str] = []
        self.stopped = threading.Event()
        self._connections: Set[socket.socket] = set()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.cert, pair.key)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """End everything, also answers that never end."""
        self.stopped.set()
        self.shutdown()
        self._thread.join()
        for sock in list(self._connections):
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS has no part in it
        self.server_close()

    def get_request(self) -> Tuple[socket.socket, Any]:
        """A new connection; its handshake is for its own thread."""
        sock, address = super().get_request()
        try:
            tls = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            raise
        self._connections.add(tls)
        return tls, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """All that happens on a connection."""
        with suppress(OSError):  # the client has gone, or wants no such certificate
            request.do_handshake()
            super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        with suppress(OSError):
            socket.socket.shutdown(request, socket.SHUT_RDWR)
        self._connections.discard(request)
        request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Only for the standard library: what it would print is kept."""
        import traceback

        self.faults.append(traceback.format_exc())


class _Handler(http.server.BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpsServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        protected, payload = decode_jws(body)
        seen = Seen(self.command, self.path, list(self.headers.items()), protected, payload, body)
        answer = self.server.respond(seen)
        if answer.then == NEVER:
            self.server.stopped.wait()
        if answer.then in (CLOSE, NEVER):
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:len(answer.body) // 2] if answer.then == CUT else answer.body)
        if answer.then == CUT:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing: `requests` has it all."""
