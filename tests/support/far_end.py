"""Somewhere for raw-proxy to lead to: a server in threads of the test, whose connections a function serves.

    def greet(sock: socket.socket) -> None:
        sock.sendall(b"hello")

    with FarEnd(greet) as far:
        ... "onward": f"ipv4:127.0.0.1:{far.port}"

What the function raises is raised again at the end of `with`.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Callable, List, Optional, Type

PATIENCE = 30.0


class FarEnd:
    """Listens on a free port of 127.0.0.1 or ::1, or at a path ("\\0name" for an abstract one)."""

    def __init__(self, serve: Callable[[socket.socket], object], address: str = "127.0.0.1") -> None:
        unix = address.startswith(("/", "\0"))
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address else socket.AF_INET
        self.count = 0  # of connections so far
        self._serve = serve
        self._threads: List[threading.Thread] = []
        self._faults: List[Exception] = []
        self._listener = socket.socket(family)
        try:
            self._listener.bind(address if unix else (address, 0))
            self._listener.listen()
        except OSError:
            self._listener.close()
            raise
        self.port = 0 if unix else int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            sock.settimeout(PATIENCE)
            thread = threading.Thread(target=self._run, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        with sock:
            try:
                self._serve(sock)
            except (OSError, AssertionError) as fault:
                self._faults.append(fault)

    def __enter__(self) -> FarEnd:
        thread = threading.Thread(target=self._accept)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        fault: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        if self._faults and kind is None:
            raise self._faults[0]


def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    pieces: List[bytes] = []
    while True:
        piece = sock.recv(1 << 16)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
