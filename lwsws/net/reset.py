"""Ending a connection so that its peer does not take a break for the regular end.

A byte stream that another connection feeds may break in the middle.  If it were then closed as usual, its
receiver would take a part for the whole; a reset (RST) says that something went wrong.  It also destroys what
the kernel has not delivered yet: who wants that to arrive waits until `is_delivered`.
"""

from __future__ import annotations

import socket
import struct

from lwsws.net.transport import Transport

# struct linger: on, no time; close() sends RST (socket(7), SO_LINGER).  Without effect on unix sockets.
RESET = struct.pack("ii", 1, 0)


def is_reset(transport: Transport) -> bool:
    """Whether the peer has reset the connection; the reactor may not have noticed, because with nothing to
    read or to send it watches for nothing."""
    return transport.closed or bool(transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def is_delivered(transport: Transport) -> bool:
    """Whether the peer has everything that was written, or will never get it: a reset destroys nothing."""
    if is_reset(transport):
        return True
    return not transport.size and transport.bytes_taken() == transport.bytes_sent


def break_off(transport: Transport) -> None:
    """Close now, with a reset."""
    if transport.closed:
        return
    transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()
