"""What a program that we start finds of our ways with signals: nothing.

exec() gives a program default actions in place of handlers, but what is ignored or blocked it inherits, and
few programs expect that: a shell cannot even set a trap for a signal that was ignored when it began.  So a
serving process ignores signals by a handler that does nothing, and blocks none.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Optional

# What a starter may have had ignored, as a shell does for what runs in the background, or nohup.  Not those
# about stopping: a handler in the place of an ignored SIGTTOU would be called again and again.
MAY_BE_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1,
                  signal.SIGUSR2, signal.SIGALRM)


def ignore(*signums: int) -> None:
    """Ignore these signals, in this process alone."""
    for signum in signums:
        signal.signal(signum, _do_nothing)


def inherit_nothing() -> None:
    """Undo what whoever started us has had ignored or blocked, so that no program gets it from us."""
    # Where it is ignored, the kernel waits for our programs in our place and we never know how they ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ignore(*(signum for signum in MAY_BE_IGNORED if signal.getsignal(signum) is signal.SIG_IGN))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _do_nothing(signum: int, frame: Optional[FrameType]) -> None:
    """The handler."""
