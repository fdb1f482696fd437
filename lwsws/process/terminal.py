"""The terminal of a server that was started by hand: to close it means to stop the server.

The kernel says both by SIGHUP: that a terminal has gone, and what an administrator sends for a reload.
"""

from __future__ import annotations

import os

from lwsws import log


class Terminal:
    """The terminal that our log goes to, if there is one."""

    def __init__(self) -> None:
        """Look whether somebody has started us there and waits; who runs in the background is not meant."""
        try:
            self._is_ours = os.tcgetpgrp(log.STDERR) == os.getpgrp()
        except OSError:
            self._is_ours = False

    @property
    def has_gone(self) -> bool:
        """Whether it has been closed."""
        return self._is_ours and not os.isatty(log.STDERR)
