"""What a serving process asks of its parent, on the parent's side, which is root: checked to the letter.

    config COUNT SECONDS VHOSTS
                               processes that are to serve, time to stop them, vhosts: before `seal`, too
    fault  TEXT                why the child is not going to serve
    listen FAMILY HOST PORT INTERFACE PATH NAME COUNT FASTOPEN UID GID   -> sockets
    release FAMILY HOST PORT INTERFACE PATH NAME    they are not wanted after all
    allow  WHAT PATH           this will be asked for later (READ or LOG)
    read   PATH LIMIT          -> a file in memory with the content
    state  PATH                -> numbers, as file_state()
    log    PATH                -> a descriptor to append to
    seal                       I give up my rights now: from here on only what was asked for before

    answers: ok N FIELD...     with N descriptors, as many as fit; the others come with `more`
             fault ERRNO TEXT

Whoever takes over a child after `seal` gets no more than that child could have had: duplicates of sockets
of endpoints that it asked for before, by the same terms, and files that it was allowed to ask for, by ways
that only root can change (process/trusted.py).  What no child of ours would send is a breach, and ends its
channel.  This runs in the parent: nothing is imported here that it does not have anyway.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Callable, Dict, List, NamedTuple, Sequence, Set, Tuple

from lwsws import log
from lwsws.net.channel import ParentEnd
from lwsws.net.keeper import LOG, READ
from lwsws.net.listening import MAX_FASTOPEN, MAX_ID, MAX_PORT, MAX_PROCESSES, Endpoint, SocketStore, Terms
from lwsws.net.memory_file import memory_file
from lwsws.process.trusted import Identity, directory_of, open_trusted_log, read_trusted, trusted_state

OK, MORE, FAULT = "ok", "more", "fault"

# The largest file that is read for a child: PEM files may have 4 MiB, password files 1 MiB.
MAX_READ = 4 * 1024 * 1024
# As many descriptors go with one message; the kernel's own limit is 253 (SCM_MAX_FD).
MAX_FDS = 200
# Of the text of a fault; it may quote a path.
MAX_TEXT = 8192
# Of the reason why a child cannot serve.
MAX_REASON = 400

FAMILIES = frozenset(str(int(family)) for family in (
    socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_UNSPEC))
# A year, as for all times of the configuration.
MAX_SECONDS = 366 * 24 * 3600
MAX_VHOSTS = 10 ** 6
MAX_ERRNO = 4095
# Nothing that is refused is asked for by ours: each is logged, and so many are the end.
MAX_REFUSALS = 10


class Breach(Exception):
    """A child has sent what none of ours would send."""


class Answer(NamedTuple):
    """Fields and descriptors for the child; the descriptors are closed once they are sent."""

    fields: Tuple[str, ...] = ()
    fds: Tuple[int, ...] = ()


class Requests:
    """The parent's end of the request channel of one child.

    `breached` says, after serve() has returned False, what was wrong; it is "" if the child has just closed
    its end.
    """

    def __init__(self, channel: ParentEnd, store: SocketStore, claims: Set[Endpoint], index: int,
                 configured: Callable[[int, int, int], None], failed: Callable[[str], None]) -> None:
        """`claims` are the endpoints of the child's generation, `index` is the child's place in it.
        `configured` hears what it says of its configuration, `failed` why it cannot serve."""
        self.breached = ""
        self._channel = channel
        self._store = store
        self._claims = claims
        self._index = index
        self._configured = configured
        self._failed = failed
        self._is_sealed = False
        self._is_settled = False
        self._is_retired = False
        self._refusals = 0
        self._asked: Dict[Endpoint, Terms] = {}
        self._readable: Set[str] = set()
        self._logs: Dict[str, Identity] = {}
        self._verbs: Dict[str, Tuple[int, Callable[[Sequence[str]], Answer]]] = {
            "config": (3, self._config), "fault": (1, self._fault), "listen": (10, self._listen),
            "release": (6, self._release), "allow": (2, self._allow),
            "read": (2, self._read), "state": (1, self._state), "log": (1, self._log),
            "seal": (0, self._seal)}

    def fileno(self) -> int:
        """The descriptor that is readable when a request waits."""
        return self._channel.fileno()

    def close(self) -> None:
        """Answer no more."""
        self._channel.close()

    def settle(self) -> None:
        """The child serves: what it listens on is what it has asked for."""
        self._is_settled = True

    def retire(self) -> None:
        """The child listens no longer: no more sockets for it."""
        self._is_retired = True

    def serve(self) -> bool:
        """Answer one waiting request.  False if the channel has to be closed: the child has closed it, or
        sent something that it should not have (`breached`)."""
        try:
            fields = self._channel.receive()
            if fields is None:
                return False
            self._reply(self._answer(fields))
        except BlockingIOError:
            return True
        except Breach as error:
            self.breached = str(error)
            return False
        except OSError as error:
            # A broken pipe is the end of the child, seen from the other side.
            self.breached = "" if error.errno == errno.EPIPE else str(error)
            return False
        return True

    def _answer(self, fields: Sequence[str]) -> List[Answer]:
        """The messages that answer the request of `fields`; Breach."""
        if fields[0] not in self._verbs:
            raise Breach(f"no request is called {fields[0]!a:.50}")
        count, verb = self._verbs[fields[0]]
        if count != len(fields) - 1:
            raise Breach(f"a request {fields[0]} with {len(fields) - 1} fields")
        try:
            answer = verb(fields[1:])
        except OSError as error:
            code = error.errno if error.errno and 0 < error.errno <= MAX_ERRNO else errno.EINVAL
            return [Answer((FAULT, str(code), (error.strerror or str(error))[:MAX_TEXT]))]
        except ValueError as error:
            # Names and addresses that are none.
            return [Answer((FAULT, str(errno.EINVAL), str(error)[:MAX_TEXT]))]
        parts = [answer.fds[at:at + MAX_FDS] for at in range(0, len(answer.fds), MAX_FDS)] or [()]
        first = Answer((OK, str(len(answer.fds)), *answer.fields), parts[0])
        return [first, *(Answer((MORE,), part) for part in parts[1:])]

    def _reply(self, answers: Sequence[Answer]) -> None:
        try:
            for answer in answers:
                self._channel.tell(answer.fields, answer.fds)
        except BlockingIOError:
            # Ours takes each answer before it asks again.
            raise Breach("it does not take its answers") from None
        finally:
            for answer in answers:
                for fd in answer.fds:
                    os.close(fd)

    # The requests.

    def _config(self, fields: Sequence[str]) -> Answer:
        if self._is_sealed:
            raise self._refusal("to believe something of its configuration")
        self._configured(_number(fields[0], 1, MAX_PROCESSES), _number(fields[1], 0, MAX_SECONDS),
                         _number(fields[2], 0, MAX_VHOSTS))
        return Answer()

    def _listen(self, fields: Sequence[str]) -> Answer:
        endpoint = _endpoint(fields[:6])
        terms = Terms(_number(fields[6], 1, MAX_PROCESSES), _number(fields[7], 0, MAX_FASTOPEN),
                      _number(fields[8], -1, MAX_ID), _number(fields[9], -1, MAX_ID))
        if self._is_retired or (self._is_sealed and self._asked.get(endpoint) != terms):
            raise self._refusal(f"to listen on {endpoint}")
        self._asked[endpoint] = terms
        sockets = self._store.take(endpoint, terms, self._claims, self._index)
        return Answer((), tuple(sock.detach() for sock in sockets))

    def _release(self, fields: Sequence[str]) -> Answer:
        endpoint = _endpoint(fields)
        # Later it could take from the processes beside it what they listen on.
        if self._is_settled:
            raise self._refusal(f"to give up {endpoint}")
        if self._asked.pop(endpoint, None) is not None:
            self._claims.discard(endpoint)      # and it is closed when others are
        return Answer()

    def _fault(self, fields: Sequence[str]) -> Answer:
        # It may come from a plugin, and goes to terminals, and to systemd line by line.
        text = "".join(char if char.isprintable() else "?" for char in fields[0])
        self._failed(text[:MAX_REASON])
        return Answer()

    def _allow(self, fields: Sequence[str]) -> Answer:
        what, path = fields
        if what not in (READ, LOG):
            raise Breach(f"a right {what!a:.50}")
        if self._is_sealed:
            raise self._refusal(f"to be allowed {path!a}")
        if not path.startswith("/"):
            raise OSError(errno.EINVAL, "no absolute path")
        if what == LOG:
            self._logs[path] = directory_of(path)
        else:
            self._readable.add(path)
        return Answer()

    def _read(self, fields: Sequence[str]) -> Answer:
        path, limit = fields
        most = min(_number(limit, 0, MAX_READ), MAX_READ)
        if path not in self._readable:
            raise self._refusal(f"to read {path!a}")
        return Answer((), (memory_file("lwsws-read", read_trusted(path, most)),))

    def _state(self, fields: Sequence[str]) -> Answer:
        path, = fields
        if path not in self._readable:
            raise self._refusal(f"to look at {path!a}")
        return Answer(tuple(map(str, trusted_state(path))))

    def _log(self, fields: Sequence[str]) -> Answer:
        path, = fields
        if path not in self._logs:
            raise self._refusal(f"to log to {path!a}")
        return Answer((), (open_trusted_log(path, self._logs[path]),))

    def _seal(self, fields: Sequence[str]) -> Answer:
        self._is_sealed = True
        return Answer()

    def _refusal(self, what: str) -> PermissionError:
        """What a child of ours does not ask for.  Breach if that happens again and again."""
        self._refusals += 1
        if self._refusals > MAX_REFUSALS:
            raise Breach(f"it asks {what[:MAX_TEXT]}, after {MAX_REFUSALS} other things that it may not have")
        log.warn(f"a serving process asks its parent {what[:MAX_TEXT]}, which it may not have")
        return PermissionError(errno.EPERM, "this was not asked for before root was given up")


def _endpoint(fields: Sequence[str]) -> Endpoint:
    """The endpoint that six fields are; Breach."""
    family, host, port, interface, path, name = fields
    if family not in FAMILIES:
        raise Breach(f"an address family {family!a:.50}")
    return Endpoint(int(family), host, _number(port, 0, MAX_PORT), interface, path, name)


def _number(text: str, low: int, high: int) -> int:
    """`text` as a number from `low` to `high`; Breach."""
    digits = text[1:] if text.startswith("-") and low < 0 else text
    # int() takes much more than digits (LESSONS F6).
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(high)) and low <= int(text) <= high:
        return int(text)
    raise Breach(f"{text!a:.50} in the place of a number")
