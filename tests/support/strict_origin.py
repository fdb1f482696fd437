"""An origin that forgives nothing: what it is sent must be HTTP/1.1 as the RFC writes it, or it is a fault.

    with StrictOrigin({"/cut": Script(b"HTTP/1.1 200 OK\\r\\n", CLOSE)}) as origin:
        ...                     a proxy in front of 127.0.0.1:origin.port
        origin.seen             the requests that came complete, in order
        origin.faults           what was no request
        origin.broken           how many requests were not sent to their end

Its parser shares nothing with ours.  A target without a script is answered with itself as the body.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Type

from tests.support.client import reset

KEEP, CLOSE, RESET, EARLY = "keep", "close", "reset", "before the body"
PIECE = 1 << 16
SECONDS = 20.0

_HEAD = re.compile(
    rb"([A-Za-z!#$%&'*+.^_`|~0-9-]+) (/[!-~]*|\*) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+: [!-~\x80-\xff]?[\t -~\x80-\xff]*\r\n)*)\r\n")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")


class Script(NamedTuple):
    """What to answer to a target, and what to do then: KEEP, CLOSE, RESET; EARLY is CLOSE at once."""

    data: bytes
    then: str = KEEP


class Seen(NamedTuple):
    """A request that came complete; field names in lower case."""

    method: str
    target: str
    fields: List[Tuple[str, str]]
    body: bytes

    def values(self, name: str) -> List[str]:
        """Of all fields with this name."""
        return [value for each, value in self.fields if each == name]


class _Fault(Exception):
    """The peer sent what is no request."""


class _Gone(Exception):
    """The peer has closed."""


class StrictOrigin:
    """Listens on a port of 127.0.0.1 as long as the `with` lasts."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts: Dict[str, Script] = dict(scripts)
        self.seen: List[Seen] = []
        self.faults: List[str] = []
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: List[socket.socket] = []
        self._threads: List[threading.Thread] = []

    def forget(self) -> None:
        """Begin a new record."""
        with self._lock:
            self.seen, self.faults, self.broken = [], [], 0

    def targets(self) -> List[str]:
        """Of the requests that came complete."""
        with self._lock:
            return [request.target for request in self.seen]

    def __enter__(self) -> StrictOrigin:
        self._start(self._accept)
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], fault: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(SECONDS)

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(SECONDS)
                self._sockets.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        stream = _Stream(sock)
        try:
            while self._exchange(sock, stream):
                pass
        except _Fault as fault:
            with self._lock:
                self.faults.append(str(fault))
        except (_Gone, OSError):
            with self._lock:
                self.broken += stream.begun
        sock.close()

    def _exchange(self, sock: socket.socket, stream: _Stream) -> bool:
        """One request and its answer; whether another may come."""
        method, target, fields = stream.head()
        script = self.scripts.get(target.partition("?")[0])
        if script is not None and script.then == EARLY:
            sock.sendall(script.data)
            return False
        body = stream.body(fields)
        with self._lock:
            self.seen.append(Seen(method, target, fields, body))
        if script is None:
            content = b"" if method == "HEAD" else target.encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), content))
            return True
        sock.sendall(script.data)
        if script.then == RESET:
            reset(sock)
        return script.then == KEEP


class _Stream:
    """The bytes of one connection, taken apart."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.begun = False

    def head(self) -> Tuple[str, str, List[Tuple[str, str]]]:
        self.begun = bool(self.data)
        while b"\r\n\r\n" not in self.data:
            self._receive()
        end = self.data.index(b"\r\n\r\n") + 4
        head, self.data = self.data[:end], self.data[end:]
        found = _HEAD.fullmatch(head)
        if found is None:
            raise _Fault(f"no request head: {head!r}")
        lines = found.group(3).decode("latin-1").split("\r\n")[:-1]
        fields = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        return found.group(1).decode(), found.group(2).decode(), fields

    def body(self, fields: List[Tuple[str, str]]) -> bytes:
        names = [name for name, _ in fields]
        table = dict(fields)
        framing = names.count("content-length") + names.count("transfer-encoding")
        if names.count("host") != 1 or framing > 1:
            raise _Fault(f"fields: {fields!r}")
        body = b""
        if "transfer-encoding" in table:
            if table["transfer-encoding"] != "chunked":
                raise _Fault(f"coding {table['transfer-encoding']!r}")
            body = self._chunks()
        elif "content-length" in table:
            if re.fullmatch("[0-9]{1,15}", table["content-length"]) is None:
                raise _Fault(f"length {table['content-length']!r}")
            body = self._take(int(table["content-length"]))
        self.begun = False
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.data:
                self._receive()
            found = _CHUNK.match(self.data)
            if found is None:
                raise _Fault(f"no chunk: {self.data[:40]!r}")
            self._take(found.end())
            size = int(found.group(1), 16)
            body += self._take(size)
            if self._take(2) != b"\r\n":
                raise _Fault("a chunk without CR LF")
            if size == 0:
                return body

    def _take(self, size: int) -> bytes:
        while len(self.data) < size:
            self._receive()
        data, self.data = self.data[:size], self.data[size:]
        return data

    def _receive(self) -> None:
        data = self.sock.recv(PIECE)
        if not data:
            raise _Gone
        self.begun = True
        self.data += data
