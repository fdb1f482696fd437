"""Signals that others had ignored or blocked, and programs that must not inherit that."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Dict, Set

from tests.process.nest import Nest
from tests.support.procfs import status
from tests.support.source import ROOT

# As a shell without job control starts it in the background, with nohup, and what somebody else has blocked.
STARTER = """
import signal
for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGTTOU):
    signal.signal(signum, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD))
"""
# A program under whoever has done the right thing says what it finds.
SERVER = """
import os, subprocess
from lwsws.process.dispositions import ignore, inherit_nothing
ignore(signal.SIGUSR2)
inherit_nothing()
for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    os.kill(os.getpid(), signum)
done = subprocess.run(["sh", "-c", "grep ^Sig /proc/self/status; exit 3"])
print("Status:", done.returncode)
"""


def signals(mask: str) -> Set[int]:
    """The numbers in a mask of /proc/PID/status, but for those that libc keeps for itself and lets nobody
    change: posix_spawn() of who started us has them ignored."""
    return {number + 1 for number in range(64) if int(mask, 16) >> number & 1} - {32, 33}


def test_a_program_inherits_nothing_from_our_starter() -> None:
    """LESSONS 3.22.  What is about stopping stays ignored: a handler in its place would run for ever."""
    done = subprocess.run([sys.executable, "-c", STARTER + SERVER], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    found: Dict[str, str] = dict(line.split(":\t") if "\t" in line else line.split(": ")
                                 for line in done.stdout.splitlines())
    assert signals(found["SigIgn"]) == {signal.SIGTTOU}
    assert signals(found["SigBlk"]) == set()
    assert found["Status"] == "3"   # which nobody knows where SIGCHLD is ignored


def test_a_serving_process_ignores_by_handlers(tmp_path: Path) -> None:
    nest = Nest(tmp_path)
    try:
        nest.start()
        (child,) = nest.processes()
        found = status(child.pid)
    finally:
        nest.close()
    reloading = {signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}
    assert reloading <= signals(found["SigCgt"])
    assert not reloading & signals(found["SigIgn"])
    assert signals(found["SigBlk"]) == set()
