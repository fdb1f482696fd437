"""`lwsws --reload PID`: ask for a reload, and say how it went (contrib/systemd/lwsws.service, ExecReload)."""

from __future__ import annotations

import os
import signal
import sys

from lwsws.net.outcome import AGAIN, DONE, OutcomeListener
from lwsws.process.children import START_SECONDS

# The parent gives up after START_SECONDS by itself, for each of two steps: the first process, and the others.
WAIT_SECONDS = 2 * START_SECONDS + 10


def reload(pid: int) -> int:
    """Have the parent process `pid` reload; returns 0 if it serves its new configuration, else 1."""
    reason = not_a_parent(pid)
    if reason:
        return _failed(reason)
    try:
        listener = OutcomeListener(pid)
    except OSError as error:
        return _hup(pid) or _failed(f"asked for it, but cannot wait for the outcome: {error.strerror}")
    try:
        return _hup(pid) or _wait(listener, pid)
    finally:
        listener.close()


def not_a_parent(pid: int) -> str:
    """Why the process `pid` cannot be asked to reload; "" if it can, or if this system does not tell."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            name = file.read().strip()
    except FileNotFoundError:
        return "" if not os.path.exists("/proc/self") else f"there is no process {pid}"
    except OSError:
        return ""
    if name == b"lwsws":
        return ""
    if name.startswith(b"lwsws-"):
        return f"process {pid} is a serving process: the number of its parent, lwsws, is needed"
    return f"process {pid} is not the parent process of lwsws"


def _hup(pid: int) -> int:
    """Send the signal; 1 if that cannot be done."""
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        return _failed(f"process {pid}: {error.strerror}")
    return 0


def _wait(listener: OutcomeListener, pid: int) -> int:
    while True:
        outcome = listener.wait(WAIT_SECONDS)
        if outcome is None:
            return _failed(f"process {pid} has not said how it went")
        word, text = outcome
        if word == DONE:
            sys.stdout.write(f"{text}\n")
            return 0
        if word != AGAIN:    # else this was the end of the one before ours
            return _failed(text)


def _failed(why: str) -> int:
    sys.stderr.write(f"lwsws: reload failed: {why}\n")
    return 1
