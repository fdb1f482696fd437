"""ParentLink: the Keeper of a serving process that has a parent.

Files it opens itself as long as it may; only what is forbidden to it goes to the parent, who has stayed root,
over the request channel (process/requests.py).  Listening sockets always come from the parent, who keeps
them for the processes after this one.

One request is under way at a time: the reactor's thread and the workers wait for each other, and nobody
waits longer than REPLY_SECONDS for an answer.
"""

from __future__ import annotations

import errno
import os
import socket
from threading import Lock
from typing import Dict, List, Set, Tuple

from lwsws.net.channel import ChannelError, ChildEnd, close_all
from lwsws.net.keeper import LOG, READ
from lwsws.net.listening import Endpoint, Terms
from lwsws.net.memory_file import read_memory_file
from lwsws.net.regular_file import (
    FileState,
    NotRegular,
    TooLarge,
    file_state,
    open_log_file,
    read_regular_file,
)
from lwsws.process.requests import FAULT, MORE

# The parent does nothing that takes long; it may have been stopped, or wait for a slow disk.
REPLY_SECONDS = 5.0

# In characters, of which a message to the parent has room for more than a thousand.
MAX_COMPLAINT = 800
# Until root is given up, many processes may be starting at the same time, on a slow machine.
START_REPLY_SECONDS = 60.0

# What a file that is closed to us has for a state.
FORBIDDEN = ((errno.EACCES,), (errno.EPERM,))


class ParentLink:
    """A Keeper that asks the parent; for all threads of this process."""

    anew = "a reload (HUP)"
    has_parent = True

    def __init__(self, requests: ChildEnd) -> None:
        """`requests` is this process's end of the channel; it is closed by close()."""
        self._channel = requests
        self._channel.set_timeout(START_REPLY_SECONDS)
        self._lock = Lock()
        self._is_owed = False   # an answer that was not waited for, and may come yet
        self._allowed: Dict[str, Set[str]] = {READ: set(), LOG: set()}

    def close(self) -> None:
        """Ask no more."""
        self._channel.close()

    def seal(self) -> None:
        """From here on the parent gives only what was asked for and allowed before.  OSError."""
        self._ask("seal")
        self._channel.set_timeout(REPLY_SECONDS)

    def wind_down(self) -> None:
        """Nothing to do: the parent has the sockets."""

    def hand_up(self, count: int, shutdown_seconds: int, vhosts: int) -> None:
        """Tell the parent what it may know of the configuration: how many processes are to serve it, how long
        they may take to stop, how many vhosts there are.  OSError."""
        self._ask("config", str(count), str(shutdown_seconds), str(vhosts))

    def complain(self, text: str) -> None:
        """Tell the parent why we are not going to serve.  OSError."""
        self._ask("fault", text.replace("\0", "?")[:MAX_COMPLAINT])

    def listen(self, endpoint: Endpoint, terms: Terms) -> List[socket.socket]:
        fds = self._ask("listen", *_fields(endpoint), *map(str, terms))[1]
        sockets = [socket.socket(fileno=fd) for fd in fds]
        for sock in sockets:
            sock.setblocking(False)
        return sockets

    def release(self, endpoint: Endpoint) -> None:
        self._ask("release", *_fields(endpoint))

    def allow(self, what: str, path: str) -> None:
        path = _absolute(path)
        if path not in self._allowed[what]:
            self._ask("allow", what, path)
            self._allowed[what].add(path)

    def read(self, path: str, limit: int) -> bytes:
        try:
            return read_regular_file(path, limit)
        except PermissionError as error:
            path = self._within_limits(READ, path, error)
            own = error
        fds = self._ask_instead(own, "read", path, str(limit))[1]
        try:
            return read_memory_file(fds[0], limit)
        finally:
            os.close(fds[0])

    def state(self, path: str) -> FileState:
        own = file_state(path)
        path = _absolute(path)
        if own not in FORBIDDEN or path not in self._allowed[READ]:
            return own
        try:
            return tuple(map(int, self._ask("state", path)[0]))
        except TimeoutError:
            raise   # who has more to ask had better not do so now
        except OSError:
            return own

    def open_log(self, path: str) -> int:
        try:
            return open_log_file(path)
        except PermissionError as error:
            path = self._within_limits(LOG, path, error)
            own = error
        return self._ask_instead(own, "log", path)[1][0]

    def _within_limits(self, what: str, path: str, own: PermissionError) -> str:
        """The path to ask the parent for; `own` is raised if it would refuse."""
        path = _absolute(path)
        if path not in self._allowed[what]:
            raise own
        return path

    def _ask_instead(self, own: PermissionError, *fields: str) -> Tuple[List[str], List[int]]:
        """Ask for what we may not do ourselves, and so got `own`.  OSError as the parent sees it."""
        try:
            fields_back, fds = self._ask(*fields)
        except (PermissionError, ConnectionError, TimeoutError) as error:
            reason = f"{own.strerror}, also through the parent process: {error.strerror or error}"
            raise PermissionError(own.errno, reason) from None
        if len(fds) != 1:
            raise OSError(errno.EPROTO, "the parent process has sent no file")
        return fields_back, fds

    # The channel.

    def _ask(self, *fields: str) -> Tuple[List[str], List[int]]:
        """Send one request; what belongs to the answer.  OSError: the parent's, or that there is none."""
        if any("\0" in field for field in fields):
            raise OSError(errno.EINVAL, "a NUL in a name")
        with self._lock:
            try:
                if self._is_owed:
                    close_all(self._receive()[1])
                    self._is_owed = False
                self._channel.tell(fields)
                self._is_owed = True
                answer, fds = self._receive()
                self._is_owed = False
                return self._complete(answer, fds)
            except TimeoutError:
                raise TimeoutError(errno.ETIMEDOUT, "the parent process does not answer") from None
            except (ChannelError, ValueError, IndexError) as error:
                raise OSError(errno.EPROTO, f"the parent process cannot be understood: {error}") from None

    def _receive(self) -> Tuple[List[str], List[int]]:
        """The first message of the next answer, and what came with it."""
        while True:
            received = self._channel.receive()
            if received is None:
                raise ConnectionError(errno.EPIPE, "the parent process is gone")
            if received[0] != [MORE]:
                return received
            close_all(received[1])      # of an answer that was not waited for

    def _complete(self, answer: List[str], fds: List[int]) -> Tuple[List[str], List[int]]:
        """Fields and descriptors of an answer that begins with `answer`; OSError if that is a fault."""
        if answer[0] == FAULT:
            raise _fault(int(answer[1]), answer[2])
        try:
            while len(fds) < int(answer[1]):
                received = self._channel.receive()
                if received is None or received[0] != [MORE]:
                    raise ChannelError("the rest of the descriptors is missing")
                fds += received[1]
        except (OSError, ChannelError, ValueError, IndexError):
            close_all(fds)
            raise
        return answer[2:], fds


def _fields(endpoint: Endpoint) -> List[str]:
    return [str(int(endpoint.family)), *map(str, endpoint[1:])]


def _absolute(path: str) -> str:
    # Not normalised: with a link in it, "a/../b" is not "b".
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def _fault(code: int, text: str) -> OSError:
    """What the parent found, as if we had found it."""
    if code == errno.EINVAL:
        return NotRegular(code, text)
    return TooLarge(code, text) if code == errno.EFBIG else OSError(code, text)
