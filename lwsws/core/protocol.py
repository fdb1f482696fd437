"""Protocol: the base of all plugins, and what they get to know of the server.

"Protocol" is lws's word for a plugin.  A plugin is a class with a name; each vhost that wants it has one
instance, with the options that its `ws-protocols` section gives.  The instance hears what happens on
the vhost's connections by its methods, all of them on the reactor thread, so none of them may wait: what
would goes to a worker by `run_blocking`.  The methods of the base do nothing, so a plugin has those it wants.

There are three kinds of sessions (core/session.py), and each has its first and its last method, called
exactly once:

    WebSocket   established   ( receive | receive_fragment | pong | writable | timer )*   closed
    http        http_request  ( http_body | http_body_end | http_writable | timer )*      http_closed
    raw         raw_adopted   ( raw_receive | raw_eof | raw_writable | timer )*           raw_closed

An exception of a method is logged with its traceback and ends that session, no other.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence, Set, Union

from lwsws.core.options import Options
from lwsws.core.session import HttpRequest, HttpSession, ProtocolVhost, RawSession, Server, WsSession


class Protocol:
    """Base of all plugins."""

    name = ""
    """What `ws-protocols` and clients call it."""

    fragments = False
    """True: messages come bit by bit to receive_fragment(), as they arrive, and need no memory."""

    max_message = 1 << 20
    """Bytes of a message received, once decompressed, where the option `max-message` says nothing; longer
    ones end the session with 1009.  Messages that come bit by bit are not limited by it."""

    known_options: Optional[Sequence[str]] = None
    """The options of `ws-protocols` that it reads beside those of the server: who writes another one is told
    that it has no effect.  None: nobody knows."""

    known_pmo: Optional[Sequence[str]] = None
    """The same for the `pmo` of mounts that lead here."""

    server: Server
    """The server; set before init()."""

    vhost: ProtocolVhost
    """The vhost that this instance belongs to; set before init()."""

    sessions: Set[WsSession]
    """The open WebSocket sessions of this instance; not to be changed by the plugin."""

    def init(self, vhost: ProtocolVhost, options: Options) -> None:
        """Before anything else, once; OptionError says that it cannot work like this."""

    def check_mount(self, mountpoint: str, options: Options) -> None:
        """Before mounted(), and in its place where `lwsws -t` looks at a bundled protocol: OptionError says
        that the mount cannot work like this.  Changes nothing, and runs nobody's code."""

    def mounted(self, mountpoint: str, options: Options) -> None:
        """After init(), for each mount with the origin callback://NAME that leads here, with its `pmo`;
        OptionError says that the mount cannot work like this."""

    def destroy(self) -> None:
        """After everything else, once: the server ends."""

    def request_writable_all(self) -> None:
        """Do request_writable() for all WebSocket sessions of this instance."""
        for session in self.sessions:
            session.request_writable()

    # WebSockets.

    def filter_upgrade(self, request: HttpRequest) -> bool:
        """Whether the client that sent `request` may open a WebSocket; else it gets 403."""
        return True

    def established(self, s: WsSession) -> None:
        """A new WebSocket."""

    def receive(self, s: WsSession, message: Union[str, bytes]) -> None:
        """The client sent a message: str if it is text, bytes if it is binary."""

    def receive_fragment(self, s: WsSession, data: Union[str, bytes], first: bool, final: bool) -> None:
        """The client sent the next piece of a message, instead of receive() where `fragments` is True.  How
        messages are cut depends on the network; a piece may be empty, and both first and final."""

    def pong(self, s: WsSession, data: bytes) -> None:
        """The client answered a ping of this plugin."""

    def writable(self, s: WsSession) -> None:
        """Little or nothing waits to be sent, as asked for by `s.request_writable()`."""

    def closed(self, s: WsSession, code: int, reason: str) -> None:
        """The session is over: the client's close code and reason (RFC 6455 7.4); 1005 if it gave none, 1006
        if the connection broke."""

    # Http requests below a mount with the origin callback://NAME.

    def http_request(self, s: HttpSession, request: HttpRequest) -> None:
        """A request; answer it by `s`, here or later."""
        s.respond(404)

    def http_body(self, s: HttpSession, data: bytes) -> None:
        """The next piece of the request's body, never empty."""

    def http_body_end(self, s: HttpSession) -> None:
        """The body is complete, which may be at once if there is none.  Not called once the answer is."""

    def http_writable(self, s: HttpSession) -> None:
        """There is room for more of the answer, as asked for by `s.request_writable()`."""

    def http_closed(self, s: HttpSession) -> None:
        """The answer is complete, or cannot be any more because the client is gone."""

    # Files that the mount key `interpret` leads through this protocol.

    def interpret(self, s: HttpSession, data: bytes, final: bool) -> bytes:
        """What to send in place of `data`, the next piece of the file; `final`: nothing follows it."""
        return data

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

    # All kinds of sessions.

    def timer(self, s: Any) -> None:
        """The time set by `s.set_timer()` has come."""
