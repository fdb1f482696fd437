"""Child processes on chosen cores: how they are started and ended, and what they cost.

Server and load must not share a core.  Affinity is inherited over fork, so a child is pinned by
being started while this process stands on the core that the child shall have.  Costs come from
/proc and count the whole tree of a server (nginx and lwsws have a parent and a child).
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 5.0

# Fields of /proc/PID/stat after the name in parentheses, counted from 0 (proc(5)).
PARENT, FIRST_TIME, LAST_TIME = 1, 11, 14  # utime, stime and those of children that have ended


class Cores(NamedTuple):
    """The core of the servers and that of the load."""

    server: int
    load: int
    others: Tuple[int, ...]  # all but that of the servers, for load that costs more than what it measures

    @property
    def are_shared(self) -> bool:
        """Whether the machine has one core only, which spoils the figures."""
        return self.server == self.load


def choose_cores() -> Cores:
    """The first two cores that this process may use, and what there is beside the first."""
    usable = sorted(os.sched_getaffinity(0))
    others = usable[1:] or usable
    return Cores(usable[0], others[0], tuple(others))


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on `core` for ever."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(command: Sequence[str], core: int, log: Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start `command` on `core` in the folder `cwd`; what it says goes to the file `log`."""
    with open(log, "ab") as output, on_core(core):
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd,
                                env=environment())


def environment() -> Dict[str, str]:
    """That of this process, with compiled modules kept: an installed server starts from them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process`, by force if it does not obey."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in tree(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def stat_fields(pid: int) -> List[str]:
    """The fields of /proc/PID/stat after the name; [] if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("latin-1")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> Set[int]:
    """`root` and all its descendants."""
    children: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields:
                children.setdefault(int(fields[PARENT]), []).append(int(entry))
    found: Set[int] = set()
    todo = [root]
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Set[int]) -> float:
    """CPU time that the processes have used since they began."""
    ticks = 0
    for pid in pids:
        ticks += sum(int(field) for field in stat_fields(pid)[FIRST_TIME : LAST_TIME + 1])
    return ticks / TICKS


def memory_bytes(pids: Set[int]) -> int:
    """The memory of the processes together (PSS of proc(5)): a page that several processes share counts once,
    a part of it for each of them."""
    return sum(kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) * 1024


def largest_bytes(pids: Set[int]) -> int:
    """The resident memory (VmRSS) of the largest of the processes, with all that it shares."""
    return max((kilobytes(pid, "status", "VmRSS:") for pid in pids), default=0) * 1024


def kilobytes(pid: int, file: str, name: str) -> int:
    """The number on the line that begins with `name` in a file of /proc/PID; 0 if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text("latin-1")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))
