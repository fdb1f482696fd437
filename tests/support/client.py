"""A plain HTTP client on a blocking socket, for tests that say each byte themselves.

    with Client(server.connect()) as client:
        answer = client.get("/a.txt")
        assert (answer.status, answer.body) == (200, b"...")
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Dict, NamedTuple, Optional, Type

PIECE = 1 << 16
LINGER_NOT = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close `sock` so that the peer gets an RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    sock.close()


class Answer(NamedTuple):
    """One answer; the names of `fields` in lower case."""

    status: int
    fields: Dict[str, str]
    body: bytes


class Client:
    """One connection, closed at the end of `with`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""  # received, but not used by an answer yet

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.sock.sendall(data)

    def get(self, path: str = "/", *fields: str, method: str = "GET") -> Answer:
        """Ask for `path` with more header `fields`, and take the answer."""
        head = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""))
        self.send(head.encode("latin-1"))
        return self.answer(method)

    def head(self) -> Answer:
        """The head of the next answer, which has to have a length; its body is left unread."""
        while b"\r\n\r\n" not in self.data:
            self.data += self._piece()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, code, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        return Answer(int(code), {name.lower(): value for name, value in pairs}, b"")

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, whole."""
        head = self.head()
        bodiless = method == "HEAD" or head.status in (204, 304) or head.status < 200
        return head._replace(body=self.body(0 if bodiless else int(head.fields["content-length"])))

    def body(self, length: int) -> bytes:
        """The next `length` bytes, as after a head()."""
        pieces, count = [self.data], len(self.data)
        while count < length:
            pieces.append(self._piece())
            count += len(pieces[-1])
        data = b"".join(pieces)
        self.data = data[length:]
        return data[:length]

    def rest(self) -> bytes:
        """Everything up to the end of the connection, be it a FIN or an RST."""
        pieces, self.data = [self.data], b""
        try:
            while not pieces[1:] or pieces[-1]:
                pieces.append(self.sock.recv(PIECE))
        except ConnectionResetError:
            pass
        return b"".join(pieces)

    def _piece(self) -> bytes:
        piece = self.sock.recv(PIECE)
        if not piece:
            raise ConnectionError(f"the connection ended within an answer, after {self.data[:200]!r}")
        return piece

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.sock.close()
