"""What may be done with a readable socket in place of reading for the receiver."""

from __future__ import annotations


class Instead:
    """Set by Endpoint.do_instead(), and dropped by its stop_instead() or at the end of the connection."""

    __slots__ = ()

    def ready(self) -> None:
        """The socket is readable.  Not called while Endpoint.want_ready(False) is in force."""
        raise NotImplementedError

    def pause(self) -> None:
        """The receiver has called pause_reading()."""

    def resume(self) -> None:
        """The receiver has called resume_reading()."""

    def stop(self) -> None:
        """No more of it.  The socket is still open."""
