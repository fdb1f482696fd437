"""What the kernel tells of another process: memory, open files, threads, user (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List

from tests.support.waiting import wait_until

TCP_LISTEN = "0A"


def status(pid: int) -> Dict[str, str]:
    """The lines of /proc/PID/status by their names."""
    text = Path(f"/proc/{pid}/status").read_text("utf-8")
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def name(pid: int) -> str:
    """Its name (comm); "" if there is no such process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8").rstrip("\n")
    except OSError:
        return ""


def children(pid: int) -> List[int]:
    """The processes that its main thread has started and that it has not waited for, oldest first."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except OSError:
        return []


def members(group: int) -> List[int]:
    """The processes of a process group, those that have ended but are not waited for left out."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            text = Path(f"/proc/{entry}/stat").read_text("latin-1") if entry.isdigit() else ""
        except OSError:
            continue
        state, _, process_group = text.rpartition(")")[2].split()[:3] if text else ("Z", "", "")
        if state not in "ZX" and process_group == str(group):
            found.append(int(entry))
    return found


def rss(pid: int) -> int:
    """Bytes of memory that the process has in RAM."""
    return int(status(pid)["VmRSS"].split()[0]) * 1024


def thread_count(pid: int) -> int:
    """How many threads it has, the main one included."""
    return int(status(pid)["Threads"])


def open_files(pid: int) -> List[str]:
    """What its fds stand for: paths, `socket:[1]` and the like."""
    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return found


def fd_count(pid: int) -> int:
    """How many fds it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid: int) -> float:
    """The CPU time that it has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def connection_count(pid: int, port: int) -> int:
    """How many IPv4 connections to `port` the processes in its network have."""
    count = 0
    for line in Path(f"/proc/{pid}/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, _, state, *more = line.split()
        # Without an inode it is the kernel's own, a connection in TIME_WAIT for instance.
        count += local.endswith(f":{port:04X}") and state != TCP_LISTEN and more[5] != "0"
    return count


def idle_fds(pid: int, port: int) -> int:
    """How many fds a server has when it has no connection, for which this waits."""
    wait_until(lambda: connection_count(pid, port) == 0, f"no connection to port {port}")
    return fd_count(pid)
