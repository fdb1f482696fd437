"""raw-test: sends back what comes, to see whether raw connections work.

The original's also reads a FIFO (its option `fifo-path`) and prints what comes there; this one does not.
"""

from __future__ import annotations

from lwsws.plugin import Protocol, RawSession


class RawTest(Protocol):
    """An echo."""

    name = "raw-test"

    def raw_receive(self, s: RawSession, data: bytes) -> None:
        """Send it back."""
        s.write(data)
