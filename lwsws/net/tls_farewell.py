"""close_notify: the last word of a side of a TLS connection, without which the other cannot know that the
end was meant (RFC 8446 6.1, RFC 5246 7.2.1).

Python sends it by SSLSocket.unwrap(), which then reads on for the peer's.  For a connection that is over this
is fine, whatever it finds.  For one that goes on reading it is not: finding application data, unwrap() breaks
the connection off and the data are lost.  So there it must find nothing: for the time of the call the fd
leads to one end of an empty socket pair, and what came out at the other end is sent afterwards.
"""

from __future__ import annotations

import os
import select
import socket
import ssl

# More than a sealed alert takes.
ALERT_BYTES = 256


def part(sock: ssl.SSLSocket) -> None:
    """Send close_notify; nothing can be read any more.  SSLWantWriteError: no room, to be called again."""
    try:
        sock.unwrap()
    except ssl.SSLWantWriteError:
        raise
    except OSError:
        pass  # the peer has not said its last word yet, or is gone


def half_close(sock: ssl.SSLSocket) -> None:
    """Send close_notify and be able to read on.  SSLWantWriteError: no room, to be called again; other
    OSErrors: the peer is gone."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(0):
        raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "no room for close_notify")
    try:
        ours, theirs = socket.socketpair()
    except OSError:  # no fd is left: take the chance that nothing comes just now
        part(sock)
        return
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        unwrap_into(sock, ours)
        # Below TLS, and as a whole: there is room.
        socket.socket.send(sock, theirs.recv(ALERT_BYTES))


def unwrap_into(sock: ssl.SSLSocket, other: socket.socket) -> None:
    """Have unwrap() called while the fd of `sock` leads to `other`.  Whoever watches it notices nothing."""
    fd = sock.fileno()
    real = os.dup(fd)
    try:
        os.dup2(other.fileno(), fd, inheritable=False)
        part(sock)
    finally:
        os.dup2(real, fd, inheritable=False)
        os.close(real)
