"""The server log in syslog: a datagram to /dev/log for each line, as in RFC 3164.

Where nobody listens, or he does not keep up, the line goes to stderr as ever.  A syslogd that was restarted
has a new socket: who cannot be reached is connected to anew.  The text has no level letter and no tag,
because syslog has a level and the number of the process for each line.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Optional

from lwsws import log

DEV_LOG = "/dev/log"

# The facility of daemons, RFC 3164 section 4.1.1.
DAEMON = 3

# Section 4.1.2: always English, whatever the language of the system.
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

# More than every syslogd takes, and what a datagram can always hold.
MAX_MESSAGE = 8192


class Syslog:
    """A connection to syslogd, made when there is something to say; works on after a fork."""

    def __init__(self, ident: str, address: str) -> None:
        """`ident` is the name of the program, `address` the path of syslogd's socket."""
        self._ident = ident
        self._address = address
        self._sock: Optional[socket.socket] = None

    def write(self, level: int, text: str) -> bool:
        """Send one line at a level of log.py; False if nobody took it.  Never waits."""
        data = self._message(level, text)
        if self._sock is not None and self._send(self._sock, data):
            return True
        # The first line, or a syslogd that was restarted.
        self.close()
        self._sock = self._connect()
        return self._sock is not None and self._send(self._sock, data)

    def _message(self, level: int, text: str) -> bytes:
        now = time.localtime()
        when = f"{MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        head = f"<{DAEMON * 8 + log.SEVERITIES[level]}>{when} {self._ident}[{os.getpid()}]: "
        return (head + text).encode("utf-8", "backslashreplace")[:MAX_MESSAGE]

    def _connect(self) -> Optional[socket.socket]:
        sock = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(self._address)
        except OSError:
            if sock is not None:
                sock.close()
            return None
        return sock

    def _send(self, sock: socket.socket, data: bytes) -> bool:
        try:
            sock.send(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of it; the next line connects anew."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def open_syslog(ident: str, address: str = DEV_LOG) -> log.Writer:
    """What log.to_syslog() takes; `ident` is the name of the program."""
    return Syslog(ident, address).write
