"""Protocol: the base of all plugins, and what they get to know of the server.

"Protocol" is lws's word for a plugin.  A plugin is a class with a name; each vhost that wants it has one
instance, with the options that its `ws-protocols` section gives.  The instance hears what happens on
the vhost's connections by its methods, all of them on the reactor thread, so none of them may wait: what
would goes to a worker by `run_blocking`.  The methods of the base do nothing, so a plugin has those it wants.

This is the half for raw connections, whose bytes mean what the plugin makes of them.  A session:

    raw_adopted ( raw_receive | raw_eof | raw_writable | timer )* raw_closed

raw_adopted comes first and raw_closed last, each exactly once.  An exception of a method is logged with
its traceback and ends that connection, no other.
"""

from __future__ import annotations

import typing
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

from lwsws.net.onward import Onward, parse_onward

__all__ = ["Onward", "OptionError", "Options", "Protocol", "ProtocolVhost", "RawSession", "parse_onward"]

MAX_INT = (1 << 63) - 1


class OptionError(Exception):
    """An option that a plugin cannot work with: which, and why, for the administrator."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


class Options:
    """The options of one protocol on one vhost, as text; each may be given several times."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Sequence[Tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    def all(self, name: str) -> Tuple[str, ...]:
        """All values of the option `name`, in the order of the configuration."""
        return tuple(value for key, value in self._pairs if key == name)

    def get(self, name: str, default: str = "") -> str:
        """The value of the option `name`, the last one if there are several."""
        values = self.all(name)
        return values[-1] if values else default

    def number(self, name: str, default: int, low: int = 0, high: int = MAX_INT) -> int:
        """The value of the option `name` as a decimal number; OptionError if it is not one from `low` to
        `high`."""
        text = self.get(name).strip()
        if not text:
            return default
        digits = text.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_INT))
        if not is_number or not low <= int(text) <= high:
            raise OptionError(name, f'"{text[:40]}" is no whole number from {low} to {high}')
        return int(text)


class ProtocolVhost(NamedTuple):
    """What a plugin knows of its vhost; `port` is 0 on a unix socket."""

    name: str
    port: int


Finished = Callable[["RawSession", Any, Optional[Exception]], None]


class RawSession(typing.Protocol):
    """One raw connection, as the plugin's methods get it.  Its calls have no effect any more once it is
    closing, or was handed over."""

    user: Any
    """The plugin's own object for this session, None at first."""

    @property
    def ident(self) -> int:
        """The number of the connection, as in the log."""

    @property
    def peer(self) -> str:
        """The address of the client; "unix" if it came through a unix socket."""

    @property
    def vhost(self) -> ProtocolVhost:
        """The vhost that it belongs to."""

    def write(self, data: bytes) -> None:
        """Send `data` after what was written before.  While much of that waits (256 KiB), nothing is read, so
        a plugin that only answers need not care; others write from `raw_writable`."""

    def request_writable(self) -> None:
        """Call raw_writable() once, as soon as little (64 KiB) or nothing waits to be sent."""

    def set_timer(self, seconds: Optional[float]) -> None:
        """Call timer() once, `seconds` from now, in place of what was set before; None: do not."""

    def pause(self) -> None:
        """No raw_receive() nor raw_eof() until resume().  Nothing is read, so the client has to wait."""

    def resume(self) -> None:
        """Read again."""

    def shutdown_write(self) -> None:
        """Send what was written, then the end of the stream; go on receiving."""

    def close(self) -> None:
        """Send what was written, then close."""

    def abort(self) -> None:
        """Close now and forget what was not sent."""

    def run_blocking(self, fn: Callable[..., Any], *args: Any, then: Finished) -> None:
        """Have a worker thread call `fn(*args)`, which must not touch the session, and then call
        `then(session, result, None)`, or `then(session, None, error)` if it raised or no worker can be had.
        `then` is not called if the session is over by that time."""

    def tunnel(self, onward: Onward, first: bytes = b"") -> None:
        """Hand the connection over to the server at `onward`: bytes flow both ways from now on, `first` and
        what was received but not told yet before all others.  For the plugin the session is over."""


class Protocol:
    """Base of all plugins."""

    name = ""

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """Before anything else, once; OptionError says that it cannot work like this."""

    def destroy(self) -> None:
        """After everything else, once: the server ends."""

    # Raw connections.

    def raw_adopted(self, s: RawSession) -> None:
        """A new connection."""

    def raw_receive(self, s: RawSession, data: bytes) -> None:
        """The client sent `data`, in whatever pieces it comes; never empty."""

    def raw_eof(self, s: RawSession) -> None:
        """The client will send nothing more, but may still be reading."""
        s.close()

    def raw_writable(self, s: RawSession) -> None:
        """There is room to write, as asked for by `s.request_writable()`."""

    def raw_closed(self, s: RawSession) -> None:
        """The session is over, for whatever reason."""

    def timer(self, s: RawSession) -> None:
        """The time set by `s.set_timer()` has come."""
